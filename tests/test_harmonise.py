"Harmonising: any scene gives a picture, nothing outside the mask changes, and what is not visible stays as it is."
import json
from dataclasses import dataclass, fields, replace
from functools import cache
from unittest.mock import patch
import numpy as np, pytest, torch, torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from amodal_nb.fusion import predict
import amodal_nb.core.geometry as geometry, amodal_nb.fusion.harmonise as harmonising
from amodal_nb.app.cli import main
from amodal_nb.core.compositing import composite_weights, front_to_back
from amodal_nb.core.files import assets
from amodal_nb.formats.programs import program_predictor
from amodal_nb.fusion.config import HarmoniseConfig
from amodal_nb.fusion.fuse import predict_scene
from amodal_nb.fusion.harmonise import estimate_visibilities, harmonise, harmonise_and_report, Harmoniser
from amodal_nb.fusion.refine import with_harmonisation, with_order_refinement
from amodal_nb.models.baselines import BASELINES, order_by_residual, true_order
from amodal_nb.models.checkpoint import load_weights
from amodal_nb.models.order import MAX_PAIR_LOG_ODDS
from amodal_nb.models.predictor import model_predictor, Predictor
from amodal_nb.models.transitivity import transitive_log_odds
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.scenes.scene import Scene
from amodal_nb.synthesis.composer import Composer

@cache
def noisy():
    "Ten scenes of 96 px; not made at import, which every worker does."
    scenes = [Composer(size=96, n_objects=(2, 5), noise='noisy', seed=71)[i] for i in range(4)]
    scenes += [Composer(size=96, n_objects=3, noise='noisy,turn=10,stretch=.2', seed=74)[i] for i in range(3)]
    return scenes + [Composer(size=96, n_objects=3, noise='noisy,shift=8,gain=.6,bias=.3,field=.3,blur=4,jpeg=5,alpha=4,wrong=1', seed=72)[i] for i in range(3)]

def times(s, factor): return replace(s, completions=(s.completions*factor).clamp(0, 1))
def transparent(s): return replace(s, completions=0*s.completions, alphas=0*s.alphas)
def faint(s): return replace(s, alphas=s.alphas*.4)
def one_empty(s): return replace(s, completions=s.completions*(torch.arange(s.n) > 0).view(-1, 1, 1, 1), alphas=s.alphas*(torch.arange(s.n) > 0).view(-1, 1, 1, 1))
def half_outside(s): # the left half of everything lies beyond the canvas
    cut = s.size[1]//2
    return replace(s, **{k: None if getattr(s, k) is None else getattr(s, k)[..., cut:] for k in ('mask', 'partial', 'completions', 'alphas', 'image', 'background')})
def masked(s, mask): return replace(s, mask=mask, partial=s.image*(1-mask))
def to_the_border(s): return masked(s, torch.maximum(s.mask, F.pad(torch.zeros(1, *(n-6 for n in s.size)), (3,)*4, value=1.)))
def all_masked(s): return masked(s, torch.ones_like(s.mask))
def all_but_one_pixel(s): return masked(s, 1-F.pad(torch.ones(1, 1, 1), (40, 55, 40, 55)))
def hard(s): return replace(s, alphas=(s.alphas > .5).float())
def everywhere(s): return replace(s, alphas=torch.ones_like(s.alphas))
def random(s): return replace(s, completions=torch.rand(s.completions.shape, generator=torch.Generator().manual_seed(0))*(s.alphas > 0))
def night(s): return replace(s, partial=0*s.partial, image=0*s.image)
def no_background(s): return replace(s, background=None)
def thousand(s): return replace(s, completions=s.completions[:1].repeat(12, 1, 1, 1), alphas=s.alphas[:1].repeat(12, 1, 1, 1), pairs=None)
def small(h, w): return lambda s: replace(s, **{k: getattr(s, k)[..., 40:40+h, 40:40+w] for k in ('partial', 'completions', 'alphas', 'image', 'background')}, mask=torch.ones(1, h, w))

CHANGES = {'as it is': lambda s: s, 'dark': lambda s: times(s, .25), 'bright': lambda s: times(s, 2.5), 'black': lambda s: times(s, 0), 'transparent': transparent,
           'faint': faint, 'one empty': one_empty, 'half outside': half_outside, 'mask to the border': to_the_border, 'all masked': all_masked,
           'all but one pixel': all_but_one_pixel, 'hard alphas': hard, 'everywhere': everywhere, 'random colours': random, 'night': night,
           'no background': no_background, 'no background, everywhere': lambda s: no_background(everywhere(s)), 'twelve times the same': thousand,
           '1x1': small(1, 1), '2x3': small(2, 3), '1x40': small(1, 40), '40x5': small(40, 5)}

def tensors(s): return [s.completions, s.alphas] + ([] if s.background is None else [s.background])

@cache
def fused_change(name, k):
    "A changed scene, what its tensors were before it was fused, and its fusion; two tests look at it."
    scene = CHANGES[name](noisy()[k])
    before = [t.clone() for t in (*tensors(scene), scene.partial, scene.mask)]
    return scene, before, predict.fuse_scene(scene)

ONE_OF_EACH_NOISE = 0, 4, 7 # in `noisy`

@pytest.mark.parametrize('name', CHANGES)
def test_harmonise_gives_a_picture_whatever_comes_in(name):
    for k in ONE_OF_EACH_NOISE if name == 'twelve times the same' else range(10): # its 66 pairs take as long as ten other scenes
        scene, before, fused = fused_change(name, k)
        done, report = fused.scene, fused.harmonise
        for t, given in zip(tensors(done), tensors(scene)):
            assert t.shape == given.shape and torch.isfinite(t).all() and t.min() >= 0 and t.max() <= 1
        for completion, alpha, r in zip(done.completions, done.alphas, report):
            if r['changed']: assert (completion*(alpha == 0) == 0).all(), f'completion {r["comp"]} has colours where its alpha is 0'
        assert all(torch.equal(a, b) for a, b in zip(before, (*tensors(scene), scene.partial, scene.mask))), 'what was given was changed'
        assert torch.equal(done.partial, scene.partial) and torch.equal(done.mask, scene.mask) and done.pairs == scene.pairs
        assert len(report) == scene.n + (scene.background is not None)
        json.dumps(report, allow_nan=False)
        outside = (scene.mask == 0).expand_as(scene.partial)
        assert torch.equal(fused.result[outside], scene.partial[outside])
        assert torch.isfinite(fused.result).all() and fused.result.min() >= 0 and fused.result.max() <= 1 + 1e-6

@pytest.mark.parametrize('name', CHANGES)
def test_what_the_report_calls_unchanged_is_unchanged(name):
    scene, _, fused = fused_change(name, 0)
    done, report = harmonise_and_report(scene)
    assert fused.harmonise == report and all(torch.equal(a, b) for a, b in zip(tensors(fused.scene), tensors(done)))
    for k, r in enumerate(report[:scene.n]):
        same = torch.equal(done.completions[k], scene.completions[k]) and torch.equal(done.alphas[k], scene.alphas[k])
        assert same or r['changed']
        if not r['changed']: assert (r['shift_px'], r['affine'], r['gain'], r['bias'], r['rim_px']) == ([0, 0], [[1, 0], [0, 1]], [1, 1, 1], [0, 0, 0], 0)

@pytest.mark.parametrize('change', [all_masked, all_but_one_pixel, transparent])
def test_harmonise_without_anything_visible_is_plain_fusion(change):
    for scene in map(change, noisy()[:4]):
        scene = no_background(scene) # which may be visible where completions are not
        assert all(r['evidence_px'] <= 1 and not r['changed'] for r in harmonise_and_report(scene)[1])
        assert torch.equal(predict.fuse_scene(scene).result, predict.fuse_scene(scene, harmonise=False).result)

def test_harmonise_keeps_perfect_completions():
    exact = Composer(size=96, n_objects=(2, 5), seed=73)
    for i in range(8):
        done = harmonise(exact[i], true_order)
        for given, t in zip(tensors(exact[i]), tensors(done)): assert torch.equal(given, t)

@pytest.mark.parametrize('dy, dx', [(1.5, -2), (0, .5), (-.75, -1.25)])
def test_harmonise_finds_a_known_shift_and_gain(dy, dx):
    "Colours scaled, everything moved by whole and half pixels, on a picture full of texture; all but a corner is visible."
    y, x = torch.meshgrid(torch.arange(96.), torch.arange(96.), indexing='ij')
    texture = lambda y, x, c: .5 + .2*torch.sin(.5*y + c) + .2*torch.cos(.43*x + .3*y - c)
    moved = lambda dy, dx: torch.stack([texture(y-dy, x-dx, c) for c in range(3)])
    alpha = lambda dy, dx: (30 - ((y-48-dy)**2 + (x-48-dx)**2).sqrt()).clamp(0, 1)[None]
    mask, gain = ((y > 48) & (x > 48)).float()[None], torch.tensor([.9, 1.1, 1.])[:, None, None]
    back = torch.full((3, 96, 96), .2)
    image = torch.lerp(back, moved(0, 0), alpha(0, 0))
    completion = moved(dy, dx)/gain*(alpha(dy, dx) > 0)
    scene = Scene('known', mask, image*(1-mask), completion[None], alpha(dy, dx)[None], image, back)
    done, (r, _) = harmonise_and_report(scene)
    assert np.abs(np.add(r['shift_px'], (dy, dx))).max() < .2 and np.abs(np.divide(r['gain'], gain.flatten().numpy()) - 1).max() < .03
    hidden = (mask > 0) & (alpha(0, 0) > 0)
    error = lambda s: ((s.completions[0]*s.alphas[0] - moved(0, 0)*alpha(0, 0)).abs()*hidden).sum()/hidden.sum()/3
    assert error(done) < .02 < .04 < error(scene)

@pytest.mark.parametrize('degrees, wider', [(4, 0), (-3, .05), (0, -.06)])
def test_harmonise_finds_a_known_affine_map(degrees, wider):
    "Turned and stretched about the object's centre; the report says by which matrix, in (y, x), places were multiplied to undo it."
    y, x = torch.meshgrid(torch.arange(128.), torch.arange(128.), indexing='ij')
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    back = np.linalg.inv(np.array([[cos, -sin], [sin, cos]]) @ np.diag([1, 1+wider])) # of (y, x)
    def texture(y, x): return torch.stack([.5 + .2*torch.sin(.4*y + c) + .2*torch.cos(.33*x + .2*y - c) for c in range(3)])
    def disc(y, x): return (45 - ((y-64)**2 + (x-64)**2).sqrt()).clamp(0, 1)[None]
    from_y, from_x = (64 + float(m[0])*(y-64) + float(m[1])*(x-64) for m in back)
    mask, backdrop = ((y > 64) & (x > 64)).float()[None], torch.full((3, 128, 128), .2)
    image, alpha = torch.lerp(backdrop, texture(y, x), disc(y, x)), disc(from_y, from_x)
    scene = Scene('known', mask, image*(1-mask), (texture(from_y, from_x)*(alpha > 0))[None], alpha[None], image, backdrop)
    done, (r, _) = harmonise_and_report(scene)
    np.testing.assert_allclose(r['affine'], back, atol=.01)
    hidden = (mask > 0) & (disc(y, x) > 0)
    def error(s): return ((s.completions[0]*s.alphas[0] - texture(y, x)*disc(y, x)).abs()*hidden).sum()/hidden.sum()/3
    assert error(done) < .02 and error(done) < .3*error(scene)

def test_harmonise_does_no_harm_with_more_noise_than_foreseen():
    worse = [(d - p).item() for s in noisy() for p, d in [[(predict_scene(f, s)[0].result[0]-s.image).abs().mean() for f in (true_order, with_harmonisation(true_order))]]]
    assert max(worse) < .002 and sum(worse) < 0

def test_harmonise_does_not_depend_on_the_order_of_completions():
    s, turn = noisy()[1], list(range(noisy()[1].n))[::-1]
    other = replace(s, completions=s.completions[turn], alphas=s.alphas[turn], pairs=None)
    one, two = harmonise(s, order_by_residual), harmonise(other, order_by_residual)
    torch.testing.assert_close(one.completions[turn], two.completions, atol=1e-4, rtol=0)

def test_fuse_does_not_harmonise_if_told_so(tmp_path, capfd):
    write_scene(replace(noisy()[0], id='a'), tmp_path/'in')
    reports, pictures = {}, {}
    for out, options in ('on', []), ('off', ['--no-harmonise']):
        main_status(['fuse', str(tmp_path/'in'), '--out', str(tmp_path/out), *options])
        reports[out] = json.loads((tmp_path/out/'a'/'a_order.json').read_text())['harmonise']
        pictures[out] = (tmp_path/out/'a'/'a_fused.png').read_bytes()
    assert reports['off'] is None and pictures['on'] != pictures['off']
    scene = read_scene(tmp_path/'in'/'a')
    assert [r['comp'] for r in reports['on']] == [*range(1, scene.n+1), 'background']
    for r in reports['on']: assert set(r) == {'comp', 'evidence_px', 'changed', 'shift_px', 'affine', 'gain', 'bias', 'rim_px', 'found'} and len(r['shift_px']) == 2 and len(r['gain']) == 3

def main_status(args):
    try: main(args)
    except SystemExit as e: assert not e.code

# Settings

OFF = HarmoniseConfig(**{f.name: False for f in fields(HarmoniseConfig) if f.name.startswith('use_')})

def test_with_all_parts_off_nothing_changes():
    for scene in noisy()[:2]:
        done, report = harmonise_and_report(scene, config=OFF)
        assert all(torch.equal(a, b) for a, b in zip(tensors(done), tensors(scene))) and not any(r['changed'] for r in report)
        fused, plain = predict.fuse_scene(scene, config=OFF), predict.fuse_scene(scene, harmonise=False)
        assert torch.equal(fused.weights, plain.weights) and fused.pairs == plain.pairs

@pytest.mark.parametrize('name', [f.name for f in fields(HarmoniseConfig) if f.name.startswith('use_')])
def test_every_part_makes_a_difference(name):
    without = HarmoniseConfig(**{name: False})
    def differs(scene):
        a, b = predict.fuse_scene(scene, 'vote'), predict.fuse_scene(scene, 'vote', config=without)
        return not (torch.equal(a.weights, b.weights) and torch.equal(a.result, b.result))
    assert any(map(differs, noisy()))

# Predictors and their wrappers

@dataclass(frozen=True)
class Extended(Predictor):
    extra: int = 0

@pytest.mark.parametrize('wrap, given', [(with_order_refinement, lambda preprocess: preprocess), (with_harmonisation, lambda preprocess: preprocess.then)])
def test_a_wrapper_loses_no_field(wrap, given):
    own = Extended(order_by_residual, n_slots=7, reads_picture=True, preprocess=lambda scene: scene, extra=3)
    wrapped = wrap(own)
    assert (type(wrapped), wrapped.n_slots, wrapped.extra) == (Extended, 7, 3)
    assert given(wrapped.preprocess) is own.preprocess

def without_why(fused): return [{k: v for k, v in pair.items() if k != 'why'} for pair in fused.pairs] # a wrapped predictor does not tell

@pytest.mark.parametrize('preprocess', [harmonise, Harmoniser(), 'wrapped'])
def test_fuse_scene_harmonises_once(preprocess):
    vote = BASELINES['vote']
    own = with_harmonisation(vote) if preprocess == 'wrapped' else replace(vote, preprocess=preprocess)
    for scene in noisy()[:4]:
        once, fused = predict.fuse_scene(scene, vote), predict.fuse_scene(scene, own)
        assert torch.equal(fused.scene.completions, once.scene.completions) and fused.harmonise == once.harmonise
        assert torch.equal(fused.weights, once.weights) and without_why(fused) == without_why(once)
        assert predict.fuse_scene(scene, own, harmonise=False).harmonise == once.harmonise  # the predictor's own

def test_fuse_scene_applies_other_preprocessing_once():
    calls = []
    def darken(scene):
        calls.append(scene.id)
        return times(scene, .9)
    scene = noisy()[0]
    fused = predict.fuse_scene(scene, replace(BASELINES['vote'], preprocess=darken))
    assert calls == [scene.id] and torch.equal(fused.scene.completions, times(harmonise(scene), .9).completions)

def as_program(model):
    "What the exported program of an `OrderFusion` computes, without exporting it."
    def run(windows, pairs, alphas):
        evidence = model.net(windows)
        direct = MAX_PAIR_LOG_ODDS*torch.tanh(evidence.sum((1, 2))/MAX_PAIR_LOG_ODDS)
        order = torch.zeros(len(alphas), len(alphas)).index_put((pairs[:, 0], pairs[:, 1]), direct)
        order = order - order.T
        order = order + transitive_log_odds(order[None])[0]
        sequence = front_to_back(order[None], torch.ones(1, len(alphas), dtype=torch.bool))
        return order, composite_weights(alphas[None], sequence)[0], evidence
    return run

def test_a_program_is_harmonised_and_compared_as_its_model():
    model = load_weights(assets()/'models'/'order.safetensors')[0].eval()
    ours, program = model_predictor(model), program_predictor(model, as_program(model))
    for scene in noisy()[:3]:
        a, b, plain = predict.fuse_scene(scene, ours), predict.fuse_scene(scene, program), predict.fuse_scene(scene, ours, harmonise=False)
        assert a.harmonise == b.harmonise and a.order == b.order
        torch.testing.assert_close(a.weights, b.weights, atol=1e-5, rtol=0)
        for p, q in zip(a.pairs, b.pairs): assert abs(p['p_a_front'] - q['p_a_front']) < 1e-5
        if a.pairs: assert [p['p_a_front'] for p in a.pairs] != [p['p_a_front'] for p in plain.pairs], 'its order was not refined'
        outputs = [with_harmonisation(p) for p in (ours, program)]
        c, d = (predict_scene(p, scene)[0] for p in outputs)
        torch.testing.assert_close(c.order, d.order, atol=1e-3, rtol=1e-4)

def test_scenes_that_are_harmonised_together_come_out_as_alone():
    "Scenes of two sizes, one with an empty completion: in the batches of a CPU, and by the operations that a GPU would run."
    scenes = [Composer('cc0', seed=40 + k, size=96 - 16*(k % 2), n_objects=2 + k % 4, noise=noise)[k] for k, noise in enumerate(['noisy', 'wild', 'clean']*3)]
    keep = torch.arange(scenes[0].n).view(-1, 1, 1, 1) > 0
    scenes[0] = replace(scenes[0], alphas=scenes[0].alphas*keep, completions=scenes[0].completions*keep)
    scenes[3] = replace(scenes[3], background=None)
    alone = [harmonise_and_report(scene) for scene in scenes]
    for devices in geometry.CPU_DEVICES, ():
        with patch.object(geometry, 'CPU_DEVICES', devices): together = harmonising.harmonise_scenes(scenes)
        for (a, report), (b, expected) in zip(together, alone):
            names = ['completions', 'alphas', 'background'][:2 + (a.background is not None)]
            for name in names: assert (getattr(a, name) - getattr(b, name)).abs().max() < 1e-4
            assert (a.given != b.given).float().mean() < 1e-4
            assert [(r['changed'], r['found']) for r in report] == [(r['changed'], r['found']) for r in expected]
    assert harmonising.harmonise_scenes([]) == []

@pytest.mark.parametrize('devices', [('cpu',), ()])
def test_tensors_are_made_where_the_scenes_are(devices, monkeypatch):
    "As on a GPU, where a tensor on another device would stop it: here, every tensor without a device would be on one that holds no values."
    scenes = [Composer('cc0', seed=50 + k, size=96, n_objects=4, noise=noise)[k] for k, noise in enumerate(['noisy', 'wild'])]
    monkeypatch.setattr(geometry, 'CPU_DEVICES', devices)
    def on_the_cpu(*args): # batches are made on the CPU, and moved
        with torch.device('cpu'): return estimate_visibilities(*args)
    with patch.object(harmonising, 'estimate_visibilities', on_the_cpu), torch.device('meta'): elsewhere = harmonising.harmonise_scenes(scenes)
    for (a, report), (b, expected) in zip(elsewhere, harmonising.harmonise_scenes(scenes)):
        assert torch.equal(a.completions, b.completions) and torch.equal(a.alphas, b.alphas) and report == expected

class Kernels(TorchDispatchMode):
    "Counts the operations that are not views."
    n = 0
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.n += not operation.is_view
        return operation(*args, **(kwargs or {}))

def test_scenes_together_start_fewer_kernels_than_alone():
    scenes = [Composer('cc0', seed=1, size=64, n_objects=5, noise='noisy')[k] for k in range(8)]
    counts = []
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)                                         # what other threads start is not counted
    try:
        for batches in [[scene] for scene in scenes], [scenes]:
            with patch.object(geometry, 'CPU_DEVICES', ()), Kernels() as kernels:
                for batch in batches: harmonising.harmonise_scenes(batch)
            counts.append(kernels.n)
    finally: torch.set_num_threads(n_threads)
    assert counts[1] < .5*counts[0], counts

def test_a_scene_is_fused_as_well_by_the_operations_that_a_gpu_would_run():
    model = predict.load_predictor('order')
    for scene in noisy()[:4]:
        ours = predict.fuse_scene(scene, model)
        with patch.object(geometry, 'CPU_DEVICES', ()): other = predict.fuse_scene(scene, model)
        assert (ours.weights - other.weights).abs().max() < 1e-4 and ours.order == other.order
