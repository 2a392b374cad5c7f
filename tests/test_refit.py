"Refitting finished layers to their photograph and editing them: from files to files, on real completions, and with input that does not fit."
import json
import numpy as np, pytest, torch
from dataclasses import replace
from PIL import Image, ImageOps
from amodal_nb.app.cli import main
from amodal_nb.core.compositing import composite_stack
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.pictures import to_uint8
from amodal_nb.formats.export import EXPORT_FORMATS
from amodal_nb.formats.layered import read_layer_stack
from amodal_nb.formats.refit_files import layers_to_scene, read_refit, write_refit
from amodal_nb.fusion.exact_stack import local_exceptions
from amodal_nb.fusion.refit import refit, refit_scene
from amodal_nb.scenes.folders import read_scene
from amodal_nb.scenes.shards import read_shards
from amodal_nb.synthesis.compose import interlock_pair
from amodal_nb.synthesis.composer import Composer
from test_kinds_of_files import png16

def amodal(*args):
    "The command's exit status."
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code or 0
    return 0

def photograph_of(scene): return replace(scene, partial=scene.image, mask=torch.zeros_like(scene.mask))
def rgba(scene, k): return to_uint8(torch.cat([scene.completions[k], scene.alphas[k]]))
def pixels(path): return np.asarray(Image.open(path).convert('RGB'))

@pytest.fixture(scope='module')
def scene(): return photograph_of(Composer(size=96, n_objects=3, seed=7, noise='noisy')[1])

@pytest.fixture(scope='module')
def made(scene): return refit_scene(scene)

@pytest.fixture(scope='module')
def stacks(made, tmp_path_factory):
    "A refitted photograph, and one with an object deleted, one moved, one copied: (folder, `Refit`) each."
    root, made = tmp_path_factory.mktemp('stacks'), replace(made, id='photo')
    edits = [dict(op='delete', layer=1), dict(op='duplicate', layer=2, name='twin'), dict(op='move', layer='twin', dx=9, dy=5)]
    return [(write_refit(m, root/name), m) for name, m in (('refit', made), ('edited', made.edit(edits)))]

@pytest.fixture
def own(scene, tmp_path):
    "A photograph, a background, and a folder of numbered layers."
    Image.fromarray(to_uint8(scene.partial)).save(tmp_path/'photo.png')
    Image.fromarray(to_uint8(scene.background)).save(tmp_path/'plate.png')
    (tmp_path/'layers').mkdir()
    for k in range(scene.n): Image.fromarray(rgba(scene, k)).save(tmp_path/'layers'/f'layer_{k}.png')
    return tmp_path

def refit_own(own, *options, layers='layers', out='out'):
    return amodal('refit', own/'photo.png', own/layers, '--background', own/'plate.png', '--out', own/out, *options)

def last_line(capsys):
    "The only line on stderr."
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and 'Traceback' not in err, err
    return err

def test_layers_are_refitted_from_files_to_an_exact_stack(own, scene, capsys):
    assert refit_own(own) == 0
    out = capsys.readouterr().out
    assert 'photo: front to back' in out and 'along the outlines' in out
    folder = own/'out'/'photo'
    assert np.array_equal(pixels(folder/'photo_image.png'), to_uint8(scene.partial))
    made = read_refit(folder)
    assert (made.composite()-scene.partial).abs().max() <= 1/255
    for e in 'ora', 'psd': # what an editor shows, and what is read back
        merged = np.asarray(Image.open(folder/f'photo_layers.{e}').convert('RGB')) if e == 'psd' else None
        if merged is not None: assert np.abs(merged.astype(int)-to_uint8(scene.partial)).max() <= 1
        stack = read_layer_stack(folder/f'photo_layers.{e}')
        assert {l.name for l in stack.layers} == {l.name for l in made.layers} | ({'residual'} if made.residual[3].any() else set())
    order = json.loads((folder/'photo_order.json').read_text())
    assert order['order'] == made.order and {p['why'] for p in order['pairs']} <= {'evidence', 'prior', 'inferred', None}
    report = json.loads((folder/'photo_report.json').read_text())
    assert report['repaint_error']['refit'] < report['repaint_error']['given']
    assert read_scene(folder).n == scene.n # a scene folder, too

def test_visible_and_hidden_parts_are_the_photographs_and_the_completions(scene, made):
    for layer in made.layers:
        sure = (layer.visible[3] == 1)
        assert (layer.visible[:3, sure]-scene.partial[:, sure]).abs().max() <= 1/255 # the photograph's own pixels
        assert not (layer.hidden[3] * sure).any()
    seen = torch.stack([layer.visible[3] for layer in made.layers]).sum(0)
    assert seen.max() <= 1 + 3/255 # no pixel is seen twice

def test_the_outlines_are_nearer_to_the_photograph_than_before(made):
    for h in made.report['halos']:
        if h['before']: assert h['after'] < .5*h['before']

def test_the_direction_of_a_stack_is_that_of_the_photograph(scene):
    "Numbered from the front or from the back, the result is the same."
    turned = replace(scene, completions=scene.completions.flip(0), alphas=scene.alphas.flip(0))
    there, back = refit_scene(scene), refit_scene(turned)
    assert there.order == [scene.n+1-k for k in back.order]
    assert there.report['direction']['order'] == [scene.n+1-k for k in back.report['direction']['order']]

def test_a_known_order_counts_where_the_photograph_is_silent():
    "A third object hides where the two others overlap."
    def layer(rows, columns, colour):
        rgba = torch.zeros(4, 64, 64)
        rgba[:, rows, columns] = torch.tensor([*colour, 1.])[:, None, None]
        return rgba
    red, green = layer(slice(20, 44), slice(4, 36), (.8, .2, .1)), layer(slice(20, 44), slice(28, 60), (.1, .7, .2))
    lid, plate = layer(slice(12, 52), slice(24, 40), (.2, .2, .9)), torch.full((3, 64, 64), .5)
    photo = plate
    for rgba in (red, green, lid): photo = torch.lerp(photo, rgba[:3], rgba[3:])
    for two in {'red': red, 'green': green}, {'green': green, 'red': red}:
        m = refit(photo, {'lid': lid, **two}, plate, 'front')
        assert [l.name for l in m.layers] == ['lid', *two]
        assert {(p['a'], p['b']): p['why'] for p in m.pairs}[2, 3] == 'prior'

def test_an_interlocked_pair_is_an_exception_by_place():
    found = 0
    for seed in range(4):
        whole = Composer(size=128, n_objects=3, seed=30+seed)[0]
        try: scene, _ = interlock_pair(whole, np.random.default_rng(seed))
        except AmodalError: continue
        m = refit_scene(photograph_of(scene))
        assert (m.composite()-scene.image).abs().max() <= 1/255
        assert all((e.front, e.back) in scene.pairs for e in m.exceptions)
        found += len(m.exceptions)
        assert local_exceptions(photograph_of(whole), refit_scene(photograph_of(whole)).order) == []
    assert found

def test_edits_from_a_file_change_nothing_else(own, scene):
    assert refit_own(own) == 0
    (own/'none.json').write_text('{"version": 1, "edits": []}')
    assert amodal('edit', own/'out'/'photo', own/'none.json', '--out', own/'same') == 0
    assert np.array_equal(pixels(own/'same'/'photo'/'photo_image.png'), to_uint8(scene.partial))
    (own/'edits.json').write_text('{"version": 1, "edits": [{"op": "delete", "layer": 1}, {"op": "move", "layer": 2, "dx": 5, "dy": 0}]}')
    assert amodal('edit', own/'out'/'photo', own/'edits.json', '--out', own/'edited') == 0
    edited = read_refit(own/'edited'/'photo')
    assert 1 not in edited.order and len(edited.layers) == scene.n-1
    untouched = (edited.composite() == read_refit(own/'out'/'photo').composite()).all(0).numpy()
    assert untouched.any() and np.array_equal(pixels(own/'edited'/'photo'/'photo_image.png')[untouched], to_uint8(scene.partial)[untouched])
    assert refit_own(own, '--edits', own/'edits.json', out='at_once') == 0
    assert np.array_equal(pixels(own/'at_once'/'photo'/'photo_image.png'), pixels(own/'edited'/'photo'/'photo_image.png'))

def turned_jpeg(path, a):
    exif = Image.Exif()
    exif[0x0112] = 6 # stored turned by a quarter
    Image.fromarray(np.rot90(a)).save(path, quality=90, exif=exif)

@pytest.mark.parametrize('name, write', [
    ('photo.jpg', lambda path, a: Image.fromarray(a).save(path, quality=90)), ('turned.jpg', turned_jpeg),
    ('rgba.png', lambda path, a: Image.fromarray(np.dstack([a, np.full(a.shape[:2], 255, np.uint8)])).save(path)),
    ('deep.png', lambda path, a: png16(path, np.dstack([a, np.full(a.shape[:2], 255, np.uint8)])))])
def test_without_an_edit_a_photograph_of_any_kind_keeps_its_bytes(own, scene, name, write, capsys):
    "As Pillow decodes it, upright; 16 bits at 8, which a line tells."
    write(own/name, to_uint8(scene.partial))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(own/name)).convert('RGB'))
    assert amodal('refit', own/name, own/'layers', '--out', own/'out', '--model', 'vote', '--edits', write_edits(own/'none.json')) == 0
    folder = own/'out'/name[:-4]
    assert np.array_equal(pixels(folder/f'{name[:-4]}_image.png'), expected) and np.array_equal(to_uint8(read_refit(folder).edit([]).picture), expected)
    assert ('16 bits a channel, read at 8' in capsys.readouterr().err) == (name == 'deep.png')

def write_edits(path, *edits):
    path.write_text(json.dumps({'version': 1, 'edits': edits}))
    return path

def test_edits_that_leave_no_object_are_said_in_one_line(own, scene, capsys):
    "The picture is the background; hiding by and by and showing again is no such case."
    assert refit_own(own) == 0
    for op in 'delete', 'hide':
        all_gone = write_edits(own/f'{op}.json', *(dict(op=op, layer=k) for k in range(1, scene.n+1)))
        capsys.readouterr()
        assert amodal('edit', own/'out'/'photo', all_gone, '--out', own/op) == 0
        assert capsys.readouterr().err == 'photo: the edits leave no object, only the background: delete or hide fewer\n'
        assert read_refit(own/op/'photo').layers == []
    shown = write_edits(own/'shown.json', *(dict(op=op, layer=k) for k in range(1, scene.n+1) for op in ('hide', 'show')))
    assert amodal('edit', own/'out'/'photo', shown, '--out', own/'shown') == 0 and capsys.readouterr().err == ''

def test_a_fused_scene_is_edited_like_a_refitted_photograph(own, scene, capsys):
    "From its own folder, from its scene and the folder of fusions, and from the scene alone; without an edit it is the fused picture."
    mask = np.zeros(scene.size, np.uint8)
    mask[30:70, 20:80] = 255
    Image.fromarray(mask).save(own/'mask.png')
    assert amodal('fuse', own/'photo.png', *sorted((own/'layers').iterdir()), '--mask', own/'mask.png', '--out', own/'fused', '--model', 'vote') == 0
    none = write_edits(own/'none.json')
    fused, source = own/'fused'/'photo', own/'fused'/'scenes'/'photo'
    for i, folder in enumerate([(fused,), (source, '--fused', own/'fused'), (source, '--model', 'vote')]):
        assert amodal('edit', folder[0], none, '--out', own/f'same{i}', *folder[1:]) == 0
        assert np.array_equal(pixels(own/f'same{i}'/'photo'/'photo_image.png'), pixels(fused/'photo_fused.png')), folder
    same = read_refit(own/'same0'/'photo')
    assert (same.composite()-same.picture).abs().max() <= 1/255 and not same.known.all() # without a background, some of it is inpainted
    gone = write_edits(own/'gone.json', dict(op='delete', layer=same.layers[0].name))
    assert amodal('edit', fused, gone, '--out', own/'gone') == 0
    assert amodal('edit', own/'same0'/'photo', gone, '--out', own/'gone_too') == 0
    first, second = (read_refit(own/name/'photo') for name in ('gone', 'gone_too'))
    assert torch.equal(first.picture, second.picture) and not torch.equal(first.picture, same.picture)
    assert torch.equal(first.unpainted, second.unpainted) and first.unpainted.any() # what is inpainted is known from the files, too
    capsys.readouterr()
    fused.rename(own/'photo')
    assert amodal('edit', own/'photo', none, '--out', own/'lost') == 1
    assert 'without its completions: give the folder of its scene, and --fused' in last_line(capsys)

def check_export(format, root, out, made):
    "Export a stack, and compare what is read back with it."
    assert amodal('export', format, root, '--out', out) == 0
    expected, names = to_uint8(made.picture), {l.name for l in made.layers}
    def near(picture): return np.abs(to_uint8(picture).astype(int) - expected).max() <= 1
    if format in ('ora', 'psd'):
        stack = read_layer_stack(out/f'photo.{format}')
        ground = torch.cat([stack.background, torch.ones_like(stack.background[:1])])
        assert {l.name for l in stack.layers} - {'residual'} == names
        return near(composite_stack([ground, *(l.rgba for l in stack.layers)]))
    if format == 'coco':
        labels = json.loads((out/'annotations.json').read_text())
        number = {a['id']: a['name'] for a in labels['annotations']}
        rank = [l.name for l in made.layers]
        for p in labels['order_pairs']: assert (rank.index(number[p['a']]) < rank.index(number[p['b']])) == (p['p_a_front'] > .5)
        solid = {l.name: int((l.rgba[3] > .5).sum()) for l in made.layers}
        return {a['name']: a['area'] for a in labels['annotations']} == solid and np.array_equal(pixels(out/'images'/'photo.png'), expected)
    scene = read_scene(out/'photo' if format == 'scenes' else read_shards([out/'000000.tar'])[0])
    repainted = composite_stack([torch.cat([scene.background, torch.ones_like(scene.mask)]),
                                 *(torch.cat([scene.completions[k], scene.alphas[k]]) for name in [l.name for l in made.layers[::-1]] for k in [scene.object_names.index(name)])])
    assert set(scene.object_names) == names and scene.n == len(names) and not scene.mask.any()
    return near(scene.image) and (repainted-scene.image).abs().max() <= 3/255 # visible and hidden are one layer there

@pytest.mark.parametrize('format', EXPORT_FORMATS)
def test_refitted_and_edited_scenes_are_exported_in_every_format(stacks, format, tmp_path, capsys):
    for i, (folder, made) in enumerate(stacks): assert check_export(format, folder.parent, tmp_path/str(i), made), folder
    assert capsys.readouterr().err == '' # nothing is estimated, nothing missing

@pytest.mark.parametrize('edits, says', [
    ('[]', 'holds a bare list'), ('{"version": 1, "edits": [1]}', 'edit 1: is no edit'), ('{"version": 1', 'JSON'),
    ('{"version": 1, "edits": [{"op": "delete", "layer": 9}]}', "no layer 9"),
    ('{"version": 1, "edits": [{"op": "move", "layer": 1, "dx": 1e9, "dy": 0}]}', 'give a number'),
    ('{"version": 1, "edits": [{"op": "move", "layer": 1, "dx": 5000, "dy": 0}]}', 'nothing of it is left'),
    ('{"version": 1, "edits": [{"op": "scale", "layer": 1, "by": -1}]}', 'give a factor'),
    ('{"version": 1, "edits": [{"op": "scale", "layer": 1, "by": 20}, {"op": "scale", "layer": 1, "by": 20}]}', 'by 400 in all'),
    ('{"version": 1, "edits": [{"op": "hide", "layer": 1}, {"op": "move", "layer": 1, "dx": 6e4, "dy": 0}, {"op": "move", "layer": 1, "dx": 6e4, "dy": 0}]}', 'keep to 100000'),
    ('{"version": 1, "edits": [{"op": "duplicate", "layer": 1}]}', 'give the copy a name'),
    ('{"version": 1, "edits": [{"op": "turn", "layer": [1], "degrees": 5}]}', 'no layer [1]'),
    ('{"version": 1, "edits": [{"op": "reorder", "layer": 1, "position": 1.5}]}', 'whole number')])
def test_an_edit_that_cannot_be_done_is_one_line(own, capsys, edits, says):
    (own/'edits.json').write_text(edits)
    assert refit_own(own, '--edits', own/'edits.json') == 1
    assert says in last_line(capsys)
    assert not (own/'out'/'photo').exists()

def test_layers_that_do_not_fit_are_one_line(own, capsys):
    def fails(says, *args):
        assert amodal(*args) == 1
        assert says in last_line(capsys)
    command = 'refit', own/'photo.png'
    fails('missing', *command, own/'nothing', '--out', own/'out')
    fails('no.png', 'refit', own/'no.png', own/'layers', '--out', own/'out')
    (own/'empty').mkdir()
    fails('empty', *command, own/'empty', '--out', own/'out')
    (own/'broken.psd').write_bytes(b'8BPS' + bytes(40))
    fails('broken.psd', *command, own/'broken.psd', '--out', own/'out')
    (own/'small').mkdir()
    for p in (own/'layers').iterdir(): Image.open(p).resize((48, 48)).save(own/'small'/p.name)
    fails('48', *command, own/'small', '--out', own/'out')
    assert amodal(*command, own/'small', '--out', own/'out', '--resize') == 0
    capsys.readouterr()
    assert not (own/'out'/'photo'/'mine').exists()
    (own/'out'/'photo'/'mine').write_text('keep')
    fails("holds 'mine'", *command, own/'layers', '--out', own/'out')
    assert (own/'out'/'photo'/'mine').read_text() == 'keep'

def test_nothing_that_is_read_is_replaced(own, capsys):
    "The layers lie where the result would go."
    (own/'photo').mkdir()
    for p in (own/'layers').iterdir(): p.rename(own/'photo'/p.name)
    assert amodal('refit', own/'photo.png', own/'photo', '--out', own) == 1
    assert 'is, holds or lies in what is read' in last_line(capsys)
    assert len(list((own/'photo').iterdir())) == 3

def test_odd_layers_are_refitted_or_named(scene):
    "A single layer, one that is empty, one that covers everything, and one that is hidden entirely."
    h, w = scene.size
    first = torch.cat([scene.completions[0], scene.alphas[0]])
    empty, everything = torch.zeros(4, h, w), torch.cat([scene.partial, torch.ones(1, h, w)])
    for layers in [first], [first, empty], [first, everything], [everything, first]:
        m = refit(scene.partial, layers, scene.background)
        assert (m.composite()-scene.partial).abs().max() <= 1/255
    with pytest.raises(AmodalError, match='completion'): refit(scene.partial, [], scene.background)

def test_real_completions_repaint_their_photograph(root):
    "PCNet's layers of a real photograph: exact, in the order of their files, with clean outlines."
    real = root.parent/'shared'/'real'/'deocclusion'
    if not real.exists(): pytest.skip('the real completions are not here')
    photo = real/'image_0447.png'
    scene, stack_order = layers_to_scene(photo, real/'image_0447')
    m = refit_scene(scene, stack_order)
    assert stack_order == 'stack' and (m.composite()-scene.partial).abs().max() <= 1/255
    explained = m.residual[3] == 0
    assert (m.composite()-scene.partial)[:, explained].abs().mean() <= .004
    direction = m.report['direction']
    assert direction['order'] == list(range(1, scene.n+1)) # 000 is in front
    halos = [h for h in m.report['halos'] if h['before'] is not None]
    mean = lambda when: sum(h[when]*h['rim_px'] for h in halos)
    assert mean('after') <= .5*mean('before')
