"Many ranks: the same steps as one process, the same bytes after every death, and an end that says why."
import random, re, shutil, signal
import pytest, torch
from amodal_nb.models.checkpoint import load_weights, read_checkpoint
from processes import arguments, assert_same, info_step, log_of, log_until, several, steps_of

KILLED, STOPPED = -signal.SIGKILL, 75

# One large batch

FROZEN = dict(model_args='d_model=16,nhead=2,dim_feedforward=32,num_encoder_layers=1,num_decoder_layers=1,dropout=0,context=inject', batch_norm='frozen', lr=3e-3)
ORDER = dict(model='order', model_args='width=8', n_max_completions=3)

def difference(run, other):
    """Of the weights as one vector, relative to its length, and of the losses, the largest, relative to it. Not of each weight: a few have no effect at all (the bias
    of attention's keys, the last bias of the antisymmetric order model), so their gradient is nothing but rounding, and Adam makes whole steps of that."""
    (a, _), (b, _) = (read_checkpoint(r/'last.safetensors') for r in (run, other))
    a, b = (torch.cat([w[k].double().flatten() for k in sorted(a)]) for w in (a, b))
    losses = [torch.tensor([o['loss'] for o in log_of(r) if 'loss' in o], dtype=torch.float64) for r in (run, other)]
    return ((a-b).norm()/a.norm()).item(), ((losses[0] - losses[1]).abs()/losses[0].abs()).max().item()

@pytest.mark.parametrize('double, most', [(True, 1e-6), (False, 1e-4)])
@pytest.mark.parametrize('model', [FROZEN, ORDER], ids=['reference', 'order'])
def test_six_ranks_are_one_process_with_six_times_the_batch(data, tmp_path, train, model, double, most):
    "6 steps of 6 scenes, ten scenes in an epoch: every second step is filled up. Order and pictures teach the order model; the learning rate is the default (x 10 for the reference model)."
    shared = dict(steps=6, eval_every=6, warmup=24, **model)
    for name, ranks, options in [('one', 1, dict(batch_size=6)), ('six', 6, dict(batch_size=1)), ('two', 2, dict(batch_size=1, accumulate=3))]:
        assert train(ranks, arguments(data, tmp_path/name, **shared, **options), double=double) == [0]*ranks
        assert steps_of(tmp_path/name) == list(range(1, 7))
    for name in 'six', 'two': assert max(difference(tmp_path/'one', tmp_path/name)) <= most, name
    assert train(1, arguments(data, tmp_path/'other', **shared, batch_size=5), double=double) == [0]
    assert min(difference(tmp_path/'one', tmp_path/'other')) > 3*most  # the measure sees that a scene is missing in each step

def test_measures_do_not_depend_on_the_number_of_ranks(data, tmp_path, train):
    "Three validation scenes on two ranks: sums and counts, not means of means."
    shared = FROZEN | dict(steps=1, val_scenes=3, lr=1e-9)
    logs = []
    for ranks, batch in (1, 2), (2, 1):
        run = tmp_path/str(ranks)
        assert train(ranks, arguments(data, run, batch_size=batch, **shared), double=True) == [0]*ranks
        logs.append({k: v for o in log_of(run) for k, v in o.items() if k.startswith('val/')})
    assert logs[0].keys() == logs[1].keys() and all(logs[0][k] == pytest.approx(logs[1][k], rel=1e-9) for k in logs[0])

# Deaths

@pytest.mark.parametrize('ranks', [1, 2, 6])
def test_a_run_that_is_killed_in_the_middle_of_an_epoch_ends_in_the_same_bytes(data, tmp_path, train, whole, ranks):
    run = tmp_path/'run'
    assert train(ranks, several(data, run, ranks), ('all', 'killed after a step', 8)) == [KILLED]*ranks
    assert info_step(run) == 6
    assert train(ranks, several(data, run, ranks, resume='auto', workers=1)) == [0]*ranks
    assert_same(run, whole(ranks))

@pytest.mark.parametrize('ranks', [1, 2])
def test_a_run_killed_anywhere_goes_on_to_the_same_bytes(data, tmp_path, train, whole, ranks, request):
    "A rank dies at a random beat (reading, forward, backward, evaluating, saving of a random step); the next run goes on from what is there, and does not begin anew."
    rng, checkpoints = random.Random(ranks), []
    for trial in range(request.config.getoption('--kills')//2):
        run, rank, beat = tmp_path/str(trial), rng.randrange(ranks), rng.randrange(1, 50)
        codes = train(ranks, several(data, run, ranks), (rank, 'killed at a beat', beat), stderr=tmp_path/'stderr')
        assert codes[rank] == KILLED and all(c in (KILLED, 1) for c in codes), (beat, codes)
        for r, code in enumerate(codes):
            if code == 1: assert 'lost another rank' in (tmp_path/f'stderr.{r}').read_text().splitlines()[-1]
        for path in run.glob('*.safetensors'): load_weights(path)
        checkpoints.append(info_step(run))
        kept = log_until(run, checkpoints[-1])
        assert train(ranks, several(data, run, ranks, resume='auto')) == [0]*ranks
        assert_same(run, whole(ranks))
        assert log_until(run, checkpoints[-1]) == kept  # with its measured speeds, which a run that begins anew would not repeat
        assert not list(run.rglob('.*.tmp'))
        shutil.rmtree(run)
    assert len({*checkpoints}) > 3, checkpoints  # it died in different parts of the run

def test_a_damaged_checkpoint_gives_way_to_the_one_before(data, tmp_path, train, whole):
    run = tmp_path/'run'
    assert train(2, several(data, run, 2), ('all', 'killed after a step', 9)) == [KILLED]*2
    last = run/'last.safetensors'
    last.write_bytes(last.read_bytes()[:1000])
    assert train(2, several(data, run, 2, resume='auto', workers=1), stderr=tmp_path/'stderr') == [0]*2
    warnings = [(tmp_path/f'stderr.{r}').read_text() for r in range(2)]
    assert re.search(f'{re.escape(str(last))}: damaged.*going on from .*previous.safetensors, step 6', warnings[0])
    assert warnings[1] == ''  # every rank has read it, one tells
    assert_same(run, whole(2))

def test_a_damaged_checkpoint_never_becomes_the_previous_one(data, tmp_path, train, whole):
    "It dies again before the next checkpoint has its name: what was good before must still be there."
    run = tmp_path/'run'
    assert train(1, several(data, run, 1), ('all', 'killed after a step', 9)) == [KILLED]
    (run/'last.safetensors').write_bytes(b'damaged')
    assert train(1, several(data, run, 1, resume='auto'), ('all', 'killed before a checkpoint has its name', 1)) == [KILLED]
    assert train(1, several(data, run, 1, resume='auto')) == [0]
    assert_same(run, whole(1))

def test_a_full_disk_leaves_the_last_checkpoint_as_it_was(data, tmp_path, train, whole):
    run = tmp_path/'run'
    codes = train(2, several(data, run, 2), (0, 'disk full', 6), stderr=tmp_path/'stderr')
    assert codes == [1, 1]
    lines = [(tmp_path/f'stderr.{r}').read_text().splitlines()[-1] for r in (0, 1)]
    assert str(run/'last.safetensors') in lines[0] and 'File too large' in lines[0] and 'lost another rank' in lines[1], lines
    assert 'Traceback' not in (tmp_path/'stderr.0').read_text()
    for path in run.glob('*.safetensors'): load_weights(path)
    assert not list(run.rglob('.*.tmp'))
    assert train(2, several(data, run, 2, resume='auto')) == [0]*2
    assert_same(run, whole(2))

# An end that was asked for

@pytest.mark.parametrize('ranks, who', [(1, 0), (2, 1), (2, 'all')])
@pytest.mark.parametrize('event, when', [('asked at a beat', 16), ('asked in an evaluation', 1)])
def test_a_run_asked_to_stop_leaves_a_checkpoint_and_goes_on_to_the_same_bytes(data, tmp_path, train, whole, ranks, who, event, when):
    "SIGTERM to one rank or all of them: the step is finished, a checkpoint written, and the status says so."
    run = tmp_path/'run'
    codes = train(ranks, several(data, run, ranks), (who, event, when), stderr=tmp_path/'stderr')
    assert codes == [STOPPED]*ranks
    line = (tmp_path/'stderr.0').read_text().splitlines()[-1]
    assert re.fullmatch(rf'stopped at step {info_step(run)}; --resume auto goes on from {re.escape(str(run))}/last.safetensors', line), line
    assert '"state": "stopped"' in (run/'status.json').read_text()
    assert read_checkpoint(run/'last.safetensors')[1]['due'] == (event == 'asked in an evaluation')
    assert train(ranks, several(data, run, ranks, resume='auto')) == [0]*ranks
    assert_same(run, whole(ranks))
    assert '"state": "finished"' in (run/'status.json').read_text()

# A rank that is the only one in trouble

@pytest.mark.parametrize('event, doing', [('hangs at a beat', 'saving, step 2'),  # what the beat before began
                                          ('silent at a beat', r'\w+, step [012]')])  # what it told last: it tells once a second
def test_a_rank_that_hangs_is_named(data, tmp_path, train, event, doing):
    codes = train(3, several(data, tmp_path/'run', 3, timeout=4), (1, event, 9), stderr=tmp_path/'stderr')
    assert codes[0] == codes[2] == 1 and codes[1] in (1, KILLED)
    lines = [(tmp_path/f'stderr.{r}').read_text().splitlines()[-1] for r in (0, 2)]
    named = [bool(re.search(rf'the others waited for rank 1 \({doing}, process \d+ on .*\): ended', o)) for o in lines]
    assert any(named), lines
    assert all(n or 'lost another rank: see the error of that rank' in o for n, o in zip(named, lines)), lines # by the one that found it first

def test_a_bug_in_a_rank_is_told_by_that_rank(data, tmp_path, train):
    codes = train(2, several(data, tmp_path/'run', 2), (1, 'bug at a beat', 9), stderr=tmp_path/'stderr')
    assert codes == [1, 1]
    ours, theirs = ((tmp_path/f'stderr.{r}').read_text() for r in (1, 0))
    assert 'Traceback' in ours and "KeyError: 'a bug of this rank'" in ours
    assert 'Traceback' not in theirs and 'lost another rank' in theirs.splitlines()[-1]
    assert '"state": "failed"' in (tmp_path/'run'/'status.json').read_text()

# Other numbers of ranks

def test_another_number_of_ranks_goes_on_and_says_what_is_not_exact(data, tmp_path, train):
    run = tmp_path/'run'
    assert train(2, several(data, run, 2, steps=13), ('all', 'killed after a step', 5)) == [KILLED]*2
    assert train(1, several(data, run, 1, resume='auto'), ('all', 'killed after a step', 5), stderr=tmp_path/'stderr') == [KILLED]
    warning = (tmp_path/'stderr.0').read_text()
    assert 'world_size was 2 and is 1, batch_size was 2 and is 4: each step still sees the same scenes, but dropout' in warning
    assert train(3, several(data, run, 3, resume='auto'), stderr=tmp_path/'stderr') == [0]*3
    assert 'a step sees 3 scenes instead of 4' in (tmp_path/'stderr.0').read_text()
    assert steps_of(run) == list(range(1, 14))
