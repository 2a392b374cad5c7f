"Settings of every test, and the options that choose which cells of the notebooks run."
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
