"Real torchrun jobs: whoever is interrupted, killed or in the way, no process is left and no checkpoint is damaged."
import ipaddress, os, re, shutil, signal, socket, subprocess, sys, threading, time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
import psutil, pytest
from jupyter_client.manager import KernelManager
from amodal_nb.training.launch import (Launch, attach, find_launches, launch, launch_processes, train_arguments, write_slurm_script)
from amodal_nb.core.errors import AmodalError
from amodal_nb.scenes.folders import find_scenes
from amodal_nb.scenes.shards import write_shards
from amodal_nb.models.checkpoint import load_weights
from amodal_nb.training.config import TrainConfig
from processes import ENV, TINY, assert_same, free_port, info_step, log_until, steps_of

LONG = 10**6 # steps: such a run ends only because somebody ends it

@pytest.fixture
def config(data, tmp_path, monkeypatch):
    "As `processes.arguments`: three steps an epoch, shuffled, dropout on."
    for k, v in ENV.items(): monkeypatch.setenv(k, v)
    return TrainConfig(str(data), str(tmp_path/'run'), 'reference', model_args=TINY, steps=13, batch_size=2, eval_every=2, log_every=1, lpips_weight=0., val=0., val_scenes=2, warmup=2, workers=0)

@pytest.fixture(scope='session')
def unmeasured(data, tmp_path_factory):
    """The scenes of `data` to train on, and one without the true picture to validate on. A rank that never measures a picture does not import what measures it, a
    third of its start; tests use it whose runs are compared with no other, and `config` measures in the rest."""
    folder = tmp_path_factory.mktemp('unmeasured')
    shutil.copytree(data, folder/'train')
    scene = shutil.copytree(find_scenes(data)[0], folder/'val'/'0000')
    (scene/'0000_image.png').unlink()
    return folder

@pytest.fixture
def long(config, unmeasured):
    "As `config`, without an end."
    return replace(config, data=str(unmeasured), steps=LONG)

@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path):
    yield
    left = [p for r in find_launches() if r.out.is_relative_to(tmp_path) for p in launch_processes(r.folder)]
    for p in left:
        with suppress(psutil.Error): p.kill()
    assert not left

def until(true, seconds=300):
    "Wait for a condition."
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, 'it did not come to that'
        time.sleep(.1)
    return value

def trains(run, steps=3): return lambda: (info_step(run.out) or 0) >= steps and len(run.ranks()) == run.record['nproc_per_node']
def patch_rank(monkeypatch, folder, rank, line):
    "Let a rank of what is launched from now on execute a line before each step of its optimizer; `calls` has an entry for each."
    (folder/'sitecustomize.py').write_text(f'''
import os, signal, time
if os.environ.get('RANK') == '{rank}':
    import amodal_nb.training.loop as t
    real, calls = t.optimizer_step, []
    def optimizer_step(optimizer, clip):
        calls.append(1)
        {line}
        return real(optimizer, clip)
    t.optimizer_step = optimizer_step
''')
    monkeypatch.setenv('PYTHONPATH', str(folder), prepend=os.pathsep)
def is_loopback(address): return ipaddress.ip_address(address.partition('%')[0]).is_loopback
def other_interface():
    "The name of an interface beyond loopback and its addresses; None and no addresses if this machine has none."
    for name, addresses in psutil.net_if_addrs().items():
        beyond = [a.address for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6) and not is_loopback(a.address)]
        if beyond: return name, beyond
    return None, []
def listeners(run):
    "Process, address and port of every listening TCP socket and every bound UDP socket of a run."
    sockets = []
    for p in launch_processes(run.folder):
        with suppress(psutil.NoSuchProcess):
            local = [c.laddr for c in p.net_connections('inet') if c.status == psutil.CONN_LISTEN or c.type == socket.SOCK_DGRAM and c.laddr]
            sockets += [(p.pid, a.ip, a.port) for a in local]
    return sockets
def gone(run): return lambda: not launch_processes(run.folder)
def rank(run, r): return next(o['pid'] for o in run.ranks() if o['rank'] == r)

# The command

def test_the_command_is_stopped_by_ctrl_c_and_goes_on(config, whole, forks, tmp_path):
    words = ['launch', *train_arguments(replace(config, batch_size=4, resume='auto')), '--nproc-per-node', '1']
    heard = lambda: signal.signal(signal.SIGINT, signal.default_int_handler) # a job in the background of a script has it ignored, and passes that on
    command = [sys.executable, '-m', 'amodal_nb.app.cli', *words]
    with pytest.MonkeyPatch.context() as m:
        patch_rank(m, tmp_path, 0, 'if len(calls) > 2: time.sleep(2)') # so that it is not quicker than the signal
        p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    until(lambda: (info_step(Path(config.out)) or 0) >= 2)
    p.send_signal(signal.SIGINT)
    err = p.communicate(timeout=300)[1]
    assert p.returncode == 75 and 'stopped at step' in err.splitlines()[-1], err
    assert forks('import sys; from amodal_nb.app.cli import main; main(sys.argv[1:])', *words, **ENV).returncode == 0
    assert_same(Path(config.out), whole(1))

# Kernels

@pytest.fixture
def kernel():
    "kernel(code) runs in a real ipykernel."
    manager = KernelManager(kernel_name='python3')
    manager.start_kernel(env=os.environ | ENV)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    def run(code):
        reply = client.execute_interactive(code, timeout=240, output_hook=lambda message: None)
        assert reply['content']['status'] == 'ok', reply['content']
    run.manager = manager
    yield run
    client.stop_channels()
    if manager.has_kernel: manager.shutdown_kernel(now=True)

def launching(config, ranks, **options):
    return f'''
import torch; from amodal_nb.training.launch import launch; from amodal_nb.training.config import TrainConfig
run = launch(TrainConfig(**{vars(config)!r}), {ranks}, **{options!r})
assert not torch.cuda.is_initialized()
view = run.watch()
'''

def test_a_run_outlives_an_interrupt_of_its_kernel_but_not_its_end(long, kernel):
    "Interrupting another cell leaves the run alone. Closing the notebook ends it with a checkpoint."
    kernel(launching(replace(long, workers=1), 1))
    run = attach(long.out)
    until(trains(run))
    kernel.manager.interrupt_kernel()
    before = info_step(run.out)
    until(lambda: info_step(run.out) > before)
    kernel.manager.shutdown_kernel()
    check_stopped(run)

def check_stopped(run):
    "The run stops of itself, with a checkpoint."
    until(gone(run))
    assert run.status()['state'] == 'stopped'
    load_weights(run.out/'last.safetensors')

def test_what_is_left_of_two_runs_whose_kernel_is_killed(long, kernel, train, tmp_path):
    """The one that is detached is taken over, keeps other runs from its folder, and leaves no rank when its torchrun is killed.
    The other ends with a checkpoint."""
    long = replace(long, workers=1)
    other = replace(long, out=str(tmp_path/'other'))
    kernel(launching(long, 2, detach=True))
    kernel(launching(other, 1))
    ends = attach(other.out)
    until(trains(ends))
    os.kill(kernel.manager.provisioner.pid, signal.SIGKILL)
    check_stopped(ends)

    run = attach(long.out)
    until(trains(run))
    assert str(run.out) in [str(r.out) for r in find_launches()] # found by what its processes carry, without knowing the folder
    assert run.alive

    with pytest.raises(AmodalError, match='a run is alive there'): launch(replace(long, resume='auto'), 1)
    assert train(1, train_arguments(replace(long, resume='auto')), stderr=tmp_path/'stderr') == [1]
    assert 'another process trains there' in (tmp_path/'stderr.0').read_text().splitlines()[-1]
    step = info_step(run.out)
    until(lambda: info_step(run.out) > step) # undisturbed

    os.kill(run.record['pid'], signal.SIGKILL)
    until(gone(run))
    assert run.status()['state'] == 'killed' and 'torchrun.log' in run.status()['message']
    load_weights(run.out/'last.safetensors')

# Deaths

def test_signals_that_are_repeated_end_a_run_with_a_checkpoint(long, tmp_path, monkeypatch):
    "Linux repeats the signal of a parent's death for each thread of the parent."
    patch_rank(monkeypatch, tmp_path, 0, 'if len(calls) > 2: time.sleep(2)') # so that all arrive before the checkpoint
    run = launch(long, 1)
    until(lambda: (info_step(run.out) or 0) >= 2)
    for _ in range(4):
        os.kill(run.record['pid'], signal.SIGTERM)
        time.sleep(.2)
    check_stopped(run)

def test_after_a_rank_crashed_and_then_one_was_killed_the_run_goes_on_by_hand(config, whole, train, tmp_path):
    "The crash of a rank is heard first. A launch over it is another run; what is left when it loses a rank is trained to the same bytes."
    with pytest.MonkeyPatch.context() as m:
        patch_rank(m, tmp_path, 1, "if optimizer.state_dict()['state'] == {}: {}['a bug of rank 1']")
        run = launch(config, 2)
        with pytest.raises(AmodalError, match="rank 1: KeyError: 'a bug of rank 1'"): run.wait()
    assert 'Traceback' in run.error() and 'optimizer_step' in run.error() and run.error().startswith('rank 1')
    assert run.status()['state'] == 'failed' and gone(run)() and steps_of(run.out) == []

    again = replace(config, resume='auto')
    with pytest.MonkeyPatch.context() as m:
        patch_rank(m, tmp_path, 1, 'if len(calls) == 5: os.kill(os.getpid(), signal.SIGKILL)')
        run = launch(again, 2)
        with pytest.raises(AmodalError) as error: run.wait()
    assert 'a bug' not in str(error.value) # which was the first run's
    assert gone(run)() and run.status()['state'] in ('failed', 'killed') and info_step(run.out) == 4
    kept = log_until(run.out, 4)
    assert train(2, train_arguments(again)) == [0, 0]
    assert_same(run.out, whole(2))
    assert log_until(run.out, 4) == kept # with its measured speeds: it did not begin anew

# Who can connect

def test_torchrun_starts_all_again_after_a_death_and_listens_on_loopback_alone(long, monkeypatch):
    """No step is missing after the restart. Before and after it, torchrun's store and the ranks' own sockets are on loopback, whatever the
    environment names for runs on several machines."""
    name, addresses = other_interface()
    for variable in 'GLOO_SOCKET_IFNAME', 'NCCL_SOCKET_IFNAME':
        if name: monkeypatch.setenv(variable, name)
        else: monkeypatch.delenv(variable, raising=False)
    run = launch(replace(long, workers=1), 2, max_restarts=1)
    until(trains(run))
    before = check_listeners(run, addresses)
    first, killed = rank(run, 0), rank(run, 1)
    os.kill(killed, signal.SIGKILL)
    until(lambda: len(run.ranks()) == 2 and rank(run, 0) != first and rank(run, 1) != killed)
    step = info_step(run.out)
    until(lambda: info_step(run.out) > step)
    after = check_listeners(run, addresses)
    assert {p for p, _, _ in before} & {p for p, _, _ in after} == {run.record['pid']} # of torchrun it is the same store, the ranks are others
    check_interrupt_while_waiting(run)
    assert steps_of(run.out) == list(range(1, info_step(run.out)+1)) # none is missing, none was made twice
    if not addresses: pytest.skip('no connection was tried: this machine has no address beyond loopback')

def check_listeners(run, addresses):
    "All sockets of a run are bound to loopback, and refuse connections through other addresses of this machine. What `listeners` gives."
    sockets = listeners(run)
    assert {run.record['pid'], rank(run, 0), rank(run, 1)} <= {p for p, _, _ in sockets} # the store and both ranks are among them
    assert [s for s in sockets if not is_loopback(s[1])] == []
    reached = [(a, port) for a in addresses for _, _, port in sockets if accepts(a, port)]
    assert reached == []
    assert accepts('127.0.0.1', next(port for p, _, port in sockets if p == run.record['pid'])) # the store does listen
    return sockets

def check_interrupt_while_waiting(run):
    "It stops the run, with a checkpoint, and arrives."
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt): run.wait()
    finally: signal.signal(signal.SIGINT, handler)
    status = run.status()
    assert status['state'] == 'stopped', (status, run.logs(), run.logs(0), run.logs(1))
    assert not status['alive'] and gone(run)()
    assert re.fullmatch(r'stopped at step \d+; --resume auto goes on from .*', status['message'])
    assert info_step(run.out) == status['step'] == steps_of(run.out)[-1]
    assert 'stopped at step' in run.logs(0) and run.error() == '' and run.stop() == status
    with pytest.raises(AmodalError, match='rank 7 has printed nothing'): run.logs(7)

def accepts(address, port):
    "Whether something accepts a connection."
    try: socket.create_connection((address, port), timeout=5).close()
    except OSError: return False
    return True

@pytest.mark.parametrize('option', [['--nnodes', '2'], ['--rdzv-endpoint', 'gpu1:29400']])
def test_torchrun_on_loopback_refuses_options_of_several_machines(option, forks):
    p = forks('from amodal_nb.training.loopback import main; main()', *option, '-m', 'amodal_nb.train', 'scenes', '--out', 'run')
    assert p.returncode == 1 and re.match('amodal_nb.training.loopback starts the ranks of one machine: ', p.stderr.splitlines()[-1]), p.stderr
    assert 'Traceback' not in p.stderr

# In each other's way

def test_a_port_that_is_taken_is_one_line(config):
    with socket.create_server(('127.0.0.1', 0)) as other:
        with pytest.raises(AmodalError, match='something else than torchrun listens there: choose another port'):
            launch(config, 1, nnodes=2, rdzv_endpoint=f'127.0.0.1:{other.getsockname()[1]}')
    assert not Path(config.out).exists()

def test_two_machines_make_of_shards_what_one_makes_of_folders(config, whole, tmp_path):
    "Agents of two ranks and of one, with a worker each, make through three epochs what three ranks without torchrun make."
    write_shards(find_scenes(config.data), tmp_path/'shards', per_shard=4)
    port = free_port()
    three = replace(config, data=str(tmp_path/'shards'), batch_size=1, steps=9, workers=1)
    agents = [launch(three, ranks, nnodes=2, rdzv_endpoint=f'127.0.0.1:{port}') for ranks in (2, 1)]
    for a in agents: assert a.wait()['state'] == 'finished'
    assert [r['rank'] for r in agents[0].ranks()] == list(range(3))
    assert steps_of(Path(config.out)) == list(range(1, 10))
    assert_same(Path(config.out), whole(3, steps=9))

def test_a_slurm_job_trains_to_its_end(config, unmeasured, tmp_path, monkeypatch):
    "The script as bash runs it, with a scheduler of one machine."
    for name, text in ('srun', '#!/bin/bash\nshift\nexec "$@"\n'), ('scontrol', '#!/bin/bash\necho 127.0.0.1\n'):
        (tmp_path/name).write_text(text)
        (tmp_path/name).chmod(0o755)
    port = free_port()
    script = write_slurm_script(replace(config, data=str(unmeasured)), tmp_path/'job.sbatch', 1, 1, port=port)
    env = os.environ | {'PATH': f"{tmp_path}:{os.environ['PATH']}", 'SLURM_JOB_ID': '17', 'SLURM_JOB_NODELIST': 'here'}
    p = subprocess.run(['bash', script], env=env, capture_output=True, text=True, timeout=240)
    assert p.returncode == 0 and steps_of(Path(config.out)) == list(range(1, 14)), p.stderr

def test_a_slurm_script_expands_no_word_of_the_user(config, tmp_path):
    "Every value arrives as it was given, and the job's name is one word."
    (tmp_path/'srun').write_text('#!/bin/bash\nshift\nprintf "%s\\0" "$@"\n')
    (tmp_path/'scontrol').write_text('#!/bin/bash\necho first\n')
    for name in 'srun', 'scontrol': (tmp_path/name).chmod(0o755)
    out = '$HOME/$(touch made)"; touch made\n#SBATCH --uid=0\ntouch made #'
    config = replace(config, data='$HOME/scenes', out=out, model_args='--rdzv-id')
    script = write_slurm_script(config, tmp_path/'job.sbatch', 1, 2)
    env = os.environ | {'PATH': f"{tmp_path}:{os.environ['PATH']}", 'SLURM_JOB_ID': '17', 'SLURM_JOB_NODELIST': 'here'}
    p = subprocess.run(['bash', script], env=env, cwd=tmp_path, capture_output=True, text=True)
    words = p.stdout.split('\0')[:-1]
    assert p.returncode == 0 and not (tmp_path/'made').exists(), p.stderr
    assert words[words.index('amodal_nb.train')+1:] == train_arguments(replace(config, resume='auto'))
    assert (words[words.index('--rdzv-endpoint')+1], words[words.index('--rdzv-id')+1]) == ('first:29400', '17')
    directives = [line for line in script.read_text().split('srun --kill')[0].splitlines() if line.startswith('#SBATCH')]
    assert len(directives) == 9 and re.fullmatch(r'#SBATCH --job-name=[\w.+-]+', directives[0])

def test_the_bar_prints_nothing_into_a_pipe(capsys, monkeypatch):
    states = iter([{'alive': True, 'state': 'training', 'step': 1}, {'alive': False, 'state': 'finished', 'step': 2}] * 2)
    run = SimpleNamespace(record={'steps': 2}, status=lambda: next(states))
    monkeypatch.setitem(sys.modules, 'ipykernel', None)
    Launch._show_progress(run)
    assert 'finished' in capsys.readouterr().out
    monkeypatch.delitem(sys.modules, 'ipykernel')
    Launch._show_progress(run)
    assert capsys.readouterr() == ('', '')
