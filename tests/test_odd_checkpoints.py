"Odd checkpoints: each command that reads one uses it, or refuses it in one line that names it, before it takes memory or writes anything."
import os, shutil, sys
import pytest
import odd_checkpoints
from amodal_nb.core.errors import CheckpointError
from amodal_nb.models.checkpoint import read_checkpoint
from amodal_nb.training.checkpoint import TrainingRun
from amodal_nb.training.config import TrainConfig
from amodal_nb.training.distributed import DistributedContext
from processes import arguments
from test_bad_input import good_scene, here

OPTIONS = dict(model='unet', model_args='width=8,depth=1', steps=4, batch_size=1, val_scenes=1)

@pytest.fixture(scope='module')
def work(tmp_path_factory):
    "A scene, and a run on it."
    folder = tmp_path_factory.mktemp('odd')
    good_scene(folder/'scenes'/'a')
    return folder

@pytest.fixture
def run(work, capfd):
    if not (work/'run').exists(): assert here(capfd, 'train', *arguments(work/'scenes', work/'run', **OPTIONS)) == (0, [])
    return odd_checkpoints.Checkpoint(work/'run'/'last.safetensors')

def write(work, content):
    "The same bytes as a file and as a run's only checkpoint."
    shutil.rmtree(work/'odd', ignore_errors=True)
    (work/'odd').mkdir()
    path = work/'odd'/'last.safetensors'
    path.write_bytes(content)
    return path

def commands(work, path):
    "Command -> its words."
    return {'fuse': ['fuse', work/'scenes', '--out', work/'fused', '--again', '--model', path], 'eval': ['eval', work/'scenes', '--no-lpips', '--model', path],
            'share': ['share', path, '--out', work/'shared', '--overwrite'],
            'resume': ['train', *arguments(work/'scenes', path.parent, **OPTIONS, resume='auto')]}

def wrong(work, capfd, run, cases, names, is_right):
    "The odd checkpoints with which a command does not end as it must: {(case, command): (status, lines)}."
    found = {}
    for case, change in cases.items():
        path = write(work, change(run))
        for name in names:
            status, lines = here(capfd, *commands(work, path)[name])
            if not is_right(status, lines, path): found[case, name] = status, lines
    return found

def is_refused(status, lines, path): return status == 1 and len(lines) == 1 and str(path) in lines[0] and len(lines[0]) < 600
def is_silent(status, lines, path): return (status, lines) == (0, [])
def is_warned(status, lines, path): return status == 0 and len(lines) in (1, 2)

EVERY = 'fuse', 'eval', 'share', 'resume'

@pytest.mark.parametrize('group, names, is_right', [('FILES', EVERY, is_refused), ('WEIGHTS', EVERY, is_refused), ('SETTINGS', EVERY, is_refused),
    ('DESCRIPTION', ['resume'], is_refused), ('DESCRIPTION', ['share'], is_silent), ('USABLE', ['fuse', 'share', 'resume'], is_silent), ('WARNED', ['resume'], is_warned)])
def test_an_odd_checkpoint_is_used_or_refused_in_one_line(work, capfd, run, group, names, is_right, request):
    "Of a long list every ninth; with --slow all."
    cases = list(getattr(odd_checkpoints, group).items())
    if len(cases) > 9 and not request.config.getoption('--slow'): cases = cases[::9]
    assert wrong(work, capfd, run, dict(cases), names, is_right) == {}
    if is_right is is_refused: assert not (work/'fused').exists() and not (work/'shared').exists()
    assert read_checkpoint(work/'run'/'last.safetensors')[1] == run.info # nothing was written to it

def test_a_run_goes_on_from_none_of_the_odd_checkpoints(work, run):
    "All of them, without the command around it."
    training = TrainingRun(TrainConfig(**run.info['config'] | {'out': str(work/'odd')}), DistributedContext(), 1)
    refused = odd_checkpoints.FILES | odd_checkpoints.WEIGHTS | odd_checkpoints.SETTINGS | odd_checkpoints.DESCRIPTION
    for case, change in refused.items():
        path = write(work, change(run))
        with pytest.raises(CheckpointError) as e: training.load()
        assert str(path) in str(e.value) and len(str(e.value).splitlines()) == 1, case

@pytest.mark.parametrize('key', ['args', 'config'])
def test_a_description_holds_dictionaries(work, run, key):
    path = write(work, run.with_info(**{key: []}))
    with pytest.raises(CheckpointError, match=f'{key} in its description is no dictionary'): read_checkpoint(path)

@pytest.mark.skipif(sys.platform != 'linux', reason='ulimit -v is obeyed on Linux')
def test_weights_are_compared_before_a_model_is_built(work, run, forks):
    "Ten kilobytes that ask for a model of gigabytes."
    path = write(work, odd_checkpoints.WEIGHTS['wide, with 10 kB of weights'](run))
    code = """
import resource, sys
from amodal_nb.app import cli
used = int(open('/proc/self/statm').read().split()[0])*resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 10**8,)*2)
cli.main(sys.argv[1:])
"""
    done = forks(code, *commands(work, path)['fuse'])
    assert done.returncode == 1 and done.stderr.count('\n') == 1 and 'size mismatch' in done.stderr, done.stderr

def test_a_checkpoint_that_cannot_be_resumed_gives_way_to_the_one_before(work, capfd, run):
    path = write(work, odd_checkpoints.DESCRIPTION['no optimizer'](run))
    shutil.copy(work/'run'/'last.safetensors', path.with_name('previous.safetensors'))
    status, lines = here(capfd, *commands(work, path)['resume'])
    assert status == 0 and len(lines) == 1 and "0 of" in lines[0] and 'going on from' in lines[0] and str(path) in lines[0], lines

def test_a_run_of_which_only_the_best_weights_are_left_begins_anew_with_a_line(work, capfd, run):
    path = write(work, run.bytes)
    shutil.copy(work/'run'/'best.safetensors', path.with_name('best.safetensors'))
    path.unlink()
    never = ['train', *arguments(work/'scenes', path.parent, **OPTIONS)]
    status, lines = here(capfd, *never)
    assert status == 1 and len(lines) == 1 and 'holds a run already' in lines[0], lines
    status, lines = here(capfd, *commands(work, path)['resume'])
    assert status == 0 and len(lines) == 1 and 'begins anew' in lines[0], lines
    assert read_checkpoint(path)[1]['step'] == OPTIONS['steps']

def test_a_log_that_is_a_pipe_is_replaced(work, capfd, run):
    "Nobody writes to it, so that reading it would wait without end."
    path = write(work, run.bytes)
    os.mkfifo(path.with_name('log.jsonl'))
    assert here(capfd, *commands(work, path)['resume']) == (0, [])
    assert path.with_name('log.jsonl').is_file()

def test_a_damaged_log_does_not_stop_a_run(work, capfd, run):
    path = write(work, run.bytes)
    log, whole = path.with_name('log.jsonl'), (work/'run'/'log.jsonl').read_bytes()
    for damage in b'\xff\xfe\n', b'null\n', b'{"step": "x"}\n', b'{"loss": 1}\n', b'['*10_000 + b'\n', bytes(1000) + b'\n', b'{"step": 1, "loss": []}\n':
        log.write_bytes(damage + whole)
        status, lines = here(capfd, *commands(work, path)['resume'])
        assert status == 0 and len(lines) == 1 and str(log) in lines[0], (damage, lines)
        assert log.read_bytes() == whole and path.with_name('log.damaged.jsonl').read_bytes() == damage + whole
