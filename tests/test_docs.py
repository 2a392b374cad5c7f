"What a reader is promised: every public symbol explained, every argument too, and a README that is the index notebook."
import ast, importlib, inspect, pkgutil, textwrap
import pytest
from fastcore.docments import docments
import amodal_nb

modules = [m.name for m in pkgutil.walk_packages(amodal_nb.__path__, 'amodal_nb.') if not m.ispkg and not m.name.startswith('amodal_nb._')]

def own_public(module):
    "(name, object) of the functions and classes that a module exports, and of the public methods in those classes."
    for name in module.__all__:
        obj = getattr(module, name)
        if getattr(obj, '__module__', None) != module.__name__: continue  # a constant
        if inspect.isfunction(obj) or inspect.isclass(obj): yield name, obj
        if inspect.isclass(obj):
            for k, f in vars(obj).items():
                f = f.fget if isinstance(f, property) else f.__func__ if isinstance(f, (classmethod, staticmethod)) else f
                if inspect.isfunction(f) and f.__module__ == module.__name__ and not k.startswith('_'): yield f'{name}.{k}', f

def gives_something(f):
    "Whether a function returns or yields a value; functions defined inside it do not count."
    todo = ast.parse(textwrap.dedent(inspect.getsource(f))).body[0].body[:]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)): continue
        if isinstance(node, (ast.Yield, ast.YieldFrom)) or isinstance(node, ast.Return) and node.value is not None: return True
        todo += ast.iter_child_nodes(node)

def explained_by_typer(parameter):
    return any(getattr(o, 'help', None) for o in (parameter.default, *getattr(parameter.annotation, '__metadata__', ())))

def missing_docs(name, obj):
    "What a reader would look for and not find."
    comments = docments(obj)
    plain = '.' in name and list(inspect.signature(obj).parameters) == ['self'] and comments.get('return')  # e.g. a property: its comment says it all
    own_init = not inspect.isclass(obj) or '__init__' in vars(obj)  # else there is nothing of ours to explain
    missing = [] if obj.__doc__ or plain else [f'{name}: no docstring']
    for k, p in inspect.signature(obj).parameters.items() if own_init else ():
        documented = comments.get(k) or explained_by_typer(p) or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        if k not in ('self', 'cls') and not documented: missing.append(f'{name}: no comment on {k}')
        if k not in ('self', 'cls') and p.annotation is p.default is p.empty: missing.append(f'{name}: no type of {k}')
    if inspect.isfunction(obj) and gives_something(obj) and '#' not in end_of_signature(obj): missing.append(f'{name}: no comment on what it returns')
    return missing

def end_of_signature(f):
    "The last line of the signature: where the comment on the returned value stands."
    tree = ast.parse(source := textwrap.dedent(inspect.getsource(f))).body[0]
    return source.splitlines()[tree.body[0].lineno - 2]

@pytest.mark.parametrize('module', modules)
def test_every_exported_symbol_is_documented(module):
    module = importlib.import_module(module)
    assert not [m for name, obj in own_public(module) for m in missing_docs(name, obj)]

def test_missing_docs_are_found(tmp_path, monkeypatch):
    (tmp_path/'undocumented.py').write_text(textwrap.dedent('''
        __all__ = ['f', 'C']
        def f(
            a: int, # explained
            b: int,
        ):
            return a
        class C:
            "Explained."
            def m(self,
                x: int, # explained
            ) -> int: # explained
                "Explained."
                return x
            def n(self, y): "Explained."
        '''))
    monkeypatch.syspath_prepend(tmp_path)
    found = [m for name, obj in own_public(importlib.import_module('undocumented')) for m in missing_docs(name, obj)]
    assert found == ['f: no docstring', 'f: no comment on b', 'f: no comment on what it returns', 'C.n: no comment on y', 'C.n: no type of y']

def test_readme_is_the_index_notebook(root, forks):
    done = forks(f"import runpy; runpy.run_path({str(root/'.ci'/'readme.py')!r}, run_name='__main__')", '--check')
    assert done.returncode == 0, done.stderr

def test_help_explains_parameters():
    from amodal_nb import fuse_pictures, refit
    for f in (fuse_pictures, refit): assert all(f'{comment}' in f.__doc__ for comment in docments(f).values() if comment)

def test_readme_is_short(root):
    assert len((root/'README.md').read_text(encoding='utf-8').split()) < 900
