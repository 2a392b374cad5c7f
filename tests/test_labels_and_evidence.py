"Labels and evidence: harmonising invents none, ties are half right, and the number of a completion tells nothing."
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
import pytest, torch
from PIL import Image
from amodal_nb.app.cli import main, main_table
from amodal_nb.core.compositing import composite_weights
from amodal_nb.core.geometry import dilate, erode
from amodal_nb.core.pictures import to_uint8, write_picture
from amodal_nb.evaluation.evaluate import evaluate, order_table, published_table, PUBLISHED_SCORES
from amodal_nb.evaluation.measures import order_scores
from amodal_nb.formats.common import build_scene, OVERLAPS, shuffled_order
from amodal_nb.formats.convert import CONVERT_FORMATS
from amodal_nb.fusion.harmonise import harmonise, harmonise_and_report
from amodal_nb.fusion.predict import fuse_pictures, fuse_scene
from amodal_nb.fusion.refine import compare_residuals, with_harmonisation
from amodal_nb.models.baselines import BASELINES
from amodal_nb.scenes.batches import make_batch
from amodal_nb.scenes.folders import read_scene
from amodal_nb.synthesis.compose import rgba_layers
from amodal_nb.synthesis.composer import Composer
from amodal_nb.synthesis.degrade import jpeg_compress

SHARED = Path(__file__).resolve().parents[2]/'shared'
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason='needs ../shared, which is not part of the project')

# Evidence

def label_scene(scene, px):
    "A scene as labels give it: masks wider by `px` (narrower if negative) and the picture's own colours."
    cover = (scene.alphas > .5).float()
    alphas = dilate(cover, px) if px > 0 else erode(cover, -px)
    return replace(scene, completions=scene.image*alphas, alphas=alphas, background=None)

@cache
def exact():
    "Six scenes of 96 px; not made at import, which every worker does."
    return [Composer(size=96, n_objects=(2, 5), seed=601)[i] for i in range(6)]

@cache
def noisy():
    "Eight scenes of 96 px whose completions are not exact."
    return [Composer(size=96, n_objects=(2, 5), noise='noisy', seed=602)[i] for i in range(8)]

@pytest.mark.parametrize('model', ['order', 'vote'])
def test_labels_keep_completions_and_order_whatever_their_outlines(model):
    for scene in (label_scene(s, px) for s in exact() for px in (-2, -1, 0, 1)):
        done, report = harmonise_and_report(scene)
        assert torch.equal(done.completions, scene.completions) and torch.equal(done.alphas, scene.alphas)
        assert not any(r['changed'] for r in report)
        assert fuse_scene(scene, model).pairs == fuse_scene(scene, model, harmonise=False).pairs

def test_only_given_colours_are_evidence():
    "Colours that were extrapolated may be any: the comparison does not read them."
    n_grown = 0
    for scene in noisy():
        done = harmonise(scene)
        invented = (done.alphas > .5) & ~done.given
        n_grown += (invented.sum(0) > 0).sum()
        wild = torch.where(invented, 1-done.completions, done.completions)
        sequence = list(range(scene.n))
        a, b = (compare_residuals(done.partial, done.mask, c, done.alphas, done.given, sequence).differences for c in (done.completions, wild))
        assert torch.equal(a, b)
    assert n_grown > 0

def on_white(layer):
    "An RGBA layer as JPEG on white, without alpha."
    white = Image.new('RGBA', (layer.shape[1], layer.shape[0]), 'white')
    return jpeg_compress(Image.alpha_composite(white, Image.fromarray(layer)).convert('RGB'), 80)

@pytest.mark.parametrize('i', [6, 7])
def test_white_rims_of_estimated_outlines_are_no_evidence(i):
    "The mask hides just the overlaps, so that only outlines could be compared."
    scene = Composer(size=96, n_objects=3, seed=7800)[i]
    overlap = (dilate((scene.alphas > .5).sum(0) > 1)[0]).numpy()
    picture = jpeg_compress(Image.fromarray(to_uint8(scene.image)), 80)
    fused = fuse_pictures(picture, overlap, [on_white(layer) for layer in rgba_layers(scene)])
    shown = [p for p in fused.pairs if p['why'] == 'evidence']
    p_true = [p['p_a_front'] if (p['a'], p['b']) in scene.pairs else 1-p['p_a_front'] for p in shown]
    assert shown and min(p_true) > .1

def test_batches_carry_where_colours_are_given():
    done = harmonise(noisy()[0])
    batch = make_batch([done, noisy()[1]], 6)
    assert torch.equal(batch['given'][0, :done.n], done.given) and torch.equal(batch['given'][1], batch['alphas'][1] > .5)
    assert 'given' not in make_batch(noisy())

def share_hidden(scene, share, seed):
    "The scene with a mask over a share of the overlap of each pair: what lies on one side of a line in a random direction."
    cover, mask = scene.alphas[:, 0] > .5, torch.zeros_like(scene.mask)
    rng = torch.Generator().manual_seed(seed)
    for i, j in torch.combinations(torch.arange(scene.n)).tolist():
        y, x = (cover[i] & cover[j]).nonzero(as_tuple=True)
        direction = torch.randn(2, generator=rng)
        hidden = (direction[0]*y + direction[1]*x).argsort()[:round(share*len(y))]
        mask[0, y[hidden], x[hidden]] = 1
    return replace(scene, mask=mask, partial=scene.image*(1-mask))

@needs_shared
@pytest.mark.parametrize('model', ['order', 'vote'])
def test_real_labels_are_ordered_by_the_model_alone(model):
    for scene in CONVERT_FORMATS['cocoa'](SHARED/'real'/'cocoa'/'annotations'/'COCO_amodal_val2014.json', mask=OVERLAPS):
        for s in scene, share_hidden(scene, .6, 0):
            assert fuse_scene(s, model).pairs == fuse_scene(s, model, harmonise=False).pairs

# Ties

def abstain(batch):
    "A method that knows nothing: every pair at even odds."
    order = torch.zeros(*batch['valid'].shape, batch['valid'].shape[1])
    return composite_weights(batch['alphas'], torch.arange(order.shape[1])[None]), order

def test_a_method_that_abstains_is_half_right():
    for harmonised in False, True:
        method = with_harmonisation(abstain) if harmonised else abstain
        (result,) = evaluate({'x': method}, exact(), lpips=False).values()
        assert [result[k] for k in ('order_all', 'pair_accuracy', 'ece')] == [.5, .5, 0]
        assert result['recall'] == 0 and 'precision' not in result

def test_a_method_without_an_order_has_no_precision():
    results = evaluate({'mean': BASELINES['mean'], 'true_order': BASELINES['true_order']}, exact(), lpips=False)
    mean, true = order_table(results).splitlines()[-2:]
    assert [c.strip() for c in mean.split('|')[2:-1]] == ['50.0', '0.0', '–', '0.0']
    assert [c.strip() for c in true.split('|')[2:-1]] == ['100.0']*4

def test_published_values_stand_alone():
    table = order_table(evaluate({'mean': BASELINES['mean']}, exact()[:1], lpips=False))
    assert all(name in published_table() and name not in table for name in PUBLISHED_SCORES)

# Numbers

def bar(x, value): return torch.cat([torch.full((3, 8, 32), value), torch.zeros(1, 8, 32)]) + ((torch.arange(32)-x).abs() < 9)*torch.tensor([0, 0, 0, 1.]).view(4, 1, 1)

def test_numbers_do_not_tell_the_order():
    "Front first, as COCOA: neither the first number nor the last is in front more often than by chance."
    bars, right = [bar(x, v) for x, v in ((10, .2), (16, .5), (22, .8))], []
    for i in range(100):
        scene = build_scene(f'{i:012}', torch.zeros(3, 8, 32), bars, pairs=[(1, 2), (1, 3), (2, 3)])
        right.append(evaluate({'first': BASELINES['first']}, [scene], lpips=False)['first']['order_all'])
        for f, b in scene.pairs: assert scene.completions[f-1].max() < scene.completions[b-1].max() # the pairs follow
    assert .42 < sum(right)/len(right) < .58 # 300 pairs of 100 independent scenes; three deviations are .1

def test_the_shuffled_order_is_the_same_on_every_machine():
    assert shuffled_order('COCO_val2014_000000188819', 6) == [2, 3, 4, 5, 0, 1]
    assert sorted(shuffled_order('\ud800', 5)) == list(range(5)) # a lone surrogate, as JSON can hold

def test_numbers_that_a_person_gave_are_kept(tmp_path):
    for k, (x, v) in enumerate(((10, .2), (16, .5), (22, .8)), 1): write_picture(tmp_path/f'c{k}.png', bar(x, v))
    write_picture(tmp_path/'p.png', torch.zeros(3, 8, 32))
    rows = ''.join(f'{i},p.png,c1.png,c2.png,c3.png,1>2 2>3\n' for i in range(8))
    (tmp_path/'m.csv').write_text('id,image,comp1,comp2,comp3,pairs\n' + rows)
    for scene in CONVERT_FORMATS['manifest'](tmp_path/'m.csv'):
        assert scene.pairs == [(1, 2), (2, 3)]
        assert scene.completions.amax((1, 2, 3)).sort()[1].tolist() == [0, 1, 2]

# Pairs that touch

def strip(x): return [x, 0, x+8, 0, x+8, 24, x, 24] # a polygon

def write_instaorder(folder, orders, gap):
    "Masks of visible parts side by side, `gap` px apart, in InstaOrder's layout; returns the label file."
    write_picture(folder/'val2017'/'1.png', torch.rand(3, 24, 60, generator=torch.Generator().manual_seed(0)))
    (folder/'annotations').mkdir()
    images = [{'id': 1, 'file_name': '1.png', 'width': 60, 'height': 24}]
    instances = [{'id': k, 'image_id': 1, 'segmentation': [strip(4 + k*(8+gap))], 'category_id': 1, 'iscrowd': 0} for k in range(4)]
    (folder/'annotations'/'instances_val2017.json').write_text(json.dumps({'images': images, 'annotations': instances}))
    labels = {'annotations': [{'image_id': 1, 'instance_ids': [0, 1, 2, 3], 'occlusion': [{'order': o} for o in orders]}]}
    (folder/'annotations'/'InstaOrder_val2017.json').write_text(json.dumps(labels))
    return folder/'annotations'/'InstaOrder_val2017.json'

MEASURES = 'order_all', 'pair_accuracy', 'recall', 'precision', 'f1'

@pytest.mark.parametrize('gap', [0, 3])
@pytest.mark.parametrize('orders', [['0<1', '2<1', '2<3'], ['0<1', '1<2 & 2<1', '3<2']], ids=['one way', 'one both ways'])
def test_labelled_pairs_that_only_touch_are_scored(tmp_path, orders, gap):
    (scene,) = CONVERT_FORMATS['instaorder'](write_instaorder(tmp_path, orders, gap))
    result = evaluate({'true_order': BASELINES['true_order']}, [scene], lpips=False)['true_order']
    assert [result[k] for k in MEASURES] == [1]*5
    batch, n_one_way = make_batch(scene), sum('&' not in o for o in orders)
    order = batch['front'].float() - batch['front'].float().mT
    assert order_scores(order, batch)['order_all'] == (n_one_way, n_one_way)
    assert order_scores(-order, batch)['order_all'] == (0, n_one_way)
    listed = {frozenset((p['a'], p['b'])) for p in fuse_scene(scene, 'area').pairs}
    assert {frozenset(p) for p in scene.pairs} <= listed

def test_a_label_file_becomes_a_table_and_an_order_file(tmp_path, capsys):
    src = write_instaorder(tmp_path, ['0<1', '2<1', '2<3'], 0)
    for args in (['convert', 'instaorder', src, tmp_path/'scenes'], ['fuse', tmp_path/'scenes', '--out', tmp_path/'out'],
                 ['eval', tmp_path/'scenes', '--no-lpips', '--all']):
        with pytest.raises(SystemExit) as end: main([str(a) for a in args])
        assert not end.value.code
    ours, published = capsys.readouterr().out.split('Published values on other data sets')
    assert [c.strip() for c in ours.split('| true_order ')[-1].splitlines()[0].split('|')[1:-1]] == ['100.0']*4
    assert not any(name in ours for name in PUBLISHED_SCORES) and all(name in published for name in PUBLISHED_SCORES)
    order = json.loads((tmp_path/'out'/'1'/'1_order.json').read_text())
    listed = {(p['a'], p['b']): p['overlap_px'] for p in order['pairs']}
    assert {tuple(sorted(p)) for p in read_scene(tmp_path/'scenes'/'1').pairs} <= set(listed) and not any(listed.values())

def test_a_table_of_labels_has_the_order_of_all_pairs_where_none_shows():
    labels, composed = {'order_all': 1., 'scenes': 1}, {'order_all': 1., 'order_identifiable': .9, 'scenes': 1}
    assert 'order, all' in main_table({'true_order': labels}) and '1.000' in main_table({'true_order': labels})
    assert 'order, all' not in main_table({'true_order': composed, 'mean': labels})

@needs_shared
@pytest.mark.parametrize('format, path', [
    ('instaorder', 'cases/01_instaorder_modal_masks/annotations/InstaOrder_val2017.json'),
    ('cocoa', 'real/cocoa/annotations/COCO_amodal_val2014.json')])
def test_the_true_order_of_real_labels_is_right(format, path):
    scenes = list(CONVERT_FORMATS[format](SHARED/path))
    result = evaluate({'true_order': BASELINES['true_order']}, scenes, lpips=False)['true_order']
    assert [result[k] for k in MEASURES] == [1]*5
    for scene in scenes:
        listed = {frozenset((p['a'], p['b'])) for p in fuse_scene(scene, 'area').pairs}
        assert {frozenset(p) for p in scene.pairs} <= listed
