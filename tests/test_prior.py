"""The prior for pairs that leave no trace: files, command line, and what it must never change."""
import io, json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace

import numpy as np, pytest, torch
from PIL import Image

from amodal_nb.app.cli import main
from amodal_nb.core.compositing import front_to_back
from amodal_nb.core.files import assets
from amodal_nb.core.geometry import dilate
from amodal_nb.formats.export import read_fused
from amodal_nb.fusion.predict import fuse_pictures, fuse_scene
from amodal_nb.models.prior import add_prior, natural_prior, sequence_log_odds
from amodal_nb.scenes.folders import find_scenes, read_scene, write_depth, write_scene
from amodal_nb.synthesis.composer import Composer

def hidden(scene, origin=''):
    "The scene with all overlaps hidden, rims too, its order unknown."
    overlap = (scene.alphas > .02).sum(0) > 1
    mask = dilate(overlap.float(), 3)
    return replace(scene, mask=mask, partial=scene.image*(1-mask), pairs=None, origin=origin)

@pytest.fixture(scope='module')
def silent():
    return hidden(read_scene(assets()/'scenes'/'sample1'))

def amodal(*args):
    "Run the command line: (exit status, stdout, stderr)."
    out, err, status = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err):
        try: main([str(a) for a in args])
        except SystemExit as e: status = e.code or 0
    return status, out.getvalue(), err.getvalue()

def test_the_default_decides_silent_pairs_and_none_leaves_them_even(silent):
    natural, none = fuse_scene(silent), fuse_scene(silent, prior='none')
    assert {p['why'] for p in natural.pairs} == {'prior'} and {p['why'] for p in none.pairs} == {None}
    assert all(p['p_a_front'] == .5 for p in none.pairs)
    prior = natural_prior(natural.scene.alphas)
    for p in natural.pairs:
        expected = float(prior[p['a']-1, p['b']-1].sigmoid())
        assert p['p_a_front'] == pytest.approx(expected, abs=1e-3) != .5

def test_the_picture_follows_the_prior(silent):
    "Ranks in both directions give opposite orders, and weights that follow them."
    n = silent.n
    for ranks in list(range(n)), list(range(n))[::-1]:
        fused = fuse_scene(replace(silent, ranks=tuple(ranks)))
        assert fused.order == sorted(range(1, n+1), key=lambda k: ranks[k-1])
        front = fused.order[0]-1
        inside = (fused.scene.alphas[front, 0] > .99) & (silent.mask[0] > 0)
        assert inside.any() and (fused.weights[front][inside] > .9).all()

@pytest.mark.parametrize('model', ['order', 'vote'])
def test_pairs_with_evidence_never_change(model):
    "Whatever the ranks say: the same probabilities, and the same place in the sequence."
    source = Composer('cc0', seed=8, size=96, n_objects=(3, 6), noise='noisy', hide=.8)
    n_evidence, n_prior = 0, 0
    for i in range(6):
        scene = source[i]
        before = fuse_scene(scene, model, prior='none', harmonise=i % 2 == 0)
        against = tuple(-before.order.index(k) for k in range(1, scene.n+1)) # the order reversed
        after = fuse_scene(replace(scene, ranks=against), model, harmonise=i % 2 == 0)
        place = {k: r for r, k in enumerate(after.order)}
        earlier = {k: r for r, k in enumerate(before.order)}
        for p, q in zip(before.pairs, after.pairs):
            n_prior += q['why'] == 'prior'
            if q['why'] == 'prior': continue
            assert p == q
            a, b = p['a'], p['b']
            if abs(p['p_a_front'] - .5) < .2 or (p['p_a_front'] > .5) != (earlier[a] < earlier[b]): continue # in a cycle already
            assert (place[a] < place[b]) == (p['p_a_front'] > .5)
            n_evidence += 1
    assert n_evidence > 10 and n_prior > 5

def test_a_chain_of_evidence_outweighs_any_prior():
    order = torch.zeros(3, 3)
    order[0, 1], order[1, 0], order[1, 2], order[2, 1] = .9, -.9, .9, -.9
    prior = torch.zeros(3, 3)
    prior[2, 0], prior[0, 2] = 6, -6
    silent = torch.zeros(3, 3, dtype=torch.bool)
    silent[0, 2] = silent[2, 0] = True
    final, valid = add_prior(order, prior, silent), torch.ones(1, 3, dtype=torch.bool)
    assert front_to_back(sequence_log_odds(final, silent)[None], valid)[0].tolist() == [0, 1, 2]
    assert front_to_back(final[None], valid)[0].tolist() != [0, 1, 2] # what the scale is for

@pytest.mark.parametrize('harmonise', [True, False])
def test_composed_scenes_are_as_without(harmonise):
    "To the last bit: shipped samples, and what the composer makes."
    composer = Composer('cc0', seed=4, size=96, noise='noisy')
    scenes = [*(read_scene(p) for p in find_scenes(assets()/'scenes')[3:5]), composer[0], composer[1]]
    for scene in scenes:
        assert scene.origin == 'composed'
        natural, none = (fuse_scene(scene, harmonise=harmonise, prior=p) for p in ('natural', 'none'))
        assert natural.pairs == none.pairs and natural.order == none.order
        assert torch.equal(natural.weights, none.weights) and torch.equal(natural.result, none.result)

def test_the_origin_goes_with_composed_scenes(tmp_path):
    amodal('scenes', tmp_path/'in', '--n', 1, '--size', 64)
    assert json.loads((tmp_path/'in'/'0000'/'0000_scene.json').read_text())['origin'] == 'composed'

def test_the_command_line_says_what_is_a_guess(tmp_path, silent):
    write_scene(silent, tmp_path/'in')
    status, out, _ = amodal('fuse', tmp_path/'in', '--out', tmp_path/'natural')
    assert status == 0 and '0 of 3 pairs by evidence, 3 guesses (1–2, 1–3, 2–3, 3 by the prior)' in out
    row = json.loads((tmp_path/'natural'/'report.json').read_text())['scenes'][0]
    assert (row['pairs'], row['by_evidence'], row['by_inference'], row['by_prior']) == (3, 0, 0, 3)
    record = json.loads((tmp_path/'natural'/silent.id/f'{silent.id}_order.json').read_text())
    assert [p['why'] for p in record['pairs']] == ['prior']*3
    assert read_fused(silent, tmp_path/'natural').pairs == record['pairs']
    status, out, _ = amodal('fuse', tmp_path/'in', '--out', tmp_path/'none', '--prior', 'none')
    record = json.loads((tmp_path/'none'/silent.id/f'{silent.id}_order.json').read_text())
    assert status == 0 and [(p['why'], p['p_a_front']) for p in record['pairs']] == [(None, .5)]*3
    status, _, err = amodal('fuse', tmp_path/'in', '--out', tmp_path/'wrong', '--prior', 'artificial')
    assert (status, err.count('\n')) == (1, 1) and 'choose one of natural, none' in err
    assert not (tmp_path/'wrong').exists()

@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('direction', ['near_is_bright', 'near_is_dark'])
def test_a_depth_map_decides(tmp_path, silent, bits, direction):
    "The true order of the sample as depth, in both directions and depths of colour."
    order = fuse_scene(read_scene(assets()/'scenes'/'sample1')).order
    nearness = torch.stack([(silent.alphas[k-1] > .5)*(.9 - .2*r) for r, k in enumerate(order)]).amax(0)
    depth = nearness if direction == 'near_is_bright' else 1 - nearness
    folder = write_scene(replace(silent, origin='composed'), tmp_path) # shapes do not count, depth does
    path = folder/f'{silent.id}_depth.png'
    if bits == 16: write_depth(path, depth)
    else: Image.fromarray((depth[0]*255).round().byte().numpy()).save(path)
    record = folder/f'{silent.id}_scene.json'
    record.write_text(json.dumps({'version': 1, 'origin': 'composed', 'depth': direction}))
    fused = fuse_scene(read_scene(folder))
    assert fused.order == order and {p['why'] for p in fused.pairs} == {'prior'}
    pictures = [torch.cat([c, a]) for c, a in zip(silent.completions, silent.alphas)]
    again = fuse_pictures(silent.partial, silent.mask, pictures, silent.background, depth=path, depth_direction=direction)
    assert again.order == order

def test_an_inspector_s_corrections_keep_what_else_is_known(tmp_path, silent):
    from amodal_nb.app.inspector import write_corrections
    folder = write_scene(replace(silent, ranks=(1, None, 2), origin='design', object_names=('a', 'b', 'c')), tmp_path)
    write_corrections(folder, [(2, 1)])
    scene = read_scene(folder)
    assert (scene.corrections, scene.ranks, scene.origin, scene.object_names) == (((2, 1),), (1, None, 2), 'design', ('a', 'b', 'c'))

def test_ranks_follow_completions_that_are_left_out(silent):
    "A predictor with two slots for three completions: ranks stay with their numbers."
    from amodal_nb.fusion.fuse import make_predictor_batch
    from amodal_nb.fusion.predict import scene_prior
    from amodal_nb.models.predictor import Predictor
    ranked = replace(silent, ranks=(3, 1, 2), origin='design')
    batch = make_predictor_batch(ranked, Predictor(None, n_slots=2), 'largest')
    first, second = batch['number'][0].tolist()
    sign = np.sign(ranked.ranks[second-1] - ranked.ranks[first-1])
    assert float(scene_prior(ranked, batch)[0, 1].sign()) == sign

def test_shards_keep_depth_ranks_and_origin(tmp_path, silent):
    from amodal_nb.scenes.shards import shard_scenes, write_shards
    known = replace(silent, depth=torch.rand(1, *silent.size), ranks=(1, None, 2), origin='design')
    shards = write_shards([write_scene(known, tmp_path/'in')], tmp_path/'out')
    scene = read_scene(shard_scenes(shards[0])[0])
    assert (scene.ranks, scene.origin) == (known.ranks, 'design')
    assert (scene.depth - known.depth).abs().max() < 1e-4
