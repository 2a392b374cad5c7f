"The house: folders follow the data, code keeps to short lines, and names are those of the field."
import ast, importlib, inspect, json, pkgutil, re, subprocess, sys
from pathlib import Path
import pytest
import amodal_nb

FLOORS = 'core', 'scenes', 'synthesis', 'models', 'fusion', 'evaluation', 'training', 'formats', 'app'
PROGRAM = 'train' # python -m amodal_nb.train, which is `amodal train`: it stands beside the folders
MAX_COLUMNS = 120
MAX_OPERATIONS = 8
BANNED = {'found', 'bad', 'at', 'what', 'said', 'there', 'told'} # as names of arguments

package = Path(amodal_nb.__file__).parent
modules = sorted(m.name for m in pkgutil.walk_packages(amodal_nb.__path__, 'amodal_nb.') if not m.ispkg and not m.name.startswith('amodal_nb._'))

def source_of(module): return (package.parent/(module.replace('.', '/') + '.py')).read_text(encoding='utf-8')

def imports_of(module):
    "Every module of the package that a module imports, lazily too."
    parent = module.split('.')[:-1]
    for node in ast.walk(ast.parse(source_of(module))):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parent[:len(parent)-node.level+1] if node.level else []
            names = ['.'.join([*base, *filter(None, [node.module])])]
        else: continue
        yield from (name for name in names if name.startswith('amodal_nb.'))

def floor_of(module): return FLOORS.index(module.split('.')[1])

def test_every_folder_has_a_floor(root):
    folders = sorted(p.name for p in (root/'nbs').iterdir() if re.match(r'\d', p.name))
    assert folders == [f'{k}_{name}' for k, name in enumerate(FLOORS, 1)]
    assert {m.split('.')[1] for m in modules} == {*FLOORS, PROGRAM}

@pytest.mark.parametrize('module', modules)
def test_a_module_imports_only_from_its_own_floor_and_below(module):
    if module == f'amodal_nb.{PROGRAM}': return
    assert [name for name in imports_of(module) if floor_of(name) > floor_of(module)] == []

def test_imports_make_no_circle():
    graph = {m: {n for n in imports_of(m) if n in modules} for m in modules}
    while free := [m for m, needs in graph.items() if not needs]:
        graph = {m: needs - {*free} for m, needs in graph.items() if m not in free}
    assert graph == {}

@pytest.mark.parametrize('module', modules)
def test_no_module_takes_the_private_names_of_another(module):
    taken = [a.name for node in ast.walk(ast.parse(source_of(module))) if isinstance(node, ast.ImportFrom)
             and (node.level or (node.module or '').startswith('amodal_nb')) for a in node.names]
    assert [name for name in taken if name.startswith('_')] == []

@pytest.mark.parametrize('module', modules)
def test_imports_at_the_top_of_an_exported_module_are_relative(module):
    "nbdev makes them so, except where the last line of an import is too short: break it elsewhere."
    if module == f'amodal_nb.{PROGRAM}': return
    imports = [node for node in ast.parse(source_of(module)).body if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in imports if not node.level and node.module.startswith('amodal_nb')] == []

def test_one_name_has_one_meaning():
    "Commands aside, whose names are those of what they call."
    modules_of = {}
    for module in modules:
        if module in ('amodal_nb.app.cli', 'amodal_nb.training.loopback', f'amodal_nb.{PROGRAM}'): continue
        for node in ast.parse(source_of(module)).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith('_'):
                modules_of.setdefault(node.name, []).append(module)
    assert {name: places for name, places in modules_of.items() if len(places) > 1} == {}

def test_notebooks_are_numbered_without_gaps(root):
    for folder in (root/'nbs').glob('[0-9]_*'):
        names = sorted(p.name for p in folder.glob('*.ipynb'))
        assert [n[:3] for n in names] == [f'{k:02}_' for k in range(1, len(names)+1)], folder.name

# Lines

def without_comment(line): return re.sub(r'\s+# .*$', '', line)

@pytest.mark.parametrize('module', modules)
def test_lines_are_short_comments_aside(module):
    written = source_of(module).partition('# %% ../')[2] # what stands before the first cell is made by nbdev
    assert [l for l in written.splitlines() if len(without_comment(l)) > MAX_COLUMNS] == []

OPERATIONS = ast.BinOp, ast.UnaryOp, ast.Compare, ast.Call, ast.Subscript, ast.IfExp, ast.comprehension

def operations_of(node):
    "Operators, calls and subscripts of one statement; statements and lambdas inside count for themselves."
    total, todo = 0, [node]
    while todo:
        node = todo.pop()
        total += isinstance(node, OPERATIONS)
        if isinstance(node, ast.BoolOp): total += len(node.values) - 1
        todo += [k for k in ast.iter_child_nodes(node) if not isinstance(k, (ast.stmt, ast.Lambda))]
    return total

def heads_of(tree):
    "The statements of a module as (line, what stands on it)."
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Try, ast.Import, ast.ImportFrom)): continue
        if isinstance(node, (ast.If, ast.While)): yield node.lineno, [node.test]
        elif isinstance(node, ast.For): yield node.lineno, [node.target, node.iter]
        elif isinstance(node, ast.With): yield node.lineno, [i.context_expr for i in node.items]
        elif isinstance(node, ast.stmt): yield node.lineno, [node]

@pytest.mark.parametrize('module', modules)
def test_statements_have_few_operations(module):
    counts = {line: sum(map(operations_of, parts)) for line, parts in heads_of(ast.parse(source_of(module)))}
    assert {line: n for line, n in counts.items() if n > MAX_OPERATIONS} == {}

def test_ruff_finds_nothing(root):
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--no-cache', root], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

# Names

def signatures():
    for name in modules:
        module = importlib.import_module(name)
        for symbol in getattr(module, '__all__', ()):
            obj = getattr(module, symbol)
            if getattr(obj, '__module__', None) == name and (inspect.isfunction(obj) or inspect.isclass(obj)): yield name, symbol, obj

def arguments_of(obj):
    "Names of the arguments of a function, or of a class that has an `__init__` of its own."
    f = obj if inspect.isfunction(obj) else vars(obj).get('__init__')
    return inspect.signature(f).parameters if inspect.isfunction(f) else {}

def test_no_argument_has_a_name_that_says_nothing():
    assert [(m, s, p) for m, s, obj in signatures() for p in arguments_of(obj) if p in BANNED] == []

def test_docstrings_of_functions_begin_with_a_verb():
    wrong = [(m, s) for m, s, obj in signatures() if inspect.isfunction(obj) and not begins_with_a_verb(obj.__doc__ or '')]
    assert wrong == []

NO_VERBS = set('''a an the this that what where when who whom whose how why which all every each one two both some any no none not if of in on at by for
 from with without as like everything nothing either true false whether'''.split())

def begins_with_a_verb(text):
    "Whether the first word can be a verb in the imperative: not an article, pronoun, preposition or a third person."
    word = re.match(r'[A-Za-z]+', text)
    return bool(word) and word[0].lower() not in NO_VERBS and not word[0].endswith(('ing', 'ed', 'tion', 'ness')) and word[0][0].isupper()

def test_the_check_for_verbs_finds_what_is_none():
    for text in 'Read a scene.', 'Return the largest value.': assert begins_with_a_verb(text)
    for text in 'The largest value.', 'What is left.', 'Whether it is.', '', 'a scene': assert not begins_with_a_verb(text)

def glossary(root):
    cells = json.loads((root/'nbs'/'glossary.ipynb').read_text(encoding='utf-8'))['cells']
    rows = [l.split('|')[1:-1] for c in cells for l in ''.join(c['source']).splitlines() if l.startswith('|')]
    return [[cell.strip() for cell in row] for row in rows if not set(row[0]) <= set('-: ')]

def test_the_glossary_names_symbols_that_exist(root):
    exported = {s for name in modules for s in getattr(importlib.import_module(name), '__all__', ())}
    named = {s for row in glossary(root)[1:] for s in re.findall(r'`(\w+)`', row[1])}
    assert len(named) > 40 and named - exported == set()

def test_the_glossary_has_a_meaning_and_a_source_for_every_term(root):
    for row in glossary(root)[1:]: assert len(row) == 4 and row[0] and row[2], row
