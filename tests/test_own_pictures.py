"A person's own pictures: a photograph and cut-outs in one line, what becomes of uncovered pixels, and what a result rests on."
import json, re, shutil, subprocess
from dataclasses import replace
import numpy as np, pytest, torch
from PIL import Image
from amodal_nb.app.cli import main
from amodal_nb.app.inspector import inspector_state, restore_corrections, WeightInspector, write_corrections
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.files import assets
from amodal_nb.core.pictures import read_picture, to_uint8
from amodal_nb.evaluation.evaluate import evaluate
from amodal_nb.formats.export import read_fused
from amodal_nb.formats.layers import fusion_layers, patched_fraction
from amodal_nb.fusion.predict import fuse_pictures, fuse_scene, load_predictor
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
    assert [l.name for l in fusion_layers(scene, fused) if l.name in NAMES] == [NAMES[k-1] for k in fused.order]
    assert inspector_state(scene, fused).meta['names'] == list(NAMES)
    write_corrections(folder, [(2, 1)])
    assert read_scene(folder).object_names == NAMES and read_scene(folder).corrections == ((2, 1),)

def test_a_saved_order_is_followed_by_fuse_inspector_and_export_but_measured_by_nothing(own, capsys):
    "The README's command again: the corrected scene is fused anew, and layers and inspector show the order of the picture."
    hole = '--mask', own/'hole.png'
    fuse_own(own, *hole)
    folder, before = own/'out'/'scenes'/'photo', order_of(own)
    pair = max(before['pairs'], key=lambda p: p['overlap_px'])
    turned = (pair['b'], pair['a']) if pair['p_a_front'] > .5 else (pair['a'], pair['b'])
    WeightInspector(folder, read_fused(read_scene(folder), own/'out')).correct(*turned) # unsaved: nothing follows
    scores = eval_scores(own)
    capsys.readouterr()
    assert fuse_own(own, *hole) == 0 and order_of(own) == before
    write_corrections(folder, [turned])
    assert amodal('export', 'ora', folder, '--fused', own/'out', '--out', own/'layers') == 0
    assert 'corrected after it was fused' in capsys.readouterr().err
    assert fuse_own(own, *hole) == 0
    assert amodal('export', 'ora', folder, '--fused', own/'out', '--out', own/'layers', '--overwrite') == 0
    (told, warned), record = capsys.readouterr(), order_of(own)
    assert 'corrected after' not in warned
    after, = [p for p in record['pairs'] if {p['a'], p['b']} == {*turned}]
    assert after['why'] == 'corrected' and after['p_a_front'] == (after['a'] == turned[0])
    assert after['model'] == {k: pair[k] for k in ('p_a_front', 'why')} and record['model_order'] == before['order']
    assert record['order'].index(turned[0]) < record['order'].index(turned[1]) and '1 as corrected' in told
    scene = read_scene(folder)
    fused = read_fused(scene, own/'out')
    shown = WeightInspector(folder, fused)
    assert shown.corrections == [turned] and shown.fusion.order == before['order'] and shown.fused.order == record['order']
    assert np.abs(as_uint8(shown.fused.result).astype(int) - as_uint8(fused.result)).max() <= 1
    layers = fusion_layers(scene, fused)
    assert [l.name for l in layers if l.name in NAMES] == [NAMES[k-1] for k in record['order']] and patched_fraction(layers, scene) == 0
    assert eval_scores(own) == scores
    restore_corrections(folder)
    assert fuse_own(own, *hole) == 0 and order_of(own) == before

def eval_scores(own):
    "The scores of the scene as it is now, with truth and a label beside what was saved."
    scene = read_scene(own/'out'/'scenes'/'photo')
    labelled = replace(scene, image=read_picture(own/'photo.png'), pairs=[(1, 2)])
    scores = evaluate({name: load_predictor(name) for name in ('vote', 'order')}, [labelled], lpips=False)
    return {name: {k: str(v) for k, v in row.items() if k != 'seconds'} for name, row in scores.items()}

def test_suspicions_stand_at_the_end_as_well(own, capsys):
    "Far above them, or in another stream, nobody sees them: a hole without its mask."
    Image.fromarray(np.asarray(Image.open(own/'photo.png'))*(np.asarray(Image.open(own/'hole.png')) == 0)[..., None]).save(own/'photo.png')
    assert fuse_own(own) == 0
    check, = [l for l in capsys.readouterr().out.splitlines() if l.startswith('check:')]
    row, = json.loads((own/'out'/'report.json').read_text())['scenes']
    assert check == f'check:  photo: {row["suspicions"][0]}' and '(--mask)' in check

def test_a_folder_is_fused_anew_where_its_order_was_corrected(own, capsys):
    fuse_own(own)
    scenes = own/'out'/'scenes'
    shutil.copytree(scenes/'photo', scenes/'twin')
    for path in (scenes/'twin').iterdir(): path.rename(path.with_name(path.name.replace('photo_', 'twin_')))
    def fuse_all(): return amodal('fuse', scenes, '--out', own/'all', '--model', 'vote')
    assert fuse_all() == 0
    write_corrections(scenes/'twin', [(1, 2), (2, 3)])
    capsys.readouterr()
    assert fuse_all() == 0 and '1 fused, 1 done before and unchanged' in capsys.readouterr().out
    rows = json.loads((own/'all'/'report.json').read_text())['scenes']
    assert [row['by_correction'] for row in rows] == [0, sum({p['a'], p['b']} != {1, 3} for p in json.loads((own/'all'/'twin'/'twin_order.json').read_text())['pairs'])]
    assert fuse_all() == 0 and '2 done before and unchanged' in capsys.readouterr().out

def test_other_cutouts_keep_the_corrections_of_objects_that_stay(own, capsys):
    "By name: the numbers are others. What cannot be kept stays in an earlier state of the record."
    fuse_own(own)
    folder = own/'out'/'scenes'/'photo'
    write_corrections(folder, [(3, 1), (1, 2)]) # tree before cat, cat before box
    assert amodal('fuse', own/'photo.png', own/'tree.png', own/'cat.png', '--out', own/'out') == 0
    assert read_scene(folder).corrections == ((1, 2),) and '1 of its corrections name no cut-out' in capsys.readouterr().err
    assert json.loads((folder/'photo_scene.json.2').read_text())['corrections'] == [{'front': 3, 'back': 1}, {'front': 1, 'back': 2}]

@pytest.mark.parametrize('corrections, problem', [([(1, 9)], 'the pair (1, 9)'), ([(1, 2), (2, 1)], 'each in front of the other')])
def test_corrections_that_cannot_be_followed_are_named_in_one_line(own, corrections, problem, capsys):
    fuse_own(own)
    folder = own/'out'/'scenes'/'photo'
    record = {'version': 1, 'names': NAMES, 'corrections': [{'front': f, 'back': b} for f, b in corrections]}
    (folder/'photo_scene.json').write_text(json.dumps(record))
    capsys.readouterr()
    for again in lambda: fuse_own(own), lambda: amodal('fuse', folder.parent, '--out', own/'again'):
        assert again() == 1
        line, = [l for l in capsys.readouterr().err.splitlines() if problem in l]
        assert 'photo_scene.json: ' in line

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

def test_a_closed_stdout_fails_no_scene(own, monkeypatch):
    class Closed:
        encoding = 'utf-8'
        def write(self, text): raise BrokenPipeError(32, 'Broken pipe')
        def flush(self): pass
    monkeypatch.setattr('sys.stdout', Closed())
    assert fuse_own(own) == 0
    monkeypatch.undo()
    report = json.loads((own/'out'/'report.json').read_text())
    assert report['done'] == ['photo'] and not report['failed']

def test_layers_with_names_of_any_script_are_written(own):
    names = 'кот', '猫', 'tree'
    for old, new in zip(NAMES, names): (own/f'{old}.png').rename(own/f'{new}.png')
    assert amodal('fuse', own/'photo.png', *(own/f'{name}.png' for name in names), '--out', own/'out') == 0
    for format in 'psd', 'ora': assert amodal('export', format, own/'out'/'scenes', '--fused', own/'out', '--out', own/format) == 0
    from psd_tools import PSDImage
    layers = {layer.name: layer for layer in PSDImage.open(own/'psd'/'photo.psd')}
    assert set(names) <= set(layers) and not layers['picture'].visible # it would hide all others

def test_inputs_are_not_replaced_by_results(own, capsys):
    fuse_own(own)
    result = own/'out'/'photo'/'photo_fused.png'
    before = result.read_bytes()
    assert fuse_own(own, '--background', result) == 1 and 'is read' in capsys.readouterr().err
    assert result.read_bytes() == before

def test_wrong_options_change_nothing(own):
    fuse_own(own)
    before = {p: p.read_bytes() for p in (own/'out').rglob('*') if p.is_file()}
    for options in (['--model', 'nonsense'], ['--uncovered', 'some'], ['--on-extra', 'some']):
        assert amodal('fuse', own/'photo.png', own/'cat.png', '--mask', own/'hole.png', *options, '--out', own/'out') == 1
    assert {p: p.read_bytes() for p in (own/'out').rglob('*') if p.is_file()} == before

def test_a_black_hole_is_called_black(own, capsys):
    Image.new('L', (96, 96), 255).save(own/'hole.png')
    for name in NAMES: Image.new('RGBA', (96, 96)).save(own/f'{name}.png')
    assert fuse_own(own, '--mask', own/'hole.png') == 0
    out, err = capsys.readouterr()
    assert '100.0% of the mask uncovered, black' in out

def test_a_mask_that_is_none_is_named(own, capsys):
    Image.new('L', (96, 96), 255).save(own/'hole.png')
    fuse_own(own, '--mask', own/'hole.png')
    assert 'the mask covers the whole picture' in capsys.readouterr().err
    Image.fromarray(np.tile(np.linspace(0, 255, 96, dtype=np.uint8), (96, 1))).save(own/'hole.png')
    fuse_own(own, '--mask', own/'hole.png')
    assert 'is it a mask?' in capsys.readouterr().err

def test_another_photograph_of_the_same_name_is_refused_and_nothing_changes(own, scene, capsys):
    fuse_own(own)
    before = {p: p.read_bytes() for p in (own/'out').rglob('*') if p.is_file()}
    (own/'trip').mkdir()
    Image.fromarray(as_uint8(scene.image.flip(2))).save(own/'trip'/'photo.png')
    assert amodal('fuse', own/'trip'/'photo.png', own/'cat.png', '--out', own/'out') == 1
    line, = capsys.readouterr().err.splitlines()
    assert str(own/'out'/'scenes'/'photo'/'photo_image.png') in line and str(own/'trip'/'photo.png') in line
    assert {p: p.read_bytes() for p in (own/'out').rglob('*') if p.is_file()} == before
    for options in ['--mask', own/'hole.png'], []: # the same one is fused again, with a mask and without
        assert fuse_own(own, *options) == 0
    assert order_of(own)['names'] == list(NAMES)

def test_results_of_a_folder_are_not_replaced_by_a_photograph_of_that_name(own, scene, capsys):
    write_scene(type(scene)(**vars(scene) | {'id': 'photo'}), own/'in')
    amodal('fuse', own/'in', '--out', own/'out')
    assert fuse_own(own) == 1 and 'maybe of another photograph' in capsys.readouterr().err
    assert not (own/'out'/'scenes').exists()

@pytest.mark.parametrize('fused', [True, False])
def test_a_transparent_result_is_transparent_in_openraster(bare, tmp_path, fused):
    from zipfile import ZipFile
    write_scene(bare, tmp_path/'in')
    amodal('fuse', tmp_path/'in', '--out', tmp_path/'out', '--uncovered', 'transparent')
    options = ['--fused', tmp_path/'out'] if fused else []
    assert amodal('export', 'ora', tmp_path/'in', '--out', tmp_path/'layers', *options) == 0
    with ZipFile(tmp_path/'layers'/f'{bare.id}.ora') as z:
        merged, *layers = [Image.open(z.open(name)) for name in z.namelist() if name == 'mergedimage.png' or 'layer' in name][::-1]
        canvas = Image.new('RGBA', merged.size)
        for layer in layers[:-1]: canvas.alpha_composite(layer.convert('RGBA')) # the picture is hidden
    stored = Image.open(tmp_path/'out'/bare.id/f'{bare.id}_fused.png')
    if not fused: # an export that fuses itself inpaints
        assert merged.mode == 'RGB'
        return
    expected = np.asarray(stored)
    assert (expected[..., 3] == 0).any()
    for picture in merged, canvas:
        picture = np.asarray(picture).astype(int)
        assert np.array_equal(picture[..., 3], expected[..., 3])
        assert np.abs(picture - expected)[expected[..., 3] > 0].max() <= 3

def interrupting(real, after):
    "A function that is interrupted as by Ctrl-C when it is called for the n-th time."
    calls = []
    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) > after: raise KeyboardInterrupt
        return real(*args, **kwargs)
    return call

BATCHES = {'fuse': ('amodal_nb.fusion.bulk.fuse_scene', ['{in}', '--out', '{out}'], '1 of 3 scenes done; see {out}/report.json'),
           'export': ('amodal_nb.formats.export.fuse_scene', ['ora', '{in}', '--out', '{out}'], '1 of 3 scenes done; see {out}/report.json'),
           'convert': ('amodal_nb.formats.convert.write_scene', ['manifest', '{in}/all.json', '{out}'], '1 scenes done; see {out}/report.json'),
           'scenes': ('amodal_nb.synthesis.composer.write_scene', ['{out}', '--n', '3', '--size', '48'], '1 of 3 scenes done'),
           'eval': ('amodal_nb.app.cli.read_scene_with_target', ['{in}', '--no-lpips', '--json', '{out}.json'], '0 of 3 scenes measured; no results'),
           'demo': ('amodal_nb.fusion.bulk.fuse_scene', ['--out', '{out}'], '1 of 8 scenes done; see {out}/fused/report.json')}

@pytest.mark.parametrize('command', BATCHES)
def test_ctrl_c_says_how_far_a_batch_came(scene, tmp_path, monkeypatch, capsys, command):
    from amodal_nb.core.files import write_json
    target, words, message = BATCHES[command]
    for id in 'abc': write_scene(type(scene)(**vars(scene) | {'id': id}), tmp_path/'in')
    write_json(tmp_path/'in'/'all.json', [{'id': id, 'image': f'{id}/{id}_image.png', 'completions': [f'{id}/{id}_comp1.png']} for id in 'abc'])
    def filled(text): return text.replace('{in}', str(tmp_path/'in')).replace('{out}', str(tmp_path/'out'))
    module, name = target.rsplit('.', 1)
    from importlib import import_module
    monkeypatch.setattr(target, interrupting(getattr(import_module(module), name), 1))
    assert amodal(command, *map(filled, words)) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f'interrupted: {filled(message)}'
    if command == 'eval': assert not (tmp_path/'out.json').exists()
    if command in ('fuse', 'export'):
        report = json.loads((tmp_path/'out'/'report.json').read_text())
        assert (report['done'], report['failed'], report['not_done']) == (['a'], [], ['b', 'c'])
    if command == 'fuse': # the report does not stand in the way of the next run
        monkeypatch.undo()
        assert amodal('fuse', tmp_path/'in', '--out', tmp_path/'out') == 0
        assert 'not_done' not in json.loads((tmp_path/'out'/'report.json').read_text())

def test_eval_says_why_nothing_but_the_order_is_measured(scene, tmp_path, capsys):
    whole = type(scene)(**vars(scene) | {'id': 'whole', 'mask': torch.zeros_like(scene.mask), 'partial': scene.image})
    write_scene(scene, tmp_path/'in')
    amodal('eval', tmp_path/'in', '--no-lpips')
    assert 'mask' not in capsys.readouterr().out.splitlines()[-1]
    write_scene(whole, tmp_path/'in')
    amodal('eval', tmp_path/'in', '--no-lpips')
    assert capsys.readouterr().out.splitlines()[-1].startswith('1 of 2 scenes have no mask')

@pytest.mark.parametrize('words', [['fuse', '{in}', '--out'], ['fuse', '{photo}', '{cat}', '--out'], ['export', 'ora', '{in}', '--out'], ['convert', 'rgba-stack', '{stack}'],
                                   ['scenes', '--n', '1'], ['scenes', '--n', '2', '--shards', '1'], ['demo', '--out'], ['share', '--out']])
@pytest.mark.parametrize('place', ['file', 'file/below'])
def test_out_is_a_file(own, scene, capsys, words, place):
    write_scene(scene, own/'in')
    (own/'file').write_text('mine')
    names = {'{in}': own/'in', '{stack}': own/'in'/scene.id, '{photo}': own/'photo.png', '{cat}': own/'cat.png'}
    assert amodal(*(names.get(w, w) for w in words), own/place) == 1
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f'{own/"file"}: is a file, not a folder') and (own/'file').read_text() == 'mine'

@pytest.mark.parametrize('option, words', [('--mask', "or the word 'overlaps'"), ('--image', 'folder with one picture a scene')])
def test_a_mistyped_mask_or_image_names_what_is_possible(own, scene, capsys, option, words):
    for k, name in enumerate(NAMES): (own/f'{name}.png').rename(own/f'layer_{k}.png')
    (own/'st').mkdir()
    for k in range(3): (own/f'layer_{k}.png').rename(own/'st'/f'layer_{k}.png')
    assert amodal('convert', 'rgba-stack', own/'st', own/'out', option, 'overlap') == 1
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f'{option} overlap: no file or folder') and words in line and not (own/'out').exists()

def test_a_missing_number_of_a_stack_is_no_failure(own, scene, capsys):
    (own/'st').mkdir()
    for k, name in zip((1, 2, 4), NAMES): (own/f'{name}.png').rename(own/'st'/f'layer_{k}.png')
    assert amodal('convert', 'rgba-stack', own/'st', own/'out', '--image', own/'photo.png') == 0
    out, err = capsys.readouterr()
    assert '1 converted, 0 failed, 0 parts left out' in out and '1 of the layers 1 to 4 is missing' in err
    assert read_scene(own/'out'/'st').n == 3

def test_an_empty_cutout_has_no_place_in_the_order_and_is_named(own, capsys):
    Image.new('RGBA', (96, 96)).save(own/'box.png')
    assert fuse_own(own) == 0
    out, err = capsys.readouterr()
    line = next(line for line in out.splitlines() if line.startswith('photo: front to back'))
    assert 'box' not in line.split('; ')[0] and 'empty: box' in line and 'box covers nothing' in err
    assert sorted(order_of(own)['order']) == [1, 3]
    report, = json.loads((own/'out'/'report.json').read_text())['scenes']
    assert report['empty'] == [2]
    scene = read_scene(own/'out'/'scenes'/'photo')
    assert [l.name for l in fusion_layers(scene, read_fused(scene, own/'out'))][-2] == 'box' # lowest of the objects

@pytest.mark.parametrize('dtype', [bool, np.uint8, np.int64, np.float32])
@pytest.mark.parametrize('axes', [0, 1, 2])
@pytest.mark.parametrize('convert', [np.asarray, torch.from_numpy])
@pytest.mark.parametrize('white', [1, 255])
def test_masks_as_sam_gives_them(scene, dtype, axes, convert, white):
    from amodal_nb.scenes.inputs import from_pictures
    mask = (scene.mask[0].numpy() > 0).astype(np.uint8)*np.uint8(white)
    mask = convert(mask.astype(dtype)[(None,)*axes].copy())
    assert torch.equal(from_pictures(scene.image, mask, list(scene.completions)).mask, scene.mask)

def test_a_cutout_that_is_named_first_is_no_photograph(own, capsys):
    assert amodal('fuse', own/'box.png', own/'cat.png', own/'photo.png', '--out', own/'out') == 1 # as a shell sorts *.png
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f'{own/"box.png"}: ') and 'name the photograph first' in line and not (own/'out').exists()

@pytest.mark.parametrize('suffix', ['gif', 'bmp'])
def test_pictures_of_other_formats_are_named(own, capsys, suffix):
    Image.open(own/'photo.png').save(own/f'photo.{suffix}')
    assert amodal('fuse', own/f'photo.{suffix}', own/'cat.png', '--out', own/'out') == 1
    line, = capsys.readouterr().err.splitlines()
    assert line == f'{own}/photo.{suffix}: is a {suffix.upper()}, which is not read: save it as PNG'

@pytest.mark.parametrize('kind, line', [('comp4', 'would be passed over'), ('background', 'is a GIF, which is not read: save it as PNG')])
def test_no_picture_of_a_scene_folder_is_passed_over(scene, tmp_path, capsys, kind, line):
    folder = write_scene(type(scene)(**vars(scene) | {'background': None}), tmp_path/'in')
    Image.new('RGB', scene.size[::-1]).save(folder/f'{scene.id}_{kind}.gif')
    assert amodal('fuse', tmp_path/'in', '--out', tmp_path/'out') == 1
    assert f'{scene.id}_{kind}.gif: {line}' in capsys.readouterr().err

def test_grey_pictures_in_memory_are_read_as_grey_files_are(scene):
    from amodal_nb.scenes.inputs import from_pictures
    grey = scene.image.mean(0, keepdim=True)
    read = from_pictures(grey, scene.mask, list(scene.completions), background=grey)
    assert torch.equal(read.image, grey.expand(3, -1, -1)) and torch.equal(read.background, read.image)

def test_a_folder_of_cutouts_is_named_as_one(own, capsys):
    (own/'cuts').mkdir()
    assert amodal('fuse', own/'photo.png', own/'cuts', '--out', own/'out') == 1
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f'{own/"cuts"}: is a folder, not a picture: ')

def test_what_soft_objects_cover_together_is_not_uncovered(scene):
    half = [torch.cat([torch.full_like(scene.image, v), torch.full_like(scene.mask, .4)]) for v in (.2, .8)]
    both, one = (fuse_pictures(scene.image, scene.mask, some, model='area', harmonise=False) for some in (half, half[:1]))
    assert both.uncovered == 0 and bool(both.covered.all()) # transmittance .36
    assert one.uncovered == 1 and not bool(one.covered.any())

def test_a_cropped_cutout_belongs_on_a_canvas(own, capsys):
    box = Image.open(own/'box.png')
    box.crop((10, 10, 40, 60)).save(own/'box.png')
    assert fuse_own(own) == 1
    assert 'place it where it belongs on a canvas of that size' in capsys.readouterr().err
    box.resize((48, 48)).save(own/'box.png')
    assert fuse_own(own) == 1
    assert 'canvas of that size' not in capsys.readouterr().err

def test_a_photograph_with_a_name_of_249_bytes(own):
    name = '猫'*83
    (own/'photo.png').rename(own/f'{name}.png')
    assert amodal('fuse', own/f'{name}.png', own/'cat.png', own/'box.png', '--out', own/'out') == 0
    assert sorted(p.name for p in (own/'out').iterdir()) == ['report.json', 'scenes', name[:66]]

@pytest.mark.parametrize('command', [['fuse'], ['export', 'ora']])
def test_a_scene_that_is_named_as_the_report_does_not_end_the_others(scene, tmp_path, capsys, command):
    for id in 'a', 'report.json': write_scene(type(scene)(**vars(scene) | {'id': id}), tmp_path/'in')
    assert amodal(*command, tmp_path/'in', '--out', tmp_path/'out') == 1
    assert 'has the name of the report' in capsys.readouterr().err
    report = json.loads((tmp_path/'out'/'report.json').read_text())
    assert report['done'] == ['a'] and [failure['id'] for failure in report['failed']] == ['report.json']

def test_the_first_commands_of_the_readme_are_true(root, tmp_path, monkeypatch, capsys):
    readme = (root/'README.md').read_text(encoding='utf-8')
    lines = readme.splitlines()
    fuse, export = (next(line for line in lines if start in line) for start in ('amodal fuse data/room', 'amodal export ora out'))
    promised = next(line for line in lines if line.startswith('photo: front to back'))
    words = subprocess.run(['bash', '-c', f'printf "%s\\n" {fuse}'], capture_output=True, text=True, check=True).stdout.split()
    assert promised.startswith('photo: front to back bear, armchair, plant; 3 of 3 pairs')
    monkeypatch.chdir(tmp_path)
    assert amodal(*(str(root/w) if w.startswith('data/') else w for w in words[1:])) == 0
    said = capsys.readouterr().out.splitlines()
    (told, told_share), (promised_text, promised_share) = (re.fullmatch(r'(.*; )([0-9.]+)%.*', line).groups() for line in (said[0], promised))
    assert told == promised_text and abs(float(told_share) - float(promised_share)) < .15 # rounding differs between machines
    assert said[0].split('%')[1] == promised.split('%')[1] and said[1:] == lines[(at := lines.index(promised)) + 1:at + len(said)]
    assert export == said[-1] and lines[at + len(said)] == '```' # all that is printed, and nothing else
    assert amodal(*export.split()[2:]) == 0 and (tmp_path/'layers'/'photo.ora').stat().st_size > 10_000

def test_the_photograph_mask_and_background_are_no_cutouts(own, capsys):
    Image.new('RGB', (96, 96)).save(own/'plate.png')
    given = '--mask', own/'hole.png', '--background', own/'plate.png'
    assert amodal('fuse', own/'photo.png', *sorted(own.glob('*.png')), *given, '--out', own/'out') == 0 # as a shell expands *.png
    lines = [line.split(': is the ')[1] for line in capsys.readouterr().err.splitlines() if ': is the ' in line]
    assert lines == [f'{kind}, and left out of the cut-outs' for kind in ('mask', 'photograph', 'background')]
    assert sorted(order_of(own)['names']) == sorted(NAMES)
    assert amodal('fuse', own/'photo.png', own/'photo.png', '--out', own/'other') == 1 and not (own/'other').exists()

def test_a_transparent_hole_is_a_mask(own, scene, capsys):
    alpha = 255 - as_uint8(scene.mask)
    Image.fromarray(np.concatenate([as_uint8(scene.partial), alpha], 2)).save(own/'photo.png')
    assert fuse_own(own) == 1 and 'give this file as --mask too' in capsys.readouterr().err and not (own/'out').exists()
    for mask in own/'photo.png', own/'hole.png':
        assert fuse_own(own, '--mask', mask) == 0
        read = read_scene(own/'out'/'scenes'/'photo')
        assert torch.equal(read.mask, scene.mask) and read.image is None and torch.equal(read.partial, scene.partial)
    Image.new('L', (96, 96), 255).crop((0, 0, 96, 90)).save(own/'small.png')
    assert fuse_own(own, '--mask', own/'small.png') == 1

@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_masks_in_place_of_cutouts_are_named(own, scene, capsys, mode):
    for name, alpha in zip(NAMES, scene.alphas): Image.fromarray(as_uint8((alpha > .5).float())[..., 0]).convert(mode).save(own/f'{name}.png')
    assert fuse_own(own) == (mode == 'L')
    assert {'L': 'a mask is no cut-out', 'RGB': 'are they masks?'}[mode] in capsys.readouterr().err

@pytest.mark.parametrize('prepare, line', [
    (lambda d: (d/'f.zip').write_bytes(b'PK'), 'is no photograph: make scenes of it first: amodal convert rgba-stack'),
    (lambda d: write_loose(d/'f'/'image.png'), 'holds pictures, but no scene: name the photograph and its cut-outs one by one'),
    (lambda d: write_loose(d/'f'/'y'/'x_comp1.png'), 'x_comp1.png: does not begin with the name of its folder, y'),
    (lambda d: (d/'f').mkdir(), 'holds no scene: expected')], ids=['zip', 'loose pictures', 'a folder of another name', 'empty'])
def test_what_is_no_scene_is_told_what_to_do(tmp_path, capsys, prepare, line):
    prepare(tmp_path)
    (root,) = tmp_path.iterdir()
    assert amodal('fuse', root, '--out', tmp_path/'out') == 1 and line in capsys.readouterr().err

def write_loose(path):
    path.parent.mkdir(parents=True)
    Image.new('RGB', (8, 8)).save(path)
