"Every notebook is a test: it runs from top to bottom, in a process of its own (see `processes.Forks`)."
import json, re
from functools import partial
from pathlib import Path
import pytest

nbs = Path(__file__).parents[1]/'nbs'
notebooks = [p.relative_to(nbs).as_posix() for p in sorted(nbs.rglob('*.ipynb'))
             if not any(part.startswith(('.', '_')) for part in p.relative_to(nbs).parts)]

RUN = """
import sys
from nbdev.test import test_nb
notebook, seconds, *skip_flags = sys.argv[1:]
passed, _ = test_nb(notebook, skip_flags=skip_flags, profile=False, cell_timeout=int(seconds))
sys.exit(not passed)
"""

@pytest.fixture
def run_notebook(forks): return partial(run_in, forks)

def run_in(forks, path, skip_flags, cell_seconds):
    "None if the notebook runs, else what to tell the reader: the traceback, and the cell that failed."
    done = forks(RUN, path, cell_seconds, *skip_flags, cwd=path.parent)
    if done.returncode == 0: return None
    report = done.stderr or f'the process ended with status {done.returncode} and said nothing'
    if number := re.search(r'While Executing Cell #(\d+):', report):
        cell = json.loads(path.read_text(encoding='utf-8'))['cells'][int(number[1])-1]
        report += f"\nCell #{number[1]} of {path.name}:\n" + re.sub('^', '    ', ''.join(cell['source']), flags=re.M)
    return report

@pytest.mark.parametrize('notebook', notebooks)
def test_notebook_runs(notebook, run_notebook, request):
    fast, slow = (request.config.getoption(f'--{k}') for k in ('fast', 'slow'))
    skip_flags = [] if slow else ['slow', 'claim'] if fast else ['slow']
    if report := run_notebook(nbs/notebook, skip_flags, cell_seconds=6*3600 if slow else 600): pytest.fail(report, pytrace=False)

@pytest.mark.parametrize('notebook', notebooks)
def test_outputs_are_small_and_hold_no_widget(notebook):
    assert (nbs/notebook).stat().st_size < 300_000 # as CONTRIBUTING.md says
    for cell in json.loads((nbs/notebook).read_text(encoding='utf-8'))['cells']:
        for kind in 'view', 'state': assert f'application/vnd.jupyter.widget-{kind}+json' not in [k for o in cell.get('outputs', []) for k in o.get('data', {})], cell['id']

def notebook_of(path, *cells):
    cells = [{'cell_type': 'code', 'id': f'c{i}', 'metadata': {}, 'outputs': [], 'execution_count': None, 'source': s} for i, s in enumerate(cells)]
    path.write_text(json.dumps({'nbformat': 4, 'nbformat_minor': 5, 'metadata': {}, 'cells': cells}), encoding='utf-8')
    return path

def test_a_broken_notebook_is_reported_with_traceback_and_cell(run_notebook, tmp_path):
    broken = notebook_of(tmp_path/'broken.ipynb', 'x = 1', 'y = 2 # this cell\nassert x == y, "x is not y"')
    report = run_notebook(broken, [], 60)
    for part in 'AssertionError: x is not y', 'line 2', 'Cell #2 of broken.ipynb', '    y = 2 # this cell': assert part in report

def test_a_dying_process_is_a_failure(run_notebook, tmp_path):
    assert 'status -9' in run_notebook(notebook_of(tmp_path/'dies.ipynb', 'import os; os.kill(os.getpid(), 9)'), [], 60)

def test_flags_choose_the_cells(run_notebook, tmp_path):
    flagged = notebook_of(tmp_path/'flagged.ipynb', '#| slow\n1/0', '#| claim\nimport pathlib; pathlib.Path("claimed").touch()')
    assert run_notebook(flagged, ['slow', 'claim'], 60) is None
    assert not (tmp_path/'claimed').exists()
    assert run_notebook(flagged, ['slow'], 60) is None
    assert (tmp_path/'claimed').exists()
    assert 'ZeroDivisionError' in run_notebook(flagged, [], 60)
