"Checkpoints of a tiny run, each odd in one way: damaged files, and well-formed ones whose content is not what training writes."
import json, math, pickle, struct
import torch
from safetensors.torch import load_file, save
from amodal_nb.models.checkpoint import read_checkpoint

def pack(tensors, info=None, metadata=None):
    "The bytes of a checkpoint; `metadata` instead of the description."
    return save(tensors, {'amodal_nb': json.dumps(info)} if metadata is None else metadata)

def with_header(data, change):
    "The bytes of a file whose header was changed as JSON; safetensors itself writes no such header."
    n, = struct.unpack('<Q', data[:8])
    header = json.loads(data[8:8+n])
    change(header)
    new = json.dumps(header).encode()
    return struct.pack('<Q', len(new)) + new + data[8+n:]

class Checkpoint:
    "The content of a good checkpoint, to be changed."
    def __init__(self, path):
        self.path, self.bytes = path, path.read_bytes()
        self.tensors, self.info = load_file(path), read_checkpoint(path)[1]
    def first(self, prefix, ndim=1): return next(k for k, v in self.tensors.items() if k.startswith(prefix) and v.ndim >= ndim and v.is_floating_point())
    def with_info(self, **new): return pack(self.tensors, self.info | new)
    def with_config(self, **new): return self.with_info(config=self.info['config'] | new)
    def without_info(self, *keys): return pack(self.tensors, {k: v for k, v in self.info.items() if k not in keys})
    def with_tensors(self, **new): return pack(self.tensors | {k.replace('__', '.'): v for k, v in new.items()}, self.info)
    def changed(self, prefix, change, ndim=1):
        "One tensor is changed."
        key = self.first(prefix, ndim)
        return pack(self.tensors | {key: change(self.tensors[key])}, self.info)
    def each(self, prefix, change): return pack({k: change(v) if k.startswith(prefix) else v for k, v in self.tensors.items()}, self.info)
    def without(self, prefix): return pack({k: v for k, v in self.tensors.items() if not k.startswith(prefix)}, self.info)
    def without_one(self, prefix):
        key = self.first(prefix)
        return pack({k: v for k, v in self.tensors.items() if k != key}, self.info)
    def renamed(self, old, new): return pack({k.replace(old, new): v for k, v in self.tensors.items()}, self.info)
    def header(self, change): return with_header(self.bytes, change)
    def entry(self, **new):
        "The entry of one of the model's tensors in the header is changed."
        return self.header(lambda h: h[next(k for k in h if k.startswith('model.'))].update(new))

def constant(value): return lambda t: torch.full_like(t, value)

FILES = { # name -> (function of a Checkpoint -> bytes); no command may use it
    'empty': lambda c: b'', 'a byte': lambda c: b'\0', 'text': lambda c: b'hello', 'pickle': lambda c: pickle.dumps(c.info),
    'half': lambda c: c.bytes[:len(c.bytes)//2], 'a byte short': lambda c: c.bytes[:-1], 'a byte more': lambda c: c.bytes + b'\0',
    'header alone': lambda c: c.bytes[:8 + struct.unpack('<Q', c.bytes[:8])[0]],
    'no tensors': lambda c: pack({}, c.info), 'zeros': lambda c: bytes(len(c.bytes)),
    'no description': lambda c: pack(c.tensors, metadata={}), 'description is no JSON': lambda c: pack(c.tensors, metadata={'amodal_nb': '{'}),
    'deep description': lambda c: pack(c.tensors, metadata={'amodal_nb': '['*100_000}),
    'long number': lambda c: pack(c.tensors, metadata={'amodal_nb': '9'*5000}),
    **{f'description is {v!r}': lambda c, v=v: pack(c.tensors, v) for v in (None, [], 'x', 1, {})},
    'unknown dtype': lambda c: c.entry(dtype='F7'), 'dtype is a number': lambda c: c.entry(dtype=3), 'negative shape': lambda c: c.entry(shape=[-1, 8]),
    'huge shape': lambda c: c.entry(shape=[2**62, 2**62]), 'shape is text': lambda c: c.entry(shape='8'), 'offsets overlap': lambda c: c.entry(data_offsets=[0, 4]),
    'offsets beyond the end': lambda c: c.entry(data_offsets=[0, 2**60]), 'offsets are text': lambda c: c.entry(data_offsets='ab'),
    'description is no text': lambda c: c.header(lambda h: h.update(__metadata__={'amodal_nb': 7})),
    'header is a list': lambda c: struct.pack('<Q', 2) + b'[]',
}

WEIGHTS = { # no command may use the model
    **{f'model is {v!r:.20}': lambda c, v=v: c.with_info(model=v) for v in ('resnet', '', 'reference', 'order', None, 3, ['unet'], {'unet': 1}, 'x'*10_000, '\ud800')},
    **{f'args are {v!r:.30}': lambda c, v=v: c.with_info(args=v) for v in (
        None, [], 'width=8', 5, {'width': 16}, {'width': '8'}, {'width': 8.0}, {'width': -8}, {'width': 0}, {'width': None}, {'width': [8]}, {'width': 10**9},
        {'width': 10**400}, {'width': math.nan}, {'width': math.inf}, {'depth': 10**6}, {'depth': 10**9}, {'depth': -1}, {'n_completions': 10**9}, {'wide': 8}, {'self': 1}, {'': 0})},
    'wide, with 10 kB of weights': lambda c: c.with_info(args=c.info['args'] | {'width': 4096}),
    'another shape': lambda c: c.changed('model.', lambda t: t[:1]), 'another rank': lambda c: c.changed('model.', lambda t: t[None]),
    'transposed': lambda c: c.changed('model.', lambda t: t.transpose(0, 1).contiguous(), ndim=4), 'a scalar': lambda c: c.changed('model.', lambda t: t.sum()),
    'no elements': lambda c: c.changed('model.', lambda t: t[:0]),
    **{f'weights are {d}': lambda c, d=d: c.each('model.', lambda t: t.to(getattr(torch, d))) for d in ('int64', 'uint8', 'bool', 'complex64')},
    **{f'one weight is {v}': lambda c, v=v: c.changed('model.', lambda t: t.flatten().index_fill(0, torch.tensor([0]), v).view(t.shape)) for v in (math.nan, math.inf, -math.inf)},
    'a weight less': lambda c: c.without_one('model.'), 'no weights': lambda c: c.without('model.'), 'a weight more': lambda c: c.with_tensors(model__more=torch.zeros(2)),
    'other names': lambda c: c.renamed('model.', 'model.module.'), 'names of another prefix': lambda c: c.renamed('model.', 'net.'),
    'float8': lambda c: c.each('model.', lambda t: t.to(torch.float8_e4m3fn)),
}

NUMBERS = None, '3', '', [], [3], {}, True, 1.5, -1, math.nan, math.inf, -math.inf, 10**30, '\ud800'

DESCRIPTION = { # the weights are good, and so fuse and eval may use them; training cannot go on from it
    **{f'step is {v!r}': lambda c, v=v: c.with_info(step=v) for v in NUMBERS}, 'no step': lambda c: c.without_info('step'),
    **{f'best is {v!r}': lambda c, v=v: c.with_info(best=v) for v in NUMBERS if v not in (1.5, math.inf, 10**30)}, 'no best': lambda c: c.without_info('best'),
    **{f'due is {v!r}': lambda c, v=v: c.with_info(due=v) for v in NUMBERS if v is not True},
    **{f'{k} is {v!r}': lambda c, k=k, v=v: c.with_info(**{k: v}) for k in ('world_size', 'scenes', 'scenes_a_step') for v in (None, '3', [], {}, 1.5, -1, math.nan, math.inf)},
    **{f'{k} is {v!r}': lambda c, k=k, v=v: c.with_config(**{k: v}) for k in ('batch_size', 'accumulate', 'lr', 'steps', 'seed', 'model_args', 'augment', 'timeout', 'data')
       for v in (None, [], {}, {'a': 1}, 'x\ny', '\ud800', math.nan) if not (k == 'data' and isinstance(v, str))},
    'settings of a later version': lambda c: c.with_config(curriculum='hard'), 'another seed': lambda c: c.with_config(seed=1), 'no settings': lambda c: c.without_info('config'), 'empty settings': lambda c: c.with_info(config={}),
    'no optimizer': lambda c: c.without('optimizer.'), 'optimizer in part': lambda c: c.without_one('optimizer.'), 'no random numbers': lambda c: c.without('rng.'),
    'optimizer of one parameter': lambda c: pack({k: v for k, v in c.tensors.items() if not k.startswith('optimizer.') or k.startswith('optimizer.0.')}, c.info),
    'optimizer without steps': lambda c: pack({k: v for k, v in c.tensors.items() if not k.endswith('.step')}, c.info),
    **{f'optimizer names {k!r}': lambda c, k=k: c.with_tensors(**{f'optimizer.{k}': torch.zeros(1)}) for k in ('x.step', '999.step', '-1.step', '0', '0.step.more', '0.momentum', '')},
    'optimizer of another shape': lambda c: c.changed('optimizer.', lambda t: t[:1]), 'optimizer is int64': lambda c: c.each('optimizer.', lambda t: t.long()),
    'optimizer is bool': lambda c: c.each('optimizer.', lambda t: t.bool()), 'optimizer is NaN': lambda c: c.each('optimizer.', lambda t: t*math.nan),
    'negative squares': lambda c: pack({k: -1-v if k.endswith('exp_avg_sq') else v for k, v in c.tensors.items()}, c.info),
    **{f'optimizer step {v}': lambda c, v=v: pack({k: constant(v)(t) if k.startswith('optimizer.') and k.endswith('.step') else t for k, t in c.tensors.items()}, c.info)
       for v in (-3, math.nan, math.inf, 1e30)},
    'random numbers are float': lambda c: c.each('rng.', torch.Tensor.float), 'random numbers are 255': lambda c: c.each('rng.', constant(255)),
    'no random bytes': lambda c: c.each('rng.', lambda t: t[:0]),
}

SETTINGS = { # of a form that no command reads
    **{f'config is {v!r}': lambda c, v=v: c.with_info(config=v) for v in (None, [], 'x', 3)},
}

USABLE = { # every command works, and says nothing
    'as it is': lambda c: c.bytes, 'half precision': lambda c: c.each('model.', torch.Tensor.half), 'double precision': lambda c: c.each('model.', torch.Tensor.double),
    'unknown keys': lambda c: c.with_info(note='mine'), 'no due': lambda c: c.without_info('due'), 'no best yet': lambda c: c.with_info(best=math.inf),
    'random numbers of two dimensions': lambda c: c.each('rng.', lambda t: t[None]),
}

WARNED = { # training goes on, and says what will not be as it was
    'other batches': lambda c: c.with_config(batch_size=2), 'other ranks': lambda c: c.with_info(world_size=2), 'other scenes': lambda c: c.with_info(scenes=9),
    'another device': lambda c: pack({k: v[:16] if k.startswith('rng.') else v for k, v in c.tensors.items()}, c.info | {'device': 'cuda'}),
    'an earlier version': lambda c: c.with_info(world_size=3, config={k: v for k, v in c.info['config'].items() if k not in ('accumulate', 'topmost_weight', 'augment', 'progressive')}),
}
