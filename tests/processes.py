"Processes that train: forked from one that has torch already, so that many can be started, killed and compared."
import json, os, subprocess, sys
from amodal_nb.train import read_checkpoint

TINY = 'd_model=16,nhead=2,dim_feedforward=32,num_encoder_layers=1,num_decoder_layers=1,dropout=.2'
ENV = {'GLOO_SOCKET_IFNAME': 'lo', 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}  # the loopback interface only

def arguments(data, out, steps=13, eval_every=2, **options):
    "Three steps an epoch of ten scenes, shuffled, dropout on; L1 only."
    options = dict(model_args=TINY, batch_size=4, log_every=1, lpips_weight=0, val=0, val_scenes=2, warmup=2, workers=0) | options
    return [str(data), '--out', str(out), '--steps', str(steps), '--eval-every', str(eval_every),
            *(str(o) for k, v in options.items() for o in (f'--{k.replace("_", "-")}', v))]

def log_of(run): return [json.loads(o) for o in (run/'log.jsonl').read_text().splitlines()]
def steps_of(run): return [o['step'] for o in log_of(run) if 'loss' in o]
def losses_of(run): return [{k: v for k, v in o.items() if k != 'scenes_per_second'} for o in log_of(run)]
def info_step(run): return read_checkpoint(run/'last.safetensors')[1]['step'] if (run/'last.safetensors').exists() else None

def assert_same(run, other):
    "Bit for bit: weights, optimizer, random numbers, what is said about them, and the log."
    for name in 'last', 'best':
        (a, about_a), (b, about_b) = (read_checkpoint(r/f'{name}.safetensors', '') for r in (run, other))
        assert a.keys() == b.keys() and [k for k in a if not a[k].equal(b[k])] == []
        for k in 'step', 'best', 'model', 'args', 'world_size': assert about_a[k] == about_b[k]
    assert losses_of(run) == losses_of(other)

SERVER = """
import json, os, resource, signal, socket, sys, time
from pathlib import Path
import torch, torch.utils.tensorboard, torchmetrics.functional.image, torchvision.utils  # slow imports, once for all children
import amodal_nb.processes as p, amodal_nb.train as t
from amodal_nb.cli import main

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
def hangs(real, *args, **kwargs): time.sleep(1000)
def silent(real, *args, **kwargs): os.kill(os.getpid(), signal.SIGSTOP)
def bug(real, *args, **kwargs): raise KeyError('a bug of this rank')
def full(real, path, data):
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(data)//2, resource.RLIM_INFINITY))  # as a disk that has no more room than that
    try: return real(path, data)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

t.open = open
EVENTS = {'killed after a step': (t, 'optimizer_step', after), 'killed in a checkpoint': (Path, 'write_bytes', part(.5)),
          'killed before a checkpoint has its name': (Path, 'write_bytes', part(1)), 'killed in a line of the log': (t, 'open', half_a_line),
          'killed at a beat': (p.Watch, 'beat', instead), 'asked at a beat': (p.Watch, 'beat', asked), 'asked in an evaluation': (t, 'read_scene', asked),
          'hangs at a beat': (p.Watch, 'beat', hangs), 'silent at a beat': (p.Watch, 'beat', silent), 'bug at a beat': (p.Watch, 'beat', bug),
          'disk full': (Path, 'write_bytes', full)}

def in_float64():
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double

def child(rank, ranks, port, args, events, double, stderr):
    if stderr: os.dup2(os.open(f'{stderr}.{rank}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)
    if ranks > 1: os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    for who, event, when in events:
        owner, name, then = EVENTS[event]
        if who in (rank, 'all'): at_call(owner, name, when, then)
    if double: in_float64()
    main(['train', *args])
    sys.exit()

for order in sys.stdin:
    order = json.loads(order)
    if order is None: break  # told to end: a forked worker of the tests may hold this pipe open
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    pids = []
    for rank in range(order['ranks']):
        pid = os.fork()
        if not pid: child(rank, port=port, **order)
        pids.append(pid)
    left, codes = set(pids), {}
    while left:
        pid, status = os.waitpid(-1, os.WUNTRACED)
        if os.WIFSTOPPED(status): continue
        codes[pid] = os.waitstatus_to_exitcode(status)
        left.discard(pid)
        stuck = {pids[r] for r, event, _ in order['events'] if event in ('hangs at a beat', 'silent at a beat')}
        if left and left <= stuck: os.kill(*left, signal.SIGKILL)  # what torchrun does with a rank that does not leave
    print(json.dumps([codes[p] for p in pids]), flush=True)
"""

class Trainers:
    "A process from which training processes are forked. A context manager."
    def __enter__(self):
        self.server = subprocess.Popen([sys.executable, '-c', SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | ENV)
        return self
    def __exit__(self, *error):
        print('null', file=self.server.stdin, flush=True)
        self.server.stdin.close()
        self.server.wait()
    def __call__(self, ranks, args, *events, double=False, stderr=None):
        "Train; events are (rank or 'all', event, at its how manieth call). The exit status of each rank."
        order = dict(ranks=ranks, args=args, events=events, double=double, stderr=stderr and str(stderr))
        print(json.dumps(order), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())
