"Fusing many scenes: killed, asked to stop, out of room or memory, damaged shards, servers that fail: what is done stays done, and the end is the same bytes."
import http.server, json, os, random, re, shutil, tarfile, threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
import numpy as np, psutil, pytest
from test_bad_input import good_scene, here, leftovers, refused
from amodal_nb.core import geometry
from amodal_nb.fusion import bulk, results
from amodal_nb.fusion.harmonise import Harmoniser
from amodal_nb.scenes.folders import find_scenes, write_scene
from amodal_nb.scenes.shards import read_shards, write_shards
from amodal_nb.synthesis.composer import Composer

N = 6 # scenes
OPTIONS = ['--model', 'vote', '--no-harmonise', '--uncovered', 'keep']

def listing(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(Path(folder).rglob('*')) if p.is_file()}
def report_of(out): return json.loads((out/'report.json').read_text())
def fuse_all(root, out, **options): return bulk.fuse_folder(root, out, 'vote', harmonise=False, uncovered='keep', **options)

@pytest.fixture(scope='module')
def many(tmp_path_factory):
    "Six small scenes as folders and as two shards, and what one quiet run makes of them: folders, and shards of four."
    top = tmp_path_factory.mktemp('bulk')
    for k in range(N): good_scene(top/'in'/f's{k}', 16 + 4*k)
    write_shards(find_scenes(top/'in'), top/'shards', 3)
    fuse_all(top/'in', top/'folders')
    fuse_all(top/'in', top/'packed', shards=4)
    return top

RUN = """
import json, os, pathlib, resource, signal, sys, time
from amodal_nb.app.cli import main
from amodal_nb.fusion import bulk, results
from amodal_nb.fusion.harmonise import Harmoniser
how, *args = sys.argv[1:]
if how.startswith('together '): how, bulk.scenes_at_once = how.removeprefix('together '), lambda *args: 4
PARENT, fuse_scene, write_fused = os.getpid(), bulk.fuse_scene, bulk.write_fused
def short_of_memory(scene, *args, **kwargs):
    "Scene s1 has too little memory the first time, s2 each time, and s3 kills its worker."
    if scene.id == 's3' and os.getpid() != PARENT: os.kill(os.getpid(), signal.SIGKILL)
    first = pathlib.Path(value, scene.id)
    if scene.id == 's2' or scene.id == 's1' and not first.exists(): first.touch(); raise MemoryError
    return fuse_scene(scene, *args, **kwargs)
def stopping_at_s1(fused, *args):
    if fused.id == 's1': os.kill(PARENT, signal.SIGTERM)
    return write_fused(fused, *args)
kind, _, value = how.partition(' ')
calls = []
def dying(real):
    def call(*args, **kwargs):
        calls.append(1)
        if len(calls) == int(value): os.kill(PARENT, signal.SIGKILL); time.sleep(60)
        return real(*args, **kwargs)
    return call
if kind == 'kill':
    for owner, name in (os, 'replace'), (os, 'write'), (os, 'fsync'), (pathlib.Path, 'unlink'), (pathlib.Path, 'mkdir'): setattr(owner, name, dying(getattr(owner, name)))
if kind == 'stop': bulk.write_fused = stopping_at_s1
if kind == 'short': bulk.fuse_scene = short_of_memory
if kind == 'full': resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), int(value)))
main(['fuse', *args])
"""

def fuse_process(forks, how, root, out, *options): return forks(RUN, how, root, '--out', out, *OPTIONS, *options)

@pytest.mark.parametrize('options, expected', [((), 'folders'), (('--workers', '2'), 'folders'), (('--workers', '1', '--shards', '4'), 'packed')])
def test_killed_anywhere_nothing_is_lost_and_the_end_is_the_same(many, tmp_path, forks, request, options, expected):
    """Killed before a random one of its file operations, in this process or in a worker: the report never speaks of results that are not there, what it says is done is not done again, and the last run ends in the bytes of a quiet one."""
    rng, kills = random.Random(len(options)), 0
    wanted = -(-request.config.getoption('--kills')//3)
    for round in range(10**6):
        out, done = tmp_path/str(round), set()
        while True:
            run = fuse_process(forks, f'kill {rng.randint(1, 60)}', many/'shards', out, *options)
            if (out/'report.json').exists() and expected == 'folders':
                now = set(report_of(out)['done'])
                assert done <= now
                done = now
                for name in done: assert all((out/name/file).read_bytes() == (many/'folders'/name/file).read_bytes() for file in os.listdir(many/'folders'/name)), name
            if run.returncode == 0: break
            assert run.returncode == -9, run.stderr
            kills += 1
        assert listing(out) == listing(many/expected) and not leftovers(out)
        shutil.rmtree(out)
        if kills >= wanted: break

ORPHAN = """
import os, pathlib, signal, sys, time
from amodal_nb.core import parallel
PARENT, die_with_parent = os.getpid(), parallel.die_with_parent
def die_late():
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    os.kill(PARENT, signal.SIGKILL)
    while os.getppid() == PARENT: time.sleep(.01)
    die_with_parent()
parallel.die_with_parent = die_late
list(parallel.TaskPool(lambda: print, 1).run([1]))
"""

def test_a_worker_whose_parent_ended_at_once_ends_too(tmp_path, forks):
    "The kernel tells nothing of a parent that was gone before; such a worker would hold the lock of its folder for ever."
    assert forks(ORPHAN, tmp_path/'pid').returncode == -9
    with suppress(psutil.NoSuchProcess): psutil.Process(int((tmp_path/'pid').read_text())).wait(20)

@pytest.mark.parametrize('workers', ['0', '1'])
def test_sigterm_leaves_a_report_and_no_temporary_files(many, tmp_path, forks, workers):
    run = fuse_process(forks, 'stop', many/'in', tmp_path/'out', '--workers', workers)
    assert run.returncode == 143 and 'scenes done; see' in run.stderr and not leftovers(tmp_path/'out')
    report = report_of(tmp_path/'out')
    assert len(report['done']) + len(report['not_done']) == N and report['not_done']
    assert {p.name for p in (tmp_path/'out').iterdir()} == {*report['done'], 'report.json'}
    again = fuse_process(forks, 'on', many/'in', tmp_path/'out', '--workers', workers)
    assert f"{len(report['not_done'])} fused, " in again.stdout and listing(tmp_path/'out') == listing(many/'folders')

def test_a_worker_out_of_memory_costs_the_scenes_that_fail_alone_as_well(many, tmp_path, forks):
    run = fuse_process(forks, f'short {tmp_path}', many/'in', tmp_path/'out', '--workers', '2')
    lines = sorted(run.stderr.splitlines())
    assert run.returncode == 1 and [str(many/'in'/s) in line for s, line in zip(('s2', 's3'), lines, strict=True)] == [True]*2
    assert 'MemoryError' in lines[0] and 'lost twice' in lines[1] and 'memory' in lines[1]
    report = report_of(tmp_path/'out')
    assert {f['id'] for f in report['failed']} == {'s2', 's3'} and report['done'] == ['s0', 's1', 's4', 's5']
    assert fuse_process(forks, 'on', many/'in', tmp_path/'out').returncode == 0 and listing(tmp_path/'out') == listing(many/'folders')

TOGETHER = ['--model', 'vote', '--uncovered', 'keep'] # harmonised, several scenes at a time

def test_of_scenes_that_are_fused_together_those_fail_that_fail_alone(many, tmp_path, forks):
    "Two lose the memory or the worker of their batch, which is fused scene by scene; the results are those of scenes alone."
    alone = forks(RUN, 'on', many/'in', '--out', tmp_path/'alone', *TOGETHER)
    run = forks(RUN, f'together short {tmp_path}', many/'in', '--out', tmp_path/'out', *TOGETHER, '--workers', '2')
    lines = sorted(run.stderr.splitlines())
    assert (alone.returncode, run.returncode) == (0, 1) and [str(many/'in'/s) in line for s, line in zip(('s2', 's3'), lines, strict=True)] == [True]*2
    assert 'MemoryError' in lines[0] and 'lost twice' in lines[1]
    report = report_of(tmp_path/'out')
    assert sorted(report['done']) == ['s0', 's1', 's4', 's5'] and {f['id'] for f in report['failed']} == {'s2', 's3'}
    assert forks(RUN, 'together on', many/'in', '--out', tmp_path/'out', *TOGETHER).returncode == 0
    assert listing(tmp_path/'out').keys() == listing(tmp_path/'alone').keys()

@pytest.mark.parametrize('workers', [0, 1])
def test_scenes_are_fused_together_as_alone(tmp_path, monkeypatch, workers):
    "By the operations that a GPU would run; a scene that cannot be read says so."
    def fused(out, **options): return bulk.fuse_folder(tmp_path/'in', tmp_path/out, 'order', report_line=lines.append, **options)
    lines = []
    composers = [Composer('cc0', seed=60 + k, size=size, n_objects=3, noise='noisy') for k, size in enumerate((64, 80))]
    for k in range(5): write_scene(replace(composers[k % 2][k], id=f's{k}'), tmp_path/'in')
    (tmp_path/'in'/'s1'/'s1_comp1.png').write_bytes(b'')
    fused('alone')
    monkeypatch.setattr(bulk, 'scenes_at_once', lambda *args: 3)
    monkeypatch.setattr(geometry, 'CPU_DEVICES', ())
    were_together, real = [], bulk.fuse_scene
    def fuse_scene(*args, prepared=None, **options):
        were_together.append(prepared is not None and prepared.prediction is not None)
        return real(*args, prepared=prepared, **options)
    monkeypatch.setattr(bulk, 'fuse_scene', fuse_scene)
    report = fused('out', workers=workers)
    assert were_together == ([] if workers else [True]*4)            # a worker is another process
    assert report['done'] == ['s0', 's2', 's3', 's4'] and len(lines) == 2 and lines[0] == lines[1].replace('/out/', '/alone/')
    for name in report['done']:
        ours, theirs = (json.loads((tmp_path/out/name/f'{name}_order.json').read_text()) for out in ('out', 'alone'))
        assert ours['order'] == theirs['order']
        ours, theirs = (np.load(tmp_path/out/name/f'{name}_weights.npz')['weights'] for out in ('out', 'alone'))
        assert np.abs(ours - theirs).max() < 1e-3
    records = report['scenes']
    assert fused('out', workers=workers)['scenes'] == records        # nothing is done again

def test_a_fault_that_no_scene_causes_is_named_and_costs_no_scene(many, tmp_path, monkeypatch, capfd):
    def failing(self, scenes, device):
        if len(scenes) > 1: raise TypeError('on two devices')
        return harmonise_alone(self, scenes, device)
    harmonise_alone = Harmoniser.apply_together
    monkeypatch.setattr(Harmoniser, 'apply_together', failing)
    monkeypatch.setattr(bulk, 'scenes_at_once', lambda *args: 4)
    status, lines = here(capfd, 'fuse', many/'in', '--out', tmp_path/'out', *TOGETHER)
    assert status == 0 and len(report_of(tmp_path/'out')['done']) == N
    assert [line for line in lines if 'on two devices' in line] == ['scenes are fused one by one, as a batch failed: TypeError: on two devices']

def test_batches_are_small_where_scenes_are_large(many, tmp_path, monkeypatch):
    "Six scenes of 16 to 36 px in tasks of four, no more at once than the largest has."
    sizes, together = [], bulk.prepare_scenes
    def prepare(scenes, *args):
        sizes.append(len(scenes))
        return together(scenes, *args)
    monkeypatch.setattr(bulk, 'scenes_at_once', lambda *args: 4)
    monkeypatch.setattr(bulk, 'PIXELS_AT_ONCE', 2*36**2)
    monkeypatch.setattr(bulk, 'prepare_scenes', prepare)
    assert len(bulk.fuse_folder(many/'in', tmp_path/'out', 'vote')['done']) == N and sizes == [3, 1, 1, 1]

def test_a_disk_without_room_for_a_shard_loses_no_scene(many, tmp_path, forks):
    run = fuse_process(forks, 'full 12000', many/'in', tmp_path/'out', '--workers', '2', '--shards', '4')
    (line,) = run.stderr.splitlines()
    assert run.returncode == 1 and '.tar' in line and 'File too large' in line
    again = fuse_process(forks, 'on', many/'in', tmp_path/'out', '--shards', '4')
    assert '0 fused, 6 done before' in again.stdout and listing(tmp_path/'out') == listing(many/'packed')

def test_weights_are_pictures_or_not_written(many, tmp_path, capfd):
    "Each choice is a setting: done and unchanged by itself, refused beside another; what needs weights says where they are to come from."
    out, fuse = tmp_path/'out', ('fuse', many/'in', '--out', tmp_path/'out', *OPTIONS, '--weights')
    def files(): return {p.name.partition('_')[2] for p in out.glob('s*/*')}
    assert here(capfd, *fuse, 'png')[0] == 0 and files() == {'fused.png', 'weights.png', 'order.json'}
    done = listing(out)
    bulk.fuse_folder(many/'in', out, 'vote', harmonise=False, uncovered='keep', weights='png', summary=lambda line: pytest.fail(line))
    assert listing(out) == done
    assert here(capfd, 'export', 'scenes', many/'in', '--out', tmp_path/'scenes', '--fused', out)[0] == 0
    status, lines = here(capfd, *fuse, 'none')
    assert status == 1 and '(weights png), not of these (weights none)' in lines[-1] and listing(out) == done
    assert here(capfd, *fuse, 'none', '--again')[0] == 0 and files() == {'fused.png', 'order.json'}
    edits = tmp_path/'edits.json'
    edits.write_text('{"version": 1, "edits": [{"op": "delete", "layer": 1}]}')
    for command in ('export', 'ora', many/'in'), ('edit', many/'in'/'s0', edits):
        status, lines = here(capfd, *command, '--out', tmp_path/command[0], '--fused', out)
        assert status == 1 and any(f"{out/'s0'}: its weights were not written: fuse it again with --weights npz" in line for line in lines)

def test_shards_hold_weights_as_pictures(many, tmp_path):
    for _ in range(2): fuse_all(many/'in', tmp_path/'out', shards=4, weights='png')
    with tarfile.open(tmp_path/'out'/'000000.tar') as tar:
        assert tar.getnames()[:3] == ['s0/s0_fused.png', 's0/s0_order.json', 's0/s0_weights.png']

# Shards

def test_a_shard_that_ends_early_is_named_and_the_other_scenes_are_done(many, tmp_path, capfd):
    shutil.copytree(many/'shards', tmp_path/'in')
    last = tmp_path/'in'/'000001.tar'
    start = read_shards([str(last)])[-1].start
    last.write_bytes(last.read_bytes()[:start + 700])
    status, lines = here(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', *OPTIONS)
    assert status == 1 and any('does not fit its tar' in line for line in lines) and any('cut short' in line and str(last) in line for line in lines)
    report = report_of(tmp_path/'out')
    assert report['done'] == ['s0', 's1', 's2', 's3'] and [f['id'] for f in report['failed']] == [str(last)]
    # nobody can know whether s4, just before the damage, is whole
    index = last.with_name('000001.tar.json') # which says the size of what is left, but speaks of the whole
    index.write_text(json.dumps(json.loads(index.read_text()) | {'bytes': last.stat().st_size}))
    assert here(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', *OPTIONS)[0] == 1
    assert report_of(tmp_path/'out')['done'] == report['done']

def test_an_index_of_another_order_costs_no_scene(many, tmp_path, capfd):
    shutil.copytree(many/'shards', tmp_path/'in')
    index = tmp_path/'in'/'000000.tar.json'
    content = json.loads(index.read_text())
    keys = [key for key, _, _ in content['scenes']]
    content['scenes'] = [[key, *place[1:]] for key, place in zip(keys[::-1], content['scenes'])]
    index.write_text(json.dumps(content))
    status, lines = here(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', *OPTIONS)
    assert status == 1 and all('is not where the index says' in line and str(index) in line for line in lines)
    assert report_of(tmp_path/'out')['done'] == ['s1', 's3', 's4', 's5'] and not (tmp_path/'out'/'s0').exists()

@pytest.fixture
def server(many):
    "An HTTP server of the shards that knows ranges; it fails for ranges that begin at one of `broken`."
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): pass
        def do_HEAD(self): self.answer(False)
        def do_GET(self): self.answer(True)
        def answer(self, has_body):
            path = many/'shards'/Path(self.path).name
            data = path.read_bytes()
            m = re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range', ''))
            first, last = (int(m[1]), int(m[2] or len(data)-1)) if m else (0, len(data)-1)
            if has_body and m and (self.server.broken == 'all' or (path.name, first) in self.server.broken): return self.send_error(503)
            self.send_response(206 if m else 200)
            part = data[first:last+1]
            for name, value in {'Content-Length': len(part), 'Accept-Ranges': 'bytes', 'Content-Range': f'bytes {first}-{first+len(part)-1}/{len(data)}'}.items():
                if m or name != 'Content-Range': self.send_header(name, str(value))
            self.end_headers()
            if has_body: self.wfile.write(part)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as s:
        s.broken = []
        threading.Thread(target=s.serve_forever, daemon=True).start()
        s.shards = f'http://127.0.0.1:{s.server_address[1]}/{{000000..000001}}.tar'
        yield s
        s.shutdown()

def test_a_url_that_fails_in_the_middle_costs_a_scene_until_the_next_run(many, server, tmp_path, capfd, monkeypatch):
    monkeypatch.setattr('amodal_nb.scenes.shards.time.sleep', lambda s: None)
    second = read_shards([str(many/'shards'/'000000.tar')])[1]
    server.broken = [('000000.tar', second.start)]
    status, (line,) = here(capfd, 'fuse', server.shards, '--out', tmp_path/'out', *OPTIONS)
    assert status == 1 and '503' in line and '000000.tar/s1' in line
    server.broken = []
    assert here(capfd, 'fuse', server.shards, '--out', tmp_path/'out', *OPTIONS, '--workers', 1) == (0, [])
    assert listing(tmp_path/'out') == listing(many/'folders')

@pytest.mark.parametrize('at_once', [1, 4])
def test_a_server_that_is_gone_ends_the_run(many, server, tmp_path, capfd, monkeypatch, at_once):
    monkeypatch.setattr(bulk, 'scenes_at_once', lambda *args: at_once)
    monkeypatch.setattr('amodal_nb.scenes.shards.time.sleep', lambda s: None)
    monkeypatch.setattr(bulk, 'MAX_UNREACHABLE', 2)
    monkeypatch.setattr(bulk, 'read_shards', lambda *args: (read_shards(*args), setattr(server, 'broken', 'all'))[0])
    status, lines = here(capfd, 'fuse', server.shards, '--out', tmp_path/'out', *OPTIONS)
    report = report_of(tmp_path/'out')
    assert status == 1 and len(lines) == 3 and len(report['failed']) == 2 and len(report['not_done']) == N-2

# Other runs

def test_another_model_or_another_run_is_refused(many, tmp_path, capfd, monkeypatch):
    shutil.copytree(many/'folders', tmp_path/'out')
    line = refused(capfd, 'fuse', many/'in', '--out', tmp_path/'out', '--model', 'area', '--no-harmonise', '--uncovered', 'keep')
    assert 'model vote' in line and 'model area' in line and '--again' in line
    assert 'shards 4' in refused(capfd, 'fuse', many/'in', '--out', tmp_path/'out', *OPTIONS, '--shards', 4)
    monkeypatch.setattr(results, 'LOCK_WAIT_S', 0)
    with results.lock_folder(tmp_path/'out'):
        assert 'another process fuses into it' in refused(capfd, 'fuse', many/'in', '--out', tmp_path/'out', *OPTIONS)
    assert listing(tmp_path/'out') == listing(many/'folders')

def test_jobs_of_an_array_share_nothing_and_do_all(many, tmp_path, capfd):
    for k in 0, 1: assert here(capfd, 'fuse', many/'shards', '--out', tmp_path/'out', *OPTIONS, '--shard-index', k, '--num-shards', 2) == (0, [])
    parts = [report_of(tmp_path/'out'/f'part-0000{k}-of-00002')['done'] for k in (0, 1)]
    assert parts == [['s0', 's1', 's2'], ['s3', 's4', 's5']]
