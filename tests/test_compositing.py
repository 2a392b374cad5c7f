"""Over-compositing is also computed outside of `amodal_nb.core.compositing`, where that cannot be called or would round otherwise.
Each of these places is held to it on the same pixels; the front-end's is in test_frontend.py."""
import numpy as np, pytest, torch
from amodal_nb.fusion.refine import recomposite_weights
from amodal_nb.core.compositing import composite_stack, composite_weights, front_to_back
from amodal_nb.formats.programs import OrderProgram
from amodal_nb.fusion.predict import corrected_order
from amodal_nb.models.order import OrderFusion
from amodal_nb.synthesis.compose import composite_layers
from pixels import random_pixels

PIXELS = [(p, torch.tensor(p['alphas']), corrected_order(p['pairs'], p['stack'], p['corrections'])) for p in random_pixels()]

def sequence_of(order, alphas): return front_to_back(order[None], torch.ones(1, len(alphas), dtype=torch.bool))
def weights_of(alphas, sequence): return composite_weights(alphas[None, :, None, None, None], sequence)[0, :, 0, 0]

def test_composed_scenes_are_composited_as_by_composite_stack():
    "To the rounding to eight bits."
    rng = np.random.default_rng(0)
    for _, alphas, order in PIXELS:
        back_to_front = sequence_of(order, alphas)[0].flip(0).tolist()
        rgba = rng.integers(0, 256, (len(alphas)+1, 1, 1, 4), dtype=np.uint8)
        rgba[0, ..., 3] = 255 # the background
        rgba[1:, 0, 0, 3] = (255*alphas).round().byte().numpy()
        made = composite_layers([*rgba[1:]], back_to_front, rgba[0, ..., :3])
        layers = torch.from_numpy(rgba).permute(0, 3, 1, 2)/255
        exact = 255*composite_stack([layers[0], *(layers[k+1] for k in back_to_front)])
        assert (torch.from_numpy(made).permute(2, 0, 1) - exact).abs().max() < .501

@pytest.mark.parametrize('n', [1, 2, 5])
def test_the_exported_graph_orders_and_composites_as_the_model(n):
    program = OrderProgram(OrderFusion())
    for alphas, order in [(alphas, order) for _, alphas, order in PIXELS if len(alphas) == n][:10]:
        sequence = sequence_of(order, alphas)
        assert program.sequence(order).tolist() == sequence[0].tolist()
        weights = program.composite(alphas[:, None, None, None], sequence[0])[:, 0, 0]
        torch.testing.assert_close(weights, weights_of(alphas, sequence), rtol=0, atol=1e-6)

def test_the_inspector_recomposites_corrected_pixels_as_the_model():
    for pixel, alphas, after in PIXELS:
        if not pixel['corrections']: continue
        before = corrected_order(pixel['pairs'], pixel['stack'])
        members = (alphas > 0)[None]
        old, new = (weights_of(alphas, front_to_back(order[None], members)) for order in (before, after))
        done = recomposite_weights(old[:, None, None], alphas[:, None, None, None], before, after, pixel['corrections'])
        torch.testing.assert_close(done.weights[:, 0, 0], new, rtol=0, atol=1e-6)
