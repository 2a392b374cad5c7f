"Settings of every test, the options that choose which cells of the notebooks run, and what several files share: a process to fork from, scenes, trained runs."
import os

os.environ['OMP_NUM_THREADS'] = '1'  # before torch is imported: the tests share the cores among themselves
os.environ['MPLBACKEND'] = 'Agg'

from pathlib import Path
import pytest

def pytest_addoption(parser):
    parser.addoption('--fast', action='store_true', help='leave out the cells flagged `#| claim` as well')
    parser.addoption('--slow', action='store_true', help='run every cell, those flagged `#| slow` too')
    parser.addoption('--kills', type=int, default=20, help='how often training is killed at random; CI: 20')

@pytest.fixture(scope='session')
def root() -> Path:
    "The top of the repository."
    return Path(__file__).parents[1]

SLOW = 'notebooks', 'launch', 'inspector', 'distributed', 'packaging', 'training_process' # files with single tests that take long: begun first, so that no core waits for the last one

def pytest_collection_modifyitems(items):
    names = [f'test_{k}.py' for k in SLOW]
    items.sort(key=lambda item: names.index(item.path.name) if item.path.name in names else len(names))

@pytest.fixture(scope='session')
def forks():
    "forks(code, *args) -> a finished process, forked from one that has torch and the like already."
    from processes import Forks
    with Forks() as f: yield f

@pytest.fixture(scope='session')
def train(forks):
    "train(ranks, args, *events) -> the exit status of each rank, all of them processes that have not trained before."
    from processes import Trainers
    return Trainers(forks)

@pytest.fixture(scope='session')
def data(tmp_path_factory):
    "Ten scenes of 32 px, seed 0; tests that change them copy them."
    from amodal_nb.synthesis.composer import Composer, write_scenes
    folder = tmp_path_factory.mktemp('data')/'scenes'
    write_scenes(folder, 10, Composer(size=32, n_objects=(2, 3)))
    return folder

@pytest.fixture(scope='session')
def whole(data, train, tmp_path_factory):
    "whole(ranks) -> the folder of a run of that many ranks that nothing befell; four scenes a step in all where that works. Nothing may change it."
    from processes import several
    runs = {}
    def of(ranks, **options):
        key = ranks, *sorted(options.items())
        if key not in runs:
            run = tmp_path_factory.mktemp('whole')/'run'
            assert train(ranks, several(data, run, ranks, **options)) == [0]*ranks
            runs[key] = run
        return runs[key]
    return of
