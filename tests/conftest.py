"Settings of every test, the options that choose which cells of the notebooks run, and what several files share: a process to fork from, scenes, trained runs."
import gc, os

gc.disable()  # until the tests are collected: it would look through all modules again and again while they are imported
os.environ['OMP_NUM_THREADS'] = '1'  # before torch is imported: the tests share the cores among themselves
os.environ['MPLBACKEND'] = 'Agg'

from pathlib import Path
import pytest

def pytest_addoption(parser):
    parser.addoption('--fast', action='store_true', help='leave out the cells flagged `#| claim` as well')
    parser.addoption('--slow', action='store_true', help='run every cell, those flagged `#| slow` too')
    parser.addoption('--kills', type=int, default=20, help='how often training, and fusing many scenes, is killed at random; CI: 20')

def pytest_collection_finish(session):
    "Collect garbage from now on, but not among what was imported, nor in processes that are forked."
    gc.freeze()
    gc.enable()

@pytest.fixture(scope='session')
def root() -> Path:
    "The top of the repository."
    return Path(__file__).parents[1]

LONG = dict(notebooks=12, inspector=3, launch=3, distributed=3, formats=2, harmonise=1, bad_input=1, labels_and_evidence=.8, shards=.8, training_process=.7,
            own_pictures=.5, bench=.5, refit=.4, packaging=.4, inspector_page=.4, docs=.4, editor=.3, prior=.3, pages=.3, bulk=.3, overwrite=.3, odd_checkpoints=.2,
            attack=.2, layered_files=.2) # roughly, in minutes of a core

def pytest_collection_modifyitems(config, items):
    """Workers are given equal shares of this order, and what one has not begun another may take from its end. So each share begins with long files,
    about as many minutes in each, which keeps their fixtures in one worker, and ends with what is short."""
    shares = [[] for _ in range(getattr(config, 'workerinput', {}).get('workercount', 1))]
    minutes = [0]*len(shares)
    for file, duration in LONG.items():
        k = minutes.index(min(minutes))
        minutes[k] += duration
        shares[k] += [item for item in items if item.path.name == f'test_{file}.py']
    short = [item for item in items if item.path.stem.removeprefix('test_') not in LONG]
    size = -(-len(items)//len(shares))
    items.clear()
    for share in shares:
        room = max(0, size-len(share))
        items += share + short[:room]
        del short[:room]
    items += short

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
