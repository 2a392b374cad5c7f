"Registration reaches 8 px, 5 % of the size and 3 degrees at 256 px, with and without texture, and says so where it does not."
import math
from dataclasses import replace
import numpy as np, pytest, torch
from amodal_nb.core.geometry import warp_affine
from amodal_nb.core.noise import smooth_field
from amodal_nb.fusion.config import HarmoniseConfig
from amodal_nb.fusion.harmonise import harmonise_and_report
from amodal_nb.fusion.search import search_maps
from amodal_nb.scenes.scene import Scene

SIZE, RADIUS = 256, 45
Y, X = torch.meshgrid(torch.arange(SIZE) + .5 - SIZE/2, torch.arange(SIZE) + .5 - SIZE/2, indexing='ij')
ELLIPSE = (.5 + RADIUS*(1 - ((Y/.7)**2 + X**2).sqrt()/RADIUS)).clamp(0, 1)[None]
WEDGE = ((X < 0) & (Y > 0)).float()[None] # the mask: a quarter of the object

def texture(seed, cells, flat): # [3,SIZE,SIZE] in 0..1
    if flat: return torch.tensor([.75, .5, .3])[:, None, None].expand(3, SIZE, SIZE)
    rng = np.random.default_rng(seed)
    fields = [smooth_field(SIZE, cells, rng) for _ in range(3)]
    return (.5 + .2*torch.from_numpy(np.stack(fields))).clamp(0, 1)

def displaced(kind, dy=0., dx=0., degrees=0., scale=1.):
    "A scene of one object, whose completion is off; where its pixels come from, (x, y) from the centre."
    object_colour, backdrop = texture(1, 40, kind == 'flat'), texture(2, 12, False)
    true_map = search_maps(torch.tensor([[dy, dx, math.radians(degrees), math.log(scale), math.log(scale)]]))[0]
    alpha = warp_affine(ELLIPSE, true_map)
    completion = warp_affine(object_colour, true_map)*(alpha > 0)
    image = torch.lerp(backdrop, object_colour, ELLIPSE)
    return Scene('off', WEDGE, image*(1-WEDGE), completion[None], alpha[None], image, None)

def alpha_overlap(alpha): # intersection over union with the object in its place
    a, b = alpha[0] > .5, ELLIPSE > .5
    return ((a & b).sum()/(a | b).sum()).item()

SHIFTS = [(0, 2), (-4, 0), (5, -5), (8, 0), (0, -8), (8, 8), (-8, 6)]

@pytest.mark.parametrize('kind', ['textured', 'flat'])
@pytest.mark.parametrize('dy, dx', SHIFTS)
def test_a_shift_within_8_px_is_found_to_half_a_pixel(kind, dy, dx):
    scene = displaced(kind, dy, dx)
    done, (r,) = harmonise_and_report(scene)
    assert r['found'] is True
    largest = .5 if kind == 'textured' else 1.
    assert np.abs(np.add(r['shift_px'], (dy, dx))).max() < largest
    assert alpha_overlap(done.alphas[0]) > .95

@pytest.mark.parametrize('kind', ['textured', 'flat'])
@pytest.mark.parametrize('degrees, scale', [(3, 1.), (-3, 1.), (0, .95), (0, 1.05), (3, 1.05), (-3, .95)])
def test_turn_and_size_are_found_with_a_shift(kind, degrees, scale):
    done, (r,) = harmonise_and_report(displaced(kind, 6., -5., degrees, scale))
    assert r['found'] is True and alpha_overlap(done.alphas[0]) > .95

@pytest.mark.parametrize('kind', ['textured', 'flat'])
@pytest.mark.parametrize('dy, dx', [(14, 0), (0, -14), (14, 14)])
def test_a_shift_beyond_reach_is_not_found_and_nothing_is_changed(kind, dy, dx):
    scene = displaced(kind, float(dy), float(dx))
    done, (r,) = harmonise_and_report(scene)
    assert r['found'] is False and r['shift_px'] == [0, 0] and not r['changed']
    assert torch.equal(done.completions, scene.completions) and torch.equal(done.alphas, scene.alphas)

def test_nothing_is_claimed_where_nothing_is_visible():
    scene = displaced('textured', 4, 4)
    hidden = replace(scene, mask=torch.ones_like(scene.mask), partial=0*scene.partial)
    assert [r['found'] for r in harmonise_and_report(hidden)[1]] == [None]

def test_what_fits_is_found_and_stays():
    scene = displaced('textured')
    done, (r,) = harmonise_and_report(scene)
    assert r['found'] is True and not r['changed'] and torch.equal(done.completions, scene.completions)

def test_without_the_search_nothing_is_claimed():
    _, (r,) = harmonise_and_report(displaced('textured', 8, 0), config=HarmoniseConfig(use_search=False))
    assert r['found'] is None
