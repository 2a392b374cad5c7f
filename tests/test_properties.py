"Properties of readers, writers and compositing, on examples that hypothesis invents."
import tempfile
from pathlib import Path
import numpy as np, torch
from hypothesis import given, settings, strategies as st
from amodal_nb.core.compositing import composite_weights
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.pictures import read_picture, to_tensor, write_picture
from amodal_nb.formats.labels import rle_mask, run_lengths
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.scenes.inputs import scene_id
from amodal_nb.scenes.scene import make_scene
from amodal_nb.scenes.shards import read_shards, write_shards

few = settings(max_examples=25, deadline=None, database=None, derandomize=True)
seeds = st.integers(0, 2**32-1)

def noise(seed, *shape): return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))/255

@few
@given(seeds, st.sampled_from([1, 3, 4]), st.integers(1, 20), st.integers(1, 20), st.data())
def test_a_png_is_read_as_it_was_written_or_refused(seed, channels, h, w, data):
    with tempfile.TemporaryDirectory() as d:
        path, picture = Path(d)/'a.png', noise(seed, channels, h, w)
        write_picture(path, picture)
        modes = ('L', 'RGB', 'RGBA')
        assert torch.equal(read_picture(path, modes), picture)
        content = bytearray(path.read_bytes())
        k = data.draw(st.integers(0, len(content)-1))
        content[k] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        try: assert torch.equal(read_picture(path, modes), picture)
        except AmodalError: pass

@few
@given(seeds, st.integers(1, 4), st.text(min_size=1, max_size=30), st.booleans())
def test_a_scene_is_read_as_it_was_written_from_folders_and_shards(seed, n, name, is_whole):
    completions = list(noise(seed, n, 4, 6, 7))
    for c in completions: c[3, 0, 0] = 1
    mask = None if is_whole else (noise(seed+1, 1, 6, 7) > .5).float()
    if mask is not None: mask[0, 0, 0] = 1
    scene = make_scene(noise(seed+2, 3, 6, 7), mask, completions, id=scene_id(name))
    with tempfile.TemporaryDirectory() as d:
        folder = write_scene(scene, Path(d)/'scenes')
        assert write_scene(scene, Path(d)/'scenes') == folder # as an earlier run wrote it
        packed, = read_shards([str(write_shards([folder], Path(d)/'shards')[0])])
        for again in read_scene(folder), read_scene(packed):
            assert again.id == scene.id and again.pairs == scene.pairs
            for part in 'partial', 'mask', 'completions', 'alphas': assert torch.equal(getattr(again, part), getattr(scene, part)), part

@few
@given(seeds, st.integers(1, 6))
def test_weights_of_any_sequence_are_shares(seed, n):
    alphas = noise(seed, 1, n, 1, 5, 4)
    sequence = torch.from_numpy(np.random.default_rng(seed).permutation(n))[None]
    weights = composite_weights(alphas, sequence)
    assert weights.min() >= 0 and torch.allclose(weights.sum(1), torch.ones(1, 5, 4), atol=1e-6)
    first = sequence[0, 0]
    assert torch.equal(weights[:, first], alphas[:, first, 0]) # nothing stands before it

@few
@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 8), st.integers(1, 8))
def test_run_lengths_give_a_mask_of_their_size_or_a_line(counts, h, w):
    try: mask = rle_mask({'size': [h, w], 'counts': counts}, (h, w))
    except AmodalError:
        assert sum(counts) != h*w or max(counts, default=0) > h*w or len(counts) > h*w+1
        return
    assert mask.shape == (h, w) and mask.sum() == sum(counts[1::2]) and run_lengths(counts, h*w) == counts

@few
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=300))
def test_any_text_becomes_the_name_of_a_folder(name):
    id = scene_id(name)
    with tempfile.TemporaryDirectory() as d: (Path(d)/id).mkdir()
    assert scene_id(id) == id

@few
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_or_a_picture(data):
    with tempfile.TemporaryDirectory() as d:
        path = Path(d)/'a.png'
        path.write_bytes(data)
        try: assert to_tensor(read_picture(path)).ndim == 3
        except AmodalError as e: assert 'a.png' in str(e) and '\n' not in str(e)
