"Random pixels with an order, on which every implementation of over-compositing must agree with `amodal_nb.core.compositing`."
import torch

def random_pixel(n, generator):
    "Pairs, stack, corrections and the alphas of one pixel, as JSON."
    def rand(*size): return torch.rand(*size, generator=generator)
    pairs = [{'a': a, 'b': b, 'p_a_front': float(rand(1))} for a in range(1, n+1) for b in range(a+1, n+1) if rand(1) < .7]
    if pairs: pairs[0]['p_a_front'] = .5  # no evidence
    if len(pairs) > 3: pairs[2]['p_a_front'], pairs[3]['p_a_front'] = .5+1e-6, .5-1e-6  # ties up to rounding
    if len(pairs) > 1: pairs[1]['p_a_front'] = 1.
    stack = (torch.randperm(n, generator=generator)+1).tolist()
    corrections = [[stack[0], stack[-1]], [stack[1], stack[0]]] if n > 1 and rand(1) < .5 else []
    alphas = torch.where(rand(n) < .3, rand(n).round(), rand(n)).tolist()
    return {'n': n, 'pairs': pairs, 'stack': stack, 'corrections': corrections, 'alphas': alphas}

def random_pixels(number=200):
    "Pixels of 1 to 7 completions, cycles among them; always the same."
    generator = torch.Generator().manual_seed(0)
    return [random_pixel(1 + k % 7, generator) for k in range(number)]
