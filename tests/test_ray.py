"Fusing many scenes on a local Ray of two workers: the bytes of `--workers`, also when one is killed in the middle. One Ray for all tests, which are skipped without it."
import importlib.util, os, signal
from contextlib import contextmanager, ExitStack
from functools import partial
from pathlib import Path
from unittest.mock import patch
import psutil, pytest
from test_bad_input import good_scene, here
from test_bulk import fuse_all, listing, OPTIONS
from amodal_nb.core import ray_pool
from amodal_nb.core.errors import ConfigError, MemoryShortage
from amodal_nb.fusion import bulk

N = 8 # scenes
needs_ray = pytest.mark.skipif(importlib.util.find_spec('ray') is None, reason='Ray is not installed')

@pytest.fixture(scope='module')
def many(tmp_path_factory):
    "Eight small scenes, the sixth damaged, and what one worker makes of them."
    top = tmp_path_factory.mktemp('ray')
    for k in range(N): good_scene(top/'in'/f's{k}', 16 + 4*k)
    (top/'in'/'s5'/'s5_comp1.png').write_bytes(b'')
    fuse_all(top/'in', top/'out', workers=1, report_line=lambda line: None)
    return top

@pytest.fixture(scope='module')
def gpu_pools():
    "A Ray of two workers, to which two GPUs are declared. It has a second try: on a busy machine a Ray ends if a process of its own takes more than 15 s to start."
    with patch('torch.cuda.device_count', lambda: 2), ExitStack() as stack:
        try: started = stack.enter_context(ray_pool.ray_pools(2))
        except ConfigError: started = stack.enter_context(ray_pool.ray_pools(2))
        yield started

@pytest.fixture
def pools(gpu_pools): return partial(gpu_pools, gpus=0)

def processes(name=''):
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE and name in p.name()]

@needs_ray
def test_a_worker_that_is_killed_in_the_middle_changes_no_byte(many, pools, tmp_path, capfd, monkeypatch):
    killed, take = [], bulk.FuseRun.take
    def kill_one(run, *outcome):
        if not killed:
            killed.extend(processes('ray::RayActor')[:1])
            killed[0].kill()
        return take(run, *outcome)
    @contextmanager
    def shared(*args): yield pools
    monkeypatch.setattr(bulk.FuseRun, 'take', kill_one)
    monkeypatch.setattr(ray_pool, 'ray_pools', shared)
    status, lines = here(capfd, 'fuse', many/'in', '--out', tmp_path/'out', *OPTIONS, '--engine', 'ray')
    assert killed and status == 1 and sum('s5' in line for line in lines) == 1
    assert processes('ray::RayActor') == []
    assert listing(tmp_path/'out') == listing(many/'out') # report.json too: seven done, s5 failed

@needs_ray
def test_a_task_that_kills_its_worker_twice_is_named_and_a_short_one_is_repeated_alone(pools, tmp_path):
    def prepare():
        def do(k):
            with (tmp_path/f'{k}').open('a') as f: f.write('.')
            if k == 1: os.kill(os.getpid(), signal.SIGKILL)
            if k == 2 and (tmp_path/'2').stat().st_size == 1: raise MemoryShortage('2', 'too little memory beside the others')
            return k
        return do
    pool = pools(prepare)
    outcomes = {o.task: o for o in pool.run(range(5))}
    assert [k for k in outcomes if outcomes[k].error] == [1] and 'lost twice' in str(outcomes[1].error)
    assert [outcomes[k].value for k in (0, 2, 3, 4)] == [0, 2, 3, 4]
    assert [(tmp_path/f'{k}').stat().st_size for k in range(5)] == [1, 2, 2, 1, 1] and pool.peak_bytes > 0

@needs_ray
def test_a_worker_has_a_gpu_of_its_own_where_there_are_some(gpu_pools):
    def prepare(): return lambda task: os.environ['CUDA_VISIBLE_DEVICES']
    pool = gpu_pools(prepare)
    assert (pool.workers, pool.gpus, pool.has_gpu) == (2, 1, True)
    assert {o.value for o in pool.run(range(8))} == {'0', '1'}

@needs_ray
def test_ray_listens_on_loopback_only(pools):
    sockets = [c for p in [psutil.Process(), *processes()] for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert sockets and {c.laddr.ip.removeprefix('::ffff:') for c in sockets} == {'127.0.0.1'} # gRPC maps it into IPv6

@needs_ray
def test_ray_starts_only_what_one_machine_needs(pools):
    lines = [' '.join(p.cmdline()) for p in processes()]
    assert any('raylet' in line for line in lines)
    for script in 'monitor.py', 'log_monitor.py', 'dashboard.py': assert not any(f'/{script}' in line for line in lines)

@needs_ray
def test_a_ray_that_listens_elsewhere_is_refused(monkeypatch):
    for name in 'init', 'shutdown': monkeypatch.setattr(f'ray.{name}', lambda *args, **options: None)
    monkeypatch.setattr('ray.util.get_node_ip_address', lambda: '192.0.2.1')
    with pytest.raises(ConfigError, match='listens on 192.0.2.1, beyond this machine'):
        with ray_pool.ray_pools(1): pass

@needs_ray
@pytest.mark.parametrize('patience, lives, started', [(60, True, True), (0, True, False), (60, False, False)])
def test_a_ray_that_starts_slowly_is_waited_for_and_one_that_does_not_start_is_one_line(patience, lives, started, monkeypatch):
    from ray._private import ray_constants, services
    replies = iter([RuntimeError, RuntimeError, {'alive': True}])
    def get_node(*args):
        if (reply := next(replies)) is RuntimeError: raise RuntimeError('no such node yet')
        return reply
    def init(*args, **options):
        try: assert services.get_node('address', 'id') == {'alive': True} and not ray_constants.ENABLE_RAY_CLUSTER
        except RuntimeError: raise Exception('The current node timed out during startup.') from None
    may_cluster = ray_constants.ENABLE_RAY_CLUSTER
    monkeypatch.setattr(services, 'get_node', get_node)
    monkeypatch.setattr(ray_pool, 'START_S', patience)
    monkeypatch.setattr(ray_pool, '_has_raylet', lambda: lives)
    monkeypatch.setattr('ray.init', init)
    monkeypatch.setattr('ray.shutdown', lambda: None)
    monkeypatch.setattr('ray.util.get_node_ip_address', lambda: ray_pool.LOOPBACK)
    monkeypatch.setattr('ray.cluster_resources', lambda: {'CPU': 1})
    if started:
        with ray_pool.ray_pools(1): pass
    else:
        with pytest.raises(ConfigError, match=r'engine ray: cannot be started \(The current node timed out during startup.\): end other programs'):
            with ray_pool.ray_pools(1): pass
    assert services.get_node is get_node and ray_constants.ENABLE_RAY_CLUSTER == may_cluster

def test_without_ray_one_line_says_what_to_install(many, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    for options, part in {('--engine', 'ray'): "pip install 'amodal_nb[ray]'", ('--engine', 'spark'): 'spark', ('--address', 'auto'): 'add --engine ray'}.items():
        status, lines = here(capfd, 'fuse', many/'in', '--out', tmp_path/'out', *OPTIONS, *options)
        assert status == 1 and len(lines) == 1 and part in lines[0]
    assert not Path(tmp_path, 'out').exists()
