__version__ = "0.1.0"

_LAZY = {'fuse_pictures': 'fusion.predict', 'fuse_scene': 'fusion.predict', 'refit': 'fusion.refit'} # imported when asked for, as torch takes seconds

def __getattr__(name):
    from importlib import import_module
    if name not in _LAZY: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'.{_LAZY[name]}', __name__), name)

def __dir__(): return [*globals(), *_LAZY]
