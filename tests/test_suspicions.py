"Suspicious inputs: each kind gives one line, once, wherever a scene comes through; sound scenes give none."
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch, torch.nn.functional as F
from PIL import Image
from amodal_nb.core.files import assets
from amodal_nb.core.pictures import read_picture, to_uint8, write_picture
from amodal_nb.formats.convert import convert
from amodal_nb.formats.stacks import from_rgba_stack
from amodal_nb.fusion.bulk import fuse_folder
from amodal_nb.fusion.predict import fuse_pictures, fuse_scene
from amodal_nb.scenes.folders import find_scenes, read_scene, write_scene
from amodal_nb.scenes.scene import make_scene
from amodal_nb.scenes.suspicions import suspicious_inputs
from amodal_nb.synthesis.compose import visible_masks
from amodal_nb.synthesis.composer import Composer

SHARED = Path(__file__).resolve().parents[1].parent/'shared'
def shared(*parts):
    path = SHARED.joinpath(*parts)
    return pytest.param(path, marks=pytest.mark.skipif(not path.exists(), reason=f'{path} does not exist'))

@pytest.fixture(scope='module')
def scene(): return read_scene(assets()/'scenes'/'sample4')

def with_completion(scene, k, rgba):
    completions, alphas = scene.completions.clone(), scene.alphas.clone()
    completions[k-1], alphas[k-1] = rgba[:3], rgba[3:]
    return replace(scene, completions=completions, alphas=alphas)

def rgba(scene, k): return torch.cat([scene.completions[k-1], scene.alphas[k-1]])
def stacked(scene): return [rgba(scene, k) for k in range(1, scene.n+1)]

def inverted(scene): return replace(scene, mask=1-scene.mask)
def beside(scene): return replace(scene, mask=((scene.alphas > .5).sum(0) == 0).float(), background=None)
def everywhere(scene): return with_completion(scene, 1, torch.cat([scene.partial, torch.ones_like(scene.mask)]))
def nothing(scene): return with_completion(scene, 1, 0*rgba(scene, 1))
def multiplied(scene): return with_completion(scene, 1, torch.cat([scene.completions[0]*scene.alphas[0], scene.alphas[0]]))
def moved(scene): return with_completion(scene, 1, torch.roll(rgba(scene, 1), (64, -90), (1, 2)))
def half_size(scene): return with_completion(scene, 3, F.pad(F.interpolate(rgba(scene, 3)[None], scale_factor=.5, mode='area')[0], (0, 128, 0, 128)))
def hidden(scene): return replace(with_completion(scene, 1, rgba(scene, 1)*scene.mask), pairs=None)
def twice(scene): return with_completion(scene, 2, rgba(scene, 1))
def mask_of_one(scene): return with_completion(scene, 2, (scene.alphas[1] > .5).float().expand(4, -1, -1))
def parts(scene): return replace(scene, alphas=visible_masks(scene)[:, None].float(), mask=0*scene.mask, partial=scene.image, pairs=None)
def unmasked(scene): return replace(scene, mask=0*scene.mask, partial=scene.image*(1-scene.mask))
KINDS = {inverted: 'inverted', unmasked: 'a black region takes', beside: 'no completion covers the mask', everywhere: 'covers nearly all', nothing: 'comp1 covers nothing', multiplied: 'multiplied by alpha',
         moved: 'fits nowhere', half_size: 'fits nowhere', hidden: 'is a guess', twice: 'comp1 and comp2',
         mask_of_one: 'is it a mask?', parts: 'are they visible parts?'}

@pytest.mark.parametrize('kind', KINDS, ids=lambda f: f.__name__)
def test_each_kind_is_one_line(scene, kind):
    (line,) = suspicious_inputs(kind(scene))
    assert KINDS[kind] in line and '\n' not in line and len(line) < 200

def test_several_of_a_kind_are_one_line(scene):
    s = scene
    for k in 1, 2: s = with_completion(s, k, torch.cat([s.completions[k-1]*s.alphas[k-1], s.alphas[k-1]]))
    (line,) = suspicious_inputs(replace(s, object_names=('van', 'dog', *'cdefg'[:s.n-2])))
    assert line.startswith('van, dog seem')

def lines_of(caplog, word): return [r.getMessage() for r in caplog.records if word in r.getMessage()]

def test_a_line_is_logged_once_by_fusing_and_by_converting(scene, tmp_path, caplog):
    odd = multiplied(scene)
    fuse_scene(odd, 'vote')
    assert lines_of(caplog, 'multiplied') == [f'{scene.id}: comp1 seems to have colours multiplied by alpha: export straight alpha, or divide by it']
    caplog.clear()
    write_scene(odd, tmp_path/'in')
    fuse_folder(tmp_path/'in', tmp_path/'out', 'vote')
    assert len(lines_of(caplog, 'multiplied')) == 1
    caplog.clear()
    for i, layer in enumerate(stacked(odd)): write_picture(tmp_path/'stack'/f'layer_{i}.png', layer)
    convert('rgba-stack', tmp_path/'stack', tmp_path/'converted')
    assert len(lines_of(caplog, 'multiplied')) == 1

def test_shipped_scenes_are_not_suspicious():
    assert [suspicious_inputs(read_scene(p)) for p in find_scenes(assets()/'scenes')] == [[]]*8

@pytest.mark.parametrize('noise', ['clean', 'noisy', 'varied'])
def test_composed_scenes_are_not_suspicious(noise):
    composer = Composer(noise=noise, size=128, seed=20261126, similar=.3)
    assert [line for i in range(4) for line in suspicious_inputs(composer[i])] == []

def test_a_scene_without_a_mask_is_not_suspicious(scene):
    assert suspicious_inputs(replace(scene, mask=0*scene.mask, partial=scene.image)) == []

# RGB on white, or on another even colour

def on(colour, scene, k): return to_uint8(scene.completions[k]*scene.alphas[k] + torch.tensor(colour).view(3, 1, 1)*(1 - scene.alphas[k]))

def overlap_share(a, b): return ((a > .5) & (b > .5)).sum()/((a > .5) | (b > .5)).sum()

def as_jpeg(picture, path):
    Image.fromarray(picture).save(path, quality=85)
    return np.asarray(Image.open(path))

@pytest.mark.parametrize('colour', [(1., 1., 1.), (.1, .8, .2)], ids=['white', 'green'])
@pytest.mark.parametrize('jpeg', [False, True])
def test_an_even_border_is_read_as_empty(colour, jpeg, tmp_path, caplog):
    scene = read_scene(assets()/'scenes'/'sample3') # no object of it is white
    pictures = [on(colour, scene, k) for k in range(scene.n)]
    if jpeg: pictures = [as_jpeg(p, tmp_path/'p.jpg') for p in pictures]
    read = make_scene(scene.image, scene.mask, pictures)
    assert min(overlap_share(read.alphas[k], scene.alphas[k]) for k in range(scene.n)) > (.8 if jpeg else .95) # on black: .89 and .99
    (line,) = lines_of(caplog, 'is read as empty')
    assert 'comp1, comp2' in line and 'give alpha' in line

def test_files_on_white_are_read_as_in_memory(scene, tmp_path, caplog):
    pictures = [on((1., 1., 1.), scene, k) for k in range(scene.n)]
    folder = write_scene(scene, tmp_path)
    for k, p in enumerate(pictures, 1): Image.fromarray(p).save(folder/f'{scene.id}_comp{k}.png')
    read, memory = read_scene(folder), make_scene(scene.image, scene.mask, pictures, partial=scene.partial)
    assert torch.equal(read.alphas, memory.alphas) and torch.equal(read_scene(folder, raw=True).alphas > 0, memory.alphas > 0)
    assert len(lines_of(caplog, 'white border')) == 2

def test_a_completion_on_black_is_read_as_before(scene, caplog):
    pictures = [on((0., 0., 0.), scene, k) for k in range(scene.n)]
    read = make_scene(scene.image, scene.mask, pictures)
    assert not caplog.records and min(overlap_share(read.alphas[k], scene.alphas[k]) for k in range(scene.n)) > .9

def test_an_opaque_picture_is_not_altered_but_named(scene, caplog):
    read = make_scene(scene.image, scene.mask, [to_uint8(scene.image), to_uint8(rgba(scene, 1))])
    assert read.alphas[0].mean() > .97 and not lines_of(caplog, 'read as empty') # dark pixels at the rim may be black
    assert torch.equal(read.completions[0], scene.image*(read.alphas[0] > 0))
    assert any('comp1 covers nearly all' in line for line in suspicious_inputs(read))

def test_a_wall_that_the_picture_shows_is_not_empty(scene):
    wall = torch.full_like(scene.image, .5)
    wall[:, 100:150, 100:150] = torch.rand(3, 50, 50, generator=torch.Generator().manual_seed(0))
    read = make_scene(wall, scene.mask, [to_uint8(wall), to_uint8(rgba(scene, 1))])
    assert read.alphas[0].min() == 1

# Files met elsewhere

@pytest.mark.parametrize('path', [shared('cases', '09_white_in_memory.py')])
def test_white_completions_of_a_model_are_fused_as_those_with_alpha(path, caplog):
    import runpy
    picture, mask, completions = runpy.run_path(str(path))['pictures']()
    fused = fuse_pictures(picture, mask, completions)
    known = fuse_scene(read_scene(assets()/'scenes'/'sample3'))
    assert len(lines_of(caplog, 'white border of comp1, comp2, comp3, comp4')) == 1 and fused.order == known.order

@pytest.mark.parametrize('path', [shared('cases', '18_premultiplied_stack')])
def test_a_premultiplied_stack_is_named(path):
    (scene,) = from_rgba_stack(path)
    (line,) = suspicious_inputs(scene)
    names, _ = line.split(' seem to have colours multiplied by alpha')
    assert sorted(names.split(', ')) == ['layer_1', 'layer_2', 'layer_3', 'layer_4']

@pytest.mark.parametrize('path', [shared('cases', '19_inverted_mask', 'x')])
def test_an_inverted_mask_is_named(path):
    (line,) = suspicious_inputs(read_scene(path))
    assert 'is it inverted?' in line

@pytest.mark.parametrize('path', [shared('real', 'deocclusion')])
def test_completions_of_a_published_system_are_not_suspicious(path):
    for photo in path.glob('image_*.*'):
        objects = [read_picture(p, ('RGBA', 'RGB')) for p in sorted(photo.with_suffix('').glob('obj_*.png'))]
        assert objects and suspicious_inputs(make_scene(read_picture(photo), None, objects)) == []
