"A person's own pictures: a photograph and cut-outs in one line, what becomes of uncovered pixels, and what a result rests on."
import json
import numpy as np, pytest, torch
from PIL import Image
from amodal_nb.app.cli import main
from amodal_nb.app.inspector import inspector_state, save_pairs
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.files import assets
from amodal_nb.core.pictures import to_uint8
from amodal_nb.formats.export import read_fused
from amodal_nb.formats.layers import fusion_layers
from amodal_nb.fusion.predict import fuse_pictures, fuse_scene
from amodal_nb.scenes.batches import SceneDataset
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.synthesis.composer import Composer

NAMES = 'cat', 'box', 'tree'

@pytest.fixture(scope='module')
def scene(): return Composer(size=96, n_objects=(3, 3), seed=5)[2]

def as_uint8(t): return (t*255).round().to(torch.uint8).movedim(0, -1).numpy()

@pytest.fixture
def own(scene, tmp_path):
    "A photograph, a mask and cut-outs in files of their own; a function that fuses them and returns what was printed."
    Image.fromarray(as_uint8(scene.image)).save(tmp_path/'photo.png')
    Image.fromarray(as_uint8(scene.mask)[..., 0]).save(tmp_path/'hole.png')
    for name, colours, alpha in zip(NAMES, scene.completions, scene.alphas):
        Image.fromarray(as_uint8(torch.cat([colours, alpha]))).save(tmp_path/f'{name}.png')
    return tmp_path

def amodal(*args):
    "The command's exit status."
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code or 0
    return 0

def fuse_own(own, *options, suffix='.png'):
    return amodal('fuse', own/'photo.png', *(own/f'{name}{suffix}' for name in NAMES), '--out', own/'out', *options)

def order_of(own): return json.loads((own/'out'/'photo'/'photo_order.json').read_text())

def test_a_photograph_and_cutouts_are_fused_in_one_line(own, scene, capsys):
    assert fuse_own(own) == 0
    out = capsys.readouterr().out
    assert 'photo: front to back' in out and 'by evidence' in out and 'amodal inspect' in out
    fused = Image.open(own/'out'/'photo'/'photo_fused.png')
    assert np.array_equal(np.asarray(fused), as_uint8(scene.image)) # nothing was hidden, so nothing changes
    record = order_of(own)
    assert record['names'] == list(NAMES) and record['uncovered_fraction'] == 0
    for front, back in scene.pairs: # the photograph shows all of them
        p, = [p for p in record['pairs'] if {p['a'], p['b']} == {front, back}]
        assert (p['p_a_front'] > .5) == (p['a'] == front)
    assert np.load(own/'out'/'photo'/'photo_weights.npz')['names'].tolist() == list(NAMES)

def test_pixels_outside_a_given_mask_do_not_change_by_a_bit(own, scene):
    assert fuse_own(own, '--mask', own/'hole.png') == 0
    fused, outside = np.asarray(Image.open(own/'out'/'photo'/'photo_fused.png')), scene.mask[0].numpy() == 0
    assert np.array_equal(fused[outside], as_uint8(scene.image)[outside])
    assert not (own/'out'/'scenes'/'photo'/'photo_image.png').exists() # the photograph is no truth inside the mask

@pytest.mark.parametrize('suffix, options', [('.webp', {'lossless': True}), ('.tiff', {})])
def test_cutouts_of_any_kind_of_file_give_the_same(own, suffix, options):
    fuse_own(own)
    first = order_of(own)
    for name in NAMES: Image.open(own/f'{name}.png').save(own/f'{name}{suffix}', **options)
    assert fuse_own(own, suffix=suffix) == 0 and order_of(own) == first

def test_names_reach_layers_and_inspector_and_outlive_a_correction(own):
    fuse_own(own)
    folder = own/'out'/'scenes'/'photo'
    scene = read_scene(folder)
    fused = read_fused(scene, own/'out')
    assert [l.name for l in fusion_layers(scene, fused)][1:-1] == [NAMES[k-1] for k in fused.order]
    assert inspector_state(scene, fused).meta['names'] == list(NAMES)
    save_pairs(folder, [(2, 1)])
    assert read_scene(folder).object_names == NAMES and (2, 1) in read_scene(folder).pairs

def test_one_line_again_replaces_its_own_scene_and_nothing_else(own, capsys):
    fuse_own(own)
    assert fuse_own(own) == 0
    (own/'out'/'scenes'/'photo'/'notes.txt').write_text('mine')
    assert fuse_own(own) == 1 and 'notes.txt' in capsys.readouterr().err
    assert (own/'out'/'scenes'/'photo'/'notes.txt').read_text() == 'mine'

def test_the_report_has_a_row_for_each_scene(own):
    fuse_own(own)
    row, = json.loads((own/'out'/'report.json').read_text())['scenes']
    record = order_of(own)
    overlapping = [p for p in record['pairs'] if p['overlap_px']]
    assert row['id'] == 'photo' and row['pairs'] == len(overlapping) == row['by_evidence'] + len(row['guesses'])
    assert row['not_found'] == [] and row['uncovered'] == 0

@pytest.fixture
def bare(scene):
    "The scene with a mask that is wider than its objects, without its background."
    mask = torch.zeros_like(scene.mask)
    mask[..., :60, :60] = 1
    return type(scene)(**vars(scene) | {'mask': mask, 'partial': scene.image*(1-mask), 'background': None})

def test_uncovered_pixels_are_inpainted_kept_or_transparent(bare):
    fused = {fill: fuse_scene(bare, uncovered=fill) for fill in ('inpaint', 'keep', 'transparent')}
    hole = ~fused['keep'].covered & (bare.mask[0] > 0)
    assert hole.float().mean() > .02
    error = {fill: (f.result - bare.image)[:, hole].abs().mean() for fill, f in fused.items()}
    assert error['inpaint'] < error['keep']/2
    assert fused['keep'].result[:, hole].max() == 0
    assert ((fused['transparent'].rgba[3] == 0) == hole).all()
    for f in fused.values():
        assert torch.equal(f.weights, fused['keep'].weights) and f.uncovered == fused['keep'].uncovered
        assert torch.equal(f.result[:, ~hole], fused['keep'].result[:, ~hole])

def test_transparent_results_are_read_again(bare, tmp_path):
    write_scene(bare, tmp_path/'in')
    assert amodal('fuse', tmp_path/'in', '--out', tmp_path/'out', '--uncovered', 'transparent') == 0
    assert Image.open(tmp_path/'out'/bare.id/f'{bare.id}_fused.png').mode == 'RGBA'
    fused = read_fused(bare, tmp_path/'out')
    assert fused.uncovered_fill == 'transparent' and fused.uncovered > 0

def test_an_inpainter_of_ones_own_is_called_with_what_is_known(bare):
    def paint(picture, known):
        assert known.dtype == torch.bool and picture.shape[1:] == known.shape and not known.all()
        return torch.full_like(picture, .25)
    fused = fuse_scene(bare, uncovered=paint)
    hole = ~fused.covered & (bare.mask[0] > 0)
    assert (fused.result[:, hole] == .25).all() and fused.uncovered_fill == 'paint'

def test_a_mask_over_everything_leaves_nothing_to_inpaint_from(bare):
    bare.mask, bare.partial = torch.ones_like(bare.mask), torch.zeros_like(bare.partial)
    result = fuse_scene(bare).result
    assert torch.isfinite(result).all()

def test_pictures_in_memory_may_be_paths_a_dict_or_a_generator(own, scene):
    paths = [own/f'{name}.png' for name in NAMES]
    results = [fuse_pictures(own/'photo.png', None, completions) for completions in
               (paths, (str(p) for p in paths), dict(zip(NAMES, map(Image.open, paths))))]
    for fused in results: assert fused.object_names == NAMES and fused.pairs == results[0].pairs
    masks = scene.mask, scene.mask[0].numpy() > 0, (scene.mask.numpy() > 0) # SAM's masks are [1,H,W]
    first, *others = [fuse_pictures(scene.image, m, paths) for m in masks]
    for fused in others: assert torch.equal(fused.result, first.result)
    with pytest.raises(AmodalError, match='one picture'): fuse_pictures(own/'photo.png', None, paths[0])

def test_training_needs_a_mask(scene, tmp_path):
    whole = type(scene)(**vars(scene) | {'mask': torch.zeros_like(scene.mask), 'partial': scene.image})
    folder = write_scene(whole, tmp_path)
    assert SceneDataset([folder])[0]['mask'].max() == 0
    with pytest.raises(AmodalError, match='--mask overlaps'): SceneDataset([folder], need_image=True)[0]

def test_a_known_picture_can_be_evaluated(scene, tmp_path, capsys):
    whole = type(scene)(**vars(scene) | {'mask': torch.zeros_like(scene.mask), 'partial': scene.image})
    write_scene(whole, tmp_path/'in')
    assert amodal('eval', tmp_path/'in', '--no-lpips', '--json', tmp_path/'scores.json') == 0
    scores = json.loads((tmp_path/'scores.json').read_text())['results']
    assert scores['true_order']['order_all'] == 1 and 'contested_l1' not in scores['order']

def test_samples_are_whole_without_mask_and_partial(tmp_path):
    sample = read_scene(assets()/'scenes'/'sample1')
    folder = write_scene(type(sample)(**vars(sample) | {'mask': torch.zeros_like(sample.mask), 'partial': sample.image}), tmp_path)
    assert sorted(p.name.removeprefix('sample1_') for p in folder.iterdir()) == ['background.png', 'comp1.png', 'comp2.png', 'comp3.png', 'image.png', 'scene.json']

REAL = 'image_0141.png', 'image_0273.jpg', 'image_0447.png', 'image_0679.png'

def test_real_photographs_decide_the_order_of_real_completions(root):
    "Completions of a published system, 000 in front; pairs that overlap in at least 20 px."
    folder = root.parent/'shared'/'real'/'deocclusion'
    if not folder.is_dir(): pytest.skip('../shared/real/deocclusion is not here')
    right = []
    for name in REAL:
        photo = folder/name
        fused = fuse_pictures(photo, None, sorted((folder/photo.stem).glob('obj_*.png')))
        right += [p['p_a_front'] > .5 for p in fused.pairs if p['overlap_px'] >= 20]
        assert fused.uncovered == 0 and np.array_equal(to_uint8(fused.result), np.asarray(Image.open(photo).convert('RGB')))
    assert len(right) == 34 and sum(right) >= 32
