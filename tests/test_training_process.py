"Training as processes: killed and resumed, as one of two ranks, with losses and scenes that are no good."
import json, math, signal
from types import SimpleNamespace
import pytest, torch
import amodal_nb.training.loop
from amodal_nb.app.cli import main
from amodal_nb.models.baselines import BASELINES
from amodal_nb.models.checkpoint import SHIPPED_MODELS
from amodal_nb.models.checkpoint import load_weights, read_checkpoint
from amodal_nb.training.config import TrainConfig
from amodal_nb.training.loop import Progress
from processes import arguments, assert_same, info_step, steps_of

def run_command(capfd, *args):
    "Run a command in this process, which has torch already; return (status, lines of stderr). An exception that escapes is a traceback."
    try: main([*map(str, args)]); status = 0
    except SystemExit as e: status = e.code
    return status, capfd.readouterr().err.splitlines()

# Processes that die

def test_a_killed_run_resumes_exactly(data, tmp_path, train, whole):
    run = tmp_path/'killed'
    for death, when, last in [('killed after a step', 2, None),  # of the first epoch, before any checkpoint
                              ('killed after a step', 4, 2),     # of the second epoch, between two checkpoints
                              ('killed in a checkpoint', 2, 2),
                              ('killed in a checkpoint', 3, 4),
                              ('killed before a checkpoint has its name', 2, 4),
                              ('killed in a line of the log', 4, 6)]:
        assert train(1, arguments(data, run, resume='auto'), ('all', death, when)) == [-signal.SIGKILL]
        for path in run.glob('*.safetensors'): load_weights(path)  # whole, whenever the process died
        assert info_step(run) == last
    assert train(1, arguments(data, run, resume='auto', workers=1)) == [0]
    assert_same(run, whole(1))
    assert steps_of(run) == list(range(1, 14))
    assert not [p for p in run.iterdir() if p.name.endswith('.tmp')], 'what the killed process had begun to write is still there'

def test_two_ranks_train_one_model(whole):
    run = whole(2)
    tensors, info = read_checkpoint(run/'last.safetensors', 'rng.')
    assert (info['step'], info['world_size'], set(tensors)) == (13, 2, {'0', '1'})
    assert not torch.equal(tensors['0'], tensors['1'])  # each rank its own dropout
    assert steps_of(run) == list(range(1, 14))
    load_weights(run/'best.safetensors')

# A loss that is not finite

@pytest.mark.parametrize('eval_every, good', [(2, 4), (5, None), (3, 3)])
def test_a_loss_that_is_not_finite_ends_the_run_and_spoils_no_checkpoint(data, tmp_path, monkeypatch, capfd, eval_every, good):
    "The learning rate of step 5 spoils the weights. No checkpoint may hold them, not even one that is due after that very step."
    real = amodal_nb.training.loop.learning_rate
    monkeypatch.setattr(amodal_nb.training.loop, 'learning_rate', lambda step, config: math.inf if step == 4 else real(step, config))
    run = tmp_path/'run'
    status, lines = run_command(capfd, 'train', *arguments(data, run, eval_every=eval_every))
    assert status == 1 and len(lines) == 1, lines
    assert f'step {5 if good is None else 6}, batch [0' in lines[0]
    if good is None: assert not list(run.glob('*.safetensors')); return
    assert info_step(run) == good and str(run) in lines[0]
    for name in 'last', 'best': assert all(torch.isfinite(w).all() for w in load_weights(run/f'{name}.safetensors')[0].state_dict().values())
    monkeypatch.undo()
    assert run_command(capfd, 'train', *arguments(data, run, eval_every=eval_every, resume='auto'))[0] == 0  # and the run can go on from there
    assert steps_of(run) == list(range(1, 14))

def test_a_learning_rate_that_is_not_finite_is_one_line(data, tmp_path, capfd):
    status, lines = run_command(capfd, 'train', *arguments(data, tmp_path/'run', lr='inf'))
    assert status == 1 and len(lines) == 1 and 'step 2, batch [0' in lines[0], lines

# Data that is not good

@pytest.fixture
def some(data, tmp_path):
    "Five of the scenes, to be damaged."
    for name in sorted(p.name for p in data.iterdir())[:5]: copy(data/name, tmp_path/'some'/name)
    return tmp_path/'some'

def copy(folder, to):
    to.mkdir(parents=True)
    for p in folder.iterdir(): (to/p.name).write_bytes(p.read_bytes())

@pytest.mark.parametrize('damage', ['cut', 'no image', 'too many'])
def test_training_goes_on_without_a_damaged_scene(some, tmp_path, capfd, damage):
    damaged = some/'0002'
    if damage == 'cut': (damaged/'0002_comp1.png').write_bytes((damaged/'0002_comp1.png').read_bytes()[:100])
    if damage == 'no image': (damaged/'0002_image.png').unlink()
    if damage == 'too many':
        for k in range(3, 8): (damaged/f'0002_comp{k}.png').write_bytes((damaged/'0002_comp1.png').read_bytes())
    status, lines = run_command(capfd, 'train', *arguments(some, tmp_path/'run', steps=4))
    assert status == 0 and steps_of(tmp_path/'run') == [1, 2, 3, 4]
    assert len(lines) == 1 and '0002' in lines[0], lines
    assert {'cut': 'damaged', 'no image': '0002_image.png', 'too many': 'slots'}[damage] in lines[0]

@pytest.mark.parametrize('workers', [0, 1])
def test_training_without_any_good_scene_is_refused(some, tmp_path, capfd, workers):
    for p in some.rglob('*_image.png'): p.unlink()
    status, lines = run_command(capfd, 'train', *arguments(some, tmp_path/'run', workers=workers))
    assert status == 1 and len(lines) == 6 and 'Traceback' not in '\n'.join(lines), lines
    assert str(some) in lines[-1] and 'not one' in lines[-1]

def test_another_run_is_not_overwritten(data, tmp_path, capfd):
    assert run_command(capfd, 'train', *arguments(data, tmp_path/'run', steps=2))[0] == 0
    before = (tmp_path/'run'/'last.safetensors').read_bytes()
    for options, word in [({}, '--resume auto'), (dict(resume='auto', lr=1), 'lr'), (dict(resume='auto', model='unet', model_args='width=8'), 'model')]:
        status, lines = run_command(capfd, 'train', *arguments(data, tmp_path/'run', steps=2, **options))
        assert status == 1 and len(lines) == 1 and word in lines[0] and str(tmp_path/'run') in lines[0], lines
    assert (tmp_path/'run'/'last.safetensors').read_bytes() == before

@pytest.mark.parametrize('content', [b'', b'hello', None])
def test_a_damaged_checkpoint_is_not_resumed(data, tmp_path, capfd, content):
    assert run_command(capfd, 'train', *arguments(data, tmp_path/'run', steps=2))[0] == 0
    last = tmp_path/'run'/'last.safetensors'
    last.write_bytes(last.read_bytes()[:-9] if content is None else content)
    status, lines = run_command(capfd, 'train', *arguments(data, tmp_path/'run', steps=2, resume='auto'))
    assert status == 1 and len(lines) == 1 and str(last) in lines[0], lines

# Evaluation

def test_eval_measures_all_but_the_scene_without_image(some, tmp_path, capfd):
    (some/'0002'/'0002_image.png').unlink()
    assert run_command(capfd, 'train', *arguments(some, tmp_path/'run', steps=2))[0] == 0
    status, lines = run_command(capfd, 'eval', some, '--no-lpips', '--model', tmp_path/'run', '--json', tmp_path/'table.json')
    assert status == 1 and len(lines) == 1 and '0002_image.png' in lines[0]
    measured = json.loads((tmp_path/'table.json').read_text())
    assert set(measured['results']) == {*BASELINES, *SHIPPED_MODELS, 'order, harmonised', str(tmp_path/'run')} and measured['failed'] == lines
    for r in measured['results'].values(): assert r['scenes'] == 4 and r['errors'] == [] and 'closed' in r
    assert measured['results']['oracle']['closed'] == 1 and measured['results']['mean_valid']['closed'] == 0
    assert measured['results']['true_order']['order_all'] == 1

def test_eval_refuses_pictures_smaller_than_its_windows(tmp_path, capfd):
    "Smaller than the windows of SSIM and the strides of LPIPS."
    from amodal_nb.scenes.folders import write_scene
    from amodal_nb.scenes.scene import make_scene
    g = torch.Generator().manual_seed(0)
    write_scene(make_scene(torch.rand(3, 4, 5, generator=g), torch.ones(1, 4, 5), list(torch.rand(2, 4, 4, 5, generator=g)), id='a', pairs=[]), tmp_path/'in')
    for options, least in [(['--no-lpips'], '6'), ([], '31')]:
        status, lines = run_command(capfd, 'eval', tmp_path/'in', *options)
        assert status == 1 and len(lines) == 1 and str(tmp_path/'in'/'a') in lines[0] and least in lines[0], lines

def test_ctrl_c_says_how_to_go_on(data, tmp_path, train):
    run = tmp_path/'run'
    assert train(1, arguments(data, run), ('all', 'interrupted in a step', 5), stderr=tmp_path/'stderr') == [130]
    err = (tmp_path/'stderr.0').read_text()
    assert 'Traceback' not in err and f"stopped; --resume auto goes on from {run/'last.safetensors'}" in err
    assert info_step(run) == 4

def test_the_bar_shows_only_what_is_measured():
    shown, run = [], SimpleNamespace(step=1, config=TrainConfig('scenes', 'run'), write_status=lambda *args, **kwargs: None, scenes_per_step=lambda: 1)
    for measures in ({}, {'top': .5}):
        Progress(run, SimpleNamespace(write=lambda *args: None), SimpleNamespace(set_postfix=shown.append), measures, 0., speed=1.).log_step({'loss': 1.}, 0.)
    assert shown == [{'loss': '1.0000'}, {'loss': '1.0000', 'top': '0.500'}]
