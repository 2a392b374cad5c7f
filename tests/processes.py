"Processes forked from one that has torch already: notebooks, and training that is started, killed and compared, many times."
import json, os, subprocess, sys, tempfile, socket
from types import SimpleNamespace
from amodal_nb.models.checkpoint import read_checkpoint

def free_port():
    "A port of 127.0.0.1 that nobody listens on now."
    with socket.create_server(('127.0.0.1', 0)) as s: return s.getsockname()[1]

TINY = 'd_model=16,nhead=2,dim_feedforward=32,num_encoder_layers=1,num_decoder_layers=1,dropout=.2'
ENV = {'GLOO_SOCKET_IFNAME': 'lo', 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}  # the loopback interface only

def arguments(data, out, steps=13, eval_every=2, **options):
    "Three steps an epoch of ten scenes, shuffled, dropout on; L1 only."
    options = dict(model='reference', model_args=TINY, batch_size=4, log_every=1, lpips_weight=0, val=0, val_scenes=2, warmup=2, workers=0) | options
    return [str(data), '--out', str(out), '--steps', str(steps), '--eval-every', str(eval_every),
            *(str(o) for k, v in options.items() for o in (f'--{k.replace("_", "-")}', v))]

def several(data, out, ranks, **options):
    "`arguments` of one of that many ranks, for four scenes a step in all where that works."
    return arguments(data, out, **(dict(batch_size=max(1, 4//ranks)) | options))

def log_of(run): return [json.loads(o) for o in (run/'log.jsonl').read_text().splitlines()]
def steps_of(run): return [o['step'] for o in log_of(run) if 'loss' in o]
def log_until(run, step): return [o for o in log_of(run) if o['step'] <= step] if step else []
def losses_of(run): return [{k: v for k, v in o.items() if k != 'scenes_per_second'} for o in log_of(run)]
def info_step(run): return read_checkpoint(run/'last.safetensors')[1]['step'] if (run/'last.safetensors').exists() else None

def assert_same(run, other):
    "Compare weights, optimizer, random numbers, their descriptions and the log, bit for bit."
    for name in 'last', 'best':
        (a, about_a), (b, about_b) = (read_checkpoint(r/f'{name}.safetensors', '') for r in (run, other))
        assert a.keys() == b.keys() and [k for k in a if not a[k].equal(b[k])] == []
        for k in 'step', 'best', 'model', 'args', 'world_size': assert about_a[k] == about_b[k]
    assert losses_of(run) == losses_of(other)

SERVER = """
import atexit, gc, json, os, signal, sys, threading
gc.disable()  # it would look through all modules again and again
import matplotlib.pyplot, nbdev.test, torch, torch.utils.tensorboard, torchmetrics.functional.image, torchvision  # slow imports, once for all children
import tqdm.auto
from PIL import Image
from pydantic import BaseModel, TypeAdapter  # typer's, when it reads the first command line
import amodal_nb.app.cli, amodal_nb.fusion.predict, amodal_nb.training.loop
Image.init()  # the readers of all formats

def wait_for(pids, stuck):
    "Return exit statuses. Once only those in `stuck` are left, they are killed, as torchrun does with a rank that does not leave."
    left, codes = set(pids), {}
    while left:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status): continue
        codes[pid] = os.waitstatus_to_exitcode(status)
        left.discard(pid)
        if left and left <= {pids[k] for k in stuck}:
            for p in left: os.kill(p, signal.SIGKILL)
    return [codes[p] for p in pids]

def serve():
    "Fork the processes of each job; return its process in a child, None in the end."
    for line in sys.stdin:
        job = json.loads(line)
        if job is None: return None  # the end: a forked worker of the tests may hold this pipe open
        pids = []
        for process in job['processes']:
            pid = os.fork()
            if not pid: return process
            pids.append(pid)
        print(json.dumps(wait_for(pids, job['stuck'])), flush=True)

def end_as(run):
    "Call it and end as Python does, but leave the freeing of all modules to the system: it takes a second or two, as every page is copied first."
    status = 0
    try: run()
    except SystemExit as e:
        status = 0 if e.code is None else e.code if isinstance(e.code, int) else 1
        if isinstance(e.code, str): print(e.code, file=sys.stderr)
    except Exception:
        status = 1
        sys.excepthook(*sys.exc_info())
    threading._shutdown() # waits for threads
    atexit._run_exitfuncs()
    for stream in sys.stdout, sys.stderr: stream.flush()
    os._exit(status & 255)

gc.freeze() # children do not look through what is shared with them, which would copy it
gc.enable()
if process := serve():
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in (1, 'stdout'), (2, 'stderr'):
        if process[name]: os.dup2(os.open(process[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        elif number == 1: os.dup2(2, 1)  # the pipe is the server's
    os.environ.update(process['env'])
    os.chdir(process['cwd'])
    sys.argv[1:] = process['args']
    end_as(lambda: exec(compile(process['code'], '<string>', 'exec'), {'__name__': '__main__'}))
"""

class Forks:
    """Processes like those of `python -c CODE ARGS`, but forked from one that has imported torch, nbdev, our modules and others that take seconds, and has used
    none of them: changes that a child makes to them stay in the child. A context manager."""
    def __enter__(self):
        self.server = subprocess.Popen([sys.executable, '-c', SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self
    def __exit__(self, *error):
        print('null', file=self.server.stdin, flush=True)
        self.server.stdin.close()
        self.server.wait()
    def all(self, processes, stuck=()):
        "Run processes at once, each a dict of code, args, env, cwd and paths for stdout and stderr; those whose numbers are in `stuck` end when the others have. Return exit statuses."
        processes = [dict(args=[], env={}, cwd=os.getcwd(), stdout=None, stderr=None) | p for p in processes]
        print(json.dumps(dict(processes=processes, stuck=list(stuck))), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())
    def __call__(self, code, *args, cwd=None, **env):
        "Run one and wait for it; return returncode, stdout and stderr, as `subprocess.run` does."
        with tempfile.TemporaryDirectory() as d:
            out, err = (os.path.join(d, name) for name in ('out', 'err'))
            status, = self.all([dict(code=code, args=[str(a) for a in args], env=env, cwd=str(cwd or os.getcwd()), stdout=out, stderr=err)])
            stdout, stderr = (open(p, encoding='utf-8', errors='surrogateescape').read() for p in (out, err))
        return SimpleNamespace(returncode=status, stdout=stdout, stderr=stderr)

TRAIN = """
import json, os, resource, signal, sys, time
from pathlib import Path
import torch
import amodal_nb.training.distributed as p, amodal_nb.training.loop as t
from amodal_nb.app.cli import main

def die(): os.kill(os.getpid(), signal.SIGKILL)

def at_call(owner, name, when, then):
    "Let the `when`-th call of owner.<name> be `then` of the real one and its arguments."
    real, calls = getattr(owner, name), []
    def f(*args, **kwargs):
        calls.append(1)
        return real(*args, **kwargs) if len(calls) != when else then(real, *args, **kwargs)
    setattr(owner, name, f)

def after(real, *args, **kwargs): real(*args, **kwargs); die()
def instead(real, *args, **kwargs): die()
def part(share):
    def write(real, path, data): real(path, data[:int(share*len(data))]); die()
    return write
def half_a_line(real, path, mode):
    f = real(path, mode)
    f.write('{"step": ')
    f.flush()
    die()
def asked(real, *args, **kwargs): os.kill(os.getpid(), signal.SIGTERM); return real(*args, **kwargs)
def interrupted(real, *args, **kwargs): os.kill(os.getpid(), signal.SIGINT); return real(*args, **kwargs)
def hangs(real, *args, **kwargs): time.sleep(1000)
def silent(real, *args, **kwargs): os.kill(os.getpid(), signal.SIGSTOP)
def bug(real, *args, **kwargs): raise KeyError('a bug of this rank')
def full(real, path, data):
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data)//2, resource.RLIM_INFINITY))  # as a disk that has no more room than that
    try: return real(path, data)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

signal.signal(signal.SIGINT, signal.default_int_handler) # a job in the background of a script has it ignored, and passes that on
t.open = open
EVENTS = {'killed after a step': (t, 'optimizer_step', after), 'killed in a checkpoint': (Path, 'write_bytes', part(.5)),
          'killed before a checkpoint has its name': (Path, 'write_bytes', part(1)), 'killed in a line of the log': (t, 'open', half_a_line),
          'killed at a beat': (p.Watchdog, 'beat', instead), 'asked at a beat': (p.Watchdog, 'beat', asked), 'interrupted in a step': (t, 'optimizer_step', interrupted), 'asked in an evaluation': (t, 'read_scene', asked),
          'hangs at a beat': (p.Watchdog, 'beat', hangs), 'silent at a beat': (p.Watchdog, 'beat', silent), 'bug at a beat': (p.Watchdog, 'beat', bug),
          'disk full': (Path, 'write_bytes', full)}

def in_float64():
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double

events, double, *args = sys.argv[1:]
for event, when in json.loads(events):
    owner, name, then = EVENTS[event]
    at_call(owner, name, when, then)
if double == 'double': in_float64()
main(['train', *args])
"""

class Trainers:
    "Training processes of a `Forks`."
    def __init__(self, forks): self.forks = forks
    def __call__(self, ranks, args, *events, double=False, stderr=None):
        "Train; events are (rank or 'all', event, number of the call). Return the exit status of each rank."
        processes, stuck = [], [r for r, event, _ in events if event in ('hangs at a beat', 'silent at a beat')]
        many = dict(WORLD_SIZE=str(ranks), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port())) if ranks > 1 else {}
        for rank in range(ranks):
            mine = [(event, when) for who, event, when in events if who in (rank, 'all')]
            env = ENV | many | (dict(RANK=str(rank), LOCAL_RANK=str(rank)) if many else {})
            processes.append(dict(code=TRAIN, args=[json.dumps(mine), 'double' if double else '', *args], env=env, stderr=stderr and f'{stderr}.{rank}'))
        return self.forks.all(processes, stuck)
