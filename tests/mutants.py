"""Change the code of a module at random, and see whether its tests notice: python tests/mutants.py --n 30 [--seed 0] [--only folders].
Why not mutmut or cosmic-ray: they change files and start a process of pytest for each mutant, which imports torch for seconds, and they know no notebooks, where most
tests of a module stand. Here each mutant is a fork of one process that has collected the tests: it replaces the code of one function wherever that is bound, runs the module's
notebook and then its tests, and stops at the first failure. Processes that tests start through `processes.Forks` get the mutant too; those that they start otherwise do not."""
import argparse, ast, copy, importlib, json, logging, os, random, resource, sys, tempfile
from pathlib import Path
import pytest
from _pytest.runner import runtestprotocol
root = Path(__file__).parents[1]
sys.path[:0] = [str(root/'tests'), str(root)]

MODULES = { # module -> (its notebook, files of tests)
    'models.order': ('4_models/07_order', ['compositing']),
    'models.checkpoint': ('4_models/10_checkpoint', ['odd_checkpoints']),
    'scenes.folders': ('2_scenes/03_folders', ['overwrite']),
    'scenes.shards': ('2_scenes/05_shards', ['shards']),
    'training.checkpoint': ('7_training/03_checkpoint', ['odd_checkpoints']),
}
LONG = 'not a_run_on_shards and not killed_while and not memory and not another_order and not lead_nowhere' # which tests are not run
CPU_SECONDS = 240 # of a mutant, before it is taken for one that never ends
MESSAGES = {'log_warning', 'warn_once', 'raise_format_error'} # calls whose texts are not changed

# Mutants

COMPARED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is}
COMPUTED = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr}

def changed(node, **fields):
    "A copy of a node with other fields."
    other = copy.copy(node)
    for name, value in fields.items(): setattr(other, name, value)
    return other

def variants(node):
    "Yield what a node may be replaced by."
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARED: yield changed(node, ops=[COMPARED[type(node.ops[0])]()])
    if isinstance(node, ast.BoolOp): yield changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not): yield node.operand
    if isinstance(node, ast.BinOp) and type(node.op) in COMPUTED: yield changed(node, op=COMPUTED[type(node.op)]())
    if isinstance(node, (ast.If, ast.IfExp, ast.While)): yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool): yield ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)): yield ast.Constant(node.value + 1)
        elif isinstance(node.value, str) and node.value: yield ast.Constant('XX' + node.value)
    if isinstance(node, (ast.Raise, ast.AugAssign)) or isinstance(node, ast.Expr) and isinstance(node.value, ast.Call): yield ast.Pass()
    if isinstance(node, ast.Return) and not (node.value is None or isinstance(node.value, ast.Constant) and node.value.value is None): yield ast.Return(ast.Constant(None))
    if isinstance(node, ast.Continue): yield ast.Break()
    if isinstance(node, ast.Break): yield ast.Continue()

def name_of_call(node): return getattr(node.func, 'id', getattr(node.func, 'attr', '')) if isinstance(node, ast.Call) else ''

def sites(node, scope=(), function=''):
    "Yield (function, parent, field, index or None, node) for each part of a function's body, messages and docstrings aside."
    for field, value in ast.iter_fields(node):
        if field in ('args', 'returns', 'decorator_list', 'annotation', 'keywords') and isinstance(node, (ast.FunctionDef, ast.AnnAssign, ast.ClassDef, ast.Lambda)): continue
        for k, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant): continue
            is_scope = isinstance(child, (ast.FunctionDef, ast.ClassDef)) and not function
            inner = (*scope, child.name) if is_scope else scope
            inside = '.'.join(inner) if is_scope and isinstance(child, ast.FunctionDef) else function
            if function: yield function, node, field, k, child
            if not isinstance(child, (ast.Raise, ast.JoinedStr)) and name_of_call(child) not in MESSAGES: yield from sites(child, inner, inside)

def all_mutants(source):
    "List (number of the site, number of its variant)."
    return [(i, j) for i, (*_, node) in enumerate(sites(ast.parse(source))) for j, _ in enumerate(variants(node))]

def mutate(source, mutant):
    "The function that is changed, the changed tree, and a line for people."
    tree = ast.parse(source)
    i, j = mutant
    function, parent, field, k, node = [*sites(tree)][i]
    new = [*variants(node)][j]
    line = f'{node.lineno}: {function}: {first_line(node)}  ->  {first_line(new)}'
    ast.copy_location(new, node)
    if k is None: setattr(parent, field, new)
    else: getattr(parent, field)[k] = new
    return function, ast.fix_missing_locations(tree), line

def first_line(node): return ast.unparse(node).splitlines()[0][:100]

def code_of(code, qualname):
    "The code of a function inside that of a module."
    for c in code.co_consts:
        if not hasattr(c, 'co_qualname'): continue
        if c.co_qualname == qualname: return c
        if inner := code_of(c, qualname): return inner

def bound(names, qualname):
    "The function of a qualified name in a dict of globals, without its decorators; None if it is not there."
    value, *rest = [names.get(qualname.partition('.')[0]), *qualname.split('.')[1:]]
    for name in rest: value = vars(value).get(name) if value is not None else None
    while not hasattr(value, '__code__') and value is not None:
        value = getattr(value, '__wrapped__', None) or getattr(value, 'fget', None) or getattr(value, '__func__', None)
    while hasattr(value, '__wrapped__'): value = value.__wrapped__
    return value

def apply(names, module, mutant):
    "Replace the code of a function in a dict of globals, if it is there; a mutant that is None changes nothing."
    if mutant is None: return
    path = root/'amodal_nb'/f'{module.replace(".", "/")}.py'
    function, tree, _ = mutate(path.read_text(encoding='utf-8'), tuple(mutant))
    live = bound(names, function)
    if live is not None: live.__code__ = code_of(compile(tree, str(path), 'exec'), function)

# Running

def failing_cell(path, module, mutant):
    "Run the cells of a notebook, whose functions are changed as those of the module are: the first that fails and its error, or None."
    names = {'__name__': '__main__'}
    os.chdir(path.parent)
    logging.getLogger().handlers.clear() # those of pytest, without which warnings go to stderr
    for cell in json.loads(path.read_text(encoding='utf-8'))['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or source.startswith(('#| slow', '#| eval: false')): continue
        try: exec(compile(source, str(path), 'exec'), names)
        except BaseException as e: return f'cell {cell["id"]}: {type(e).__name__}: {e}'[:150]
        apply(names, module, mutant)

class Runner:
    "A plugin of pytest: instead of running the tests once, run them for each mutant."
    def __init__(self, module, notebook, mutants):
        self.module, self.notebook, self.mutants, self.results = module, root/'nbs'/f'{notebook}.ipynb', mutants, []
    def pytest_runtestloop(self, session):
        importlib.import_module(f'amodal_nb.{self.module}')
        self.items = sorted(session.items, key=lambda item: 'forks' in item.fixturenames)
        failed = self.outcome(None)
        assert failed is None, f'{failed} fails without a mutant'
        for mutant in self.mutants: self.results.append([mutant, self.outcome(mutant)]); self.report(*self.results[-1])
        return True
    def report(self, mutant, outcome):
        source = (root/'amodal_nb'/f'{self.module.replace(".", "/")}.py').read_text(encoding='utf-8')
        print(f'{"survives" if outcome is None else "killed"} {self.module}:{mutate(source, mutant)[2]}  [{outcome}]', file=sys.__stderr__, flush=True)
    def outcome(self, mutant):
        "The name of the test that fails, or None."
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
            try: failed = self.first_failure(mutant)
            except BaseException as e: failed = f'{type(e).__name__}: {e}'[:150]
            os.write(write, json.dumps(failed).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe: text = pipe.read()
        os.waitpid(pid, 0)
        return json.loads(text) if text else 'crash or time'
    def first_failure(self, mutant):
        import processes
        place = f'sys.path.insert(0, {str(root/"tests")!r}); import mutants; mutants.apply(vars(sys.modules["amodal_nb.{self.module}"]), {self.module!r}, {mutant!r})'
        processes.SERVER = processes.SERVER.replace('Image.init()', f'Image.init(); {place}')
        apply(vars(sys.modules[f'amodal_nb.{self.module}']), self.module, mutant)
        if failure := failing_cell(self.notebook, self.module, mutant): return failure
        os.chdir(root)
        return self.first_failing(self.items)
    def first_failing(self, items):
        for item, following in zip(items, [*items[1:], None]):
            if any(r.failed for r in runtestprotocol(item, nextitem=following, log=False)): return item.name

def try_module(module, n, seed):
    "Run `n` mutants of a module: list of (mutant, name of the test that fails or None)."
    notebook, files = MODULES[module]
    source = (root/'amodal_nb'/f'{module.replace(".", "/")}.py').read_text(encoding='utf-8')
    mutants = random.Random(f'{seed}/{module}').sample(all_mutants(source), n)
    runner = Runner(module, notebook, mutants)
    with tempfile.TemporaryDirectory(prefix='mutants_') as d:
        paths = [str(root/'tests'/f'test_{name}.py') for name in files]
        pytest.main([*paths, '-q', '-n', '0', '-k', LONG, '-p', 'no:cacheprovider', '-o', 'tmp_path_retention_policy=none', '--basetemp', f'{d}/tmp'], plugins=[runner])
    return runner.results

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--n', type=int, default=30)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--only', default='')
    a = p.parse_args()
    rows = ['| module | mutants | killed |', '|---|---|---|']
    for module in [m for m in MODULES if a.only in m]:
        results = try_module(module, a.n, a.seed)
        killed = sum(outcome is not None for _, outcome in results)
        rows.append(f'| `{module}` | {len(results)} | {killed} ({killed/max(1, len(results)):.0%}) |')
    print('\n'.join([*rows, f'seed {a.seed}']))
