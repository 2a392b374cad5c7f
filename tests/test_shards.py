"Shards: the same training as on folders, resumed to the same bytes, and tars that want to do harm."
import io, json, os, random, re, shutil, signal, tarfile
import fsspec, pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import known_implementations
from amodal_nb.scenes.batches import SceneDataset, UnreachableError
from amodal_nb.core.errors import AmodalError, warn_once
from amodal_nb.scenes import shards as shards_module
from amodal_nb.scenes.folders import find_scenes, read_scene
from amodal_nb.scenes.shards import (find_data, index_path, read_index, read_shards, scan_shard, shard_scenes, write_shards)
from processes import arguments, assert_same, info_step, log_until
from test_bad_input import good_scene

KILLED = -signal.SIGKILL

@pytest.fixture(scope='module')
def both(data, tmp_path_factory):
    "Write the ten scenes as folders and, four a shard, as shards."
    d = tmp_path_factory.mktemp('shards')
    shutil.copytree(data, d/'scenes')
    write_shards(find_scenes(d/'scenes'), d/'shards', 4)
    return d

@pytest.fixture
def read_warnings(caplog):
    "Return a function that gives the warnings since its last call. Each is logged once in a process, so the record of logged lines is cleared."
    warn_once.cache_clear()
    def read():
        lines = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return '\n'.join(lines)
    return read

# Training

@pytest.mark.parametrize('ranks, workers, again', [(1, 0, 2), (1, 3, 0), (2, 1, 2), (2, 2, 0)])
def test_a_run_on_shards_killed_in_the_middle_of_an_epoch_ends_in_the_same_bytes_as_on_folders(both, tmp_path, train, whole, ranks, workers, again):
    "Resume with another number of workers than before."
    run, shards = tmp_path/'run', f'{both}/shards/{{000000..000002}}.tar'
    assert train(ranks, arguments(shards, run, batch_size=4//ranks, workers=workers), ('all', 'killed after a step', 8)) == [KILLED]*ranks
    assert info_step(run) == 6
    assert train(ranks, arguments(both/'shards', run, batch_size=4//ranks, workers=again, resume='auto')) == [0]*ranks
    assert_same(run, whole(ranks))

def test_a_run_on_shards_killed_anywhere_goes_on_to_the_same_bytes(both, tmp_path, train, whole):
    "Kill the run five times, at a beat of seed 3."
    rng = random.Random(3)
    for trial in range(5):
        run, beat = tmp_path/str(trial), rng.randrange(1, 50)
        assert train(1, arguments(both/'shards', run), (0, 'killed at a beat', beat)) == [KILLED]
        step = info_step(run)
        kept = log_until(run, step)
        assert train(1, arguments(both/'shards', run, resume='auto')) == [0]
        assert_same(run, whole(1))
        assert log_until(run, step) == kept  # with its measured speeds: it did not begin anew

def test_another_order_of_scenes_is_another_run(both, tmp_path, train, whole):
    "The comparison detects another order of scenes."
    write_shards(reversed(find_scenes(both/'scenes')), tmp_path/'shards', 4)
    assert train(1, arguments(tmp_path/'shards', tmp_path/'run')) == [0]
    with pytest.raises(AssertionError): assert_same(tmp_path/'run', whole(1))

def test_a_shard_that_is_gone_ends_the_run_with_one_line(both, tmp_path, train):
    "A missing shard is not treated as a bad scene, which the next one would replace; with a worker, too."
    shutil.copytree(both/'shards', tmp_path/'shards')
    scenes = find_data(tmp_path/'shards', 0)[0]
    os.remove(tmp_path/'shards'/'000001.tar')
    with pytest.raises(UnreachableError, match='000001.tar: cannot be read .*No such file'): SceneDataset(scenes, on_bad='next')[5]
    assert SceneDataset(scenes, on_bad='next')[3]['id'] == '0003'
    assert train(1, arguments(f'{tmp_path}/shards/{{000000..000002}}.tar', tmp_path/'run'), stderr=tmp_path/'stderr') == [1]
    assert re.fullmatch(r'\S+000001\.tar: cannot be read .*', (tmp_path/'stderr.0').read_text().splitlines()[-1])

def test_a_bad_scene_in_a_shard_is_left_out_as_one_in_a_folder_is(both, tmp_path, read_warnings):
    shutil.copytree(both/'scenes', tmp_path/'scenes')
    (tmp_path/'scenes'/'0004'/'0004_mask.png').write_bytes(b'no picture')
    shards = write_shards(find_scenes(tmp_path/'scenes'), tmp_path/'shards', 4)
    items = [SceneDataset(s, on_bad='next')[4]['id'] for s in (find_scenes(tmp_path/'scenes'), read_shards(shards))]
    assert items == ['0005', '0005']
    folder, shard = (line.partition('0004_mask.png: ') for line in read_warnings().splitlines())
    assert folder[2] == shard[2] and shard[0].endswith('000001.tar/0004/')

# Writing

def test_killed_while_writing_leaves_no_set_that_looks_whole(both, forks, tmp_path):
    code = '''
import os, signal, sys; from amodal_nb.scenes.folders import find_scenes; from amodal_nb.scenes.shards import write_shards
def folders():
    for k, p in enumerate(find_scenes(sys.argv[1])):
        if k == 6: os.kill(os.getpid(), signal.SIGKILL)
        yield p
write_shards(folders(), sys.argv[2], 4)'''
    assert forks(code, both/'scenes', tmp_path/'out').returncode == KILLED
    assert not (tmp_path/'out').exists()
    assert len(write_shards(find_scenes(both/'scenes'), tmp_path/'out', 4)) == 3

def test_shards_keep_names_of_any_length_and_letters(both, tmp_path):
    names = ['with space', 'größe 東京', 'é'*110, 'a.b.c', '_comp1.png', 'new\nline', os.fsdecode(b'latin-1 \xe9')]
    for name in names:
        shutil.copytree(both/'scenes'/'0000', tmp_path/'scenes'/name)
        for p in (tmp_path/'scenes'/name).iterdir(): p.rename(p.with_name(p.name.replace('0000', name, 1)))
    shards = write_shards([tmp_path/'scenes'/n for n in names], tmp_path/'shards')
    scenes = read_index(str(shards[0]))
    assert [s.name for s in scenes] == names and scenes == scan_shard(str(shards[0]))[0]
    first = read_scene(both/'scenes'/'0000')
    for s in scenes: assert read_scene(s).completions.equal(first.completions) and read_scene(s).id == s.name

def test_scenes_writes_the_same_as_folders_and_as_shards(forks, tmp_path):
    def scenes(out, *more): return forks('import sys; from amodal_nb.app.cli import main; main(sys.argv[1:])', 'scenes', tmp_path/out, '--n', '5', '--size', '32', *more)
    assert scenes('folders').returncode == 0 and scenes('shards', '--shards', '2').returncode == 0
    assert sorted(p.name for p in (tmp_path/'shards').iterdir()) == [f'00000{k}.tar{e}' for k in range(3) for e in ('', '.json')]
    assert sorted(p.name for p in tmp_path.iterdir()) == ['folders', 'shards']
    for s, p in zip(find_data(tmp_path/'shards', 0)[0], find_scenes(tmp_path/'folders'), strict=True):
        assert read_scene(s).completions.equal(read_scene(p).completions)
    again = scenes('shards', '--shards', '2')
    assert again.returncode == 1 and len(again.stderr.splitlines()) == 1 and 'there already' in again.stderr

# Tars that others wrote

def files(scene, name):
    "Return a dict name/name_mask.png … -> bytes."
    return {f'{name}/{p.name.replace(scene.name, name, 1)}': p.read_bytes() for p in sorted(scene.iterdir())}

def tar_of(path, entries, format=tarfile.PAX_FORMAT):
    "Write a tar of (name, bytes), or (name, attributes of another member)."
    with tarfile.open(path, 'w', format=format) as tar:
        for name, content in entries:
            m, plain = tarfile.TarInfo(name), isinstance(content, bytes)
            if plain: m.size = len(content)
            for k, v in ({} if plain else content).items(): setattr(m, k, v)
            tar.addfile(m, io.BytesIO(content) if plain else None)
    return path

LINK = dict(type=tarfile.SYMTYPE, linkname='/etc/passwd')

def evil(scene, name):
    "Return the members between two good scenes, and the message about them."
    b = files(scene, 'b')
    mask = b['b/b_mask.png']
    return {
        'symlink': ([*b.items(), ('b/b_comp9.png', LINK)], "b_comp9.png' is a link"),
        'hard link': ([*b.items(), ('b/b_comp9.png', dict(type=tarfile.LNKTYPE, linkname='a/a_mask.png'))], 'is a link'),
        'device': ([*b.items(), ('b/b_comp9.png', dict(type=tarfile.CHRTYPE, devmajor=1, devminor=5))], 'is a device'),
        'fifo': ([*b.items(), ('b/b_comp9.png', dict(type=tarfile.FIFOTYPE))], 'is a device'),
        'up': ([('../../b/b_mask.png', mask)], 'leads out of the shard'),
        'absolute': ([('/b/b_mask.png', mask)], 'leads out of the shard'),
        'twice': ([*b.items(), ('a/a_mask.png', mask)], 'a scene of that name before'),
        'one file twice': ([*b.items(), *b.items()], 'is there twice'),
        'no mask': ([i for i in b.items() if 'mask' not in i[0]], 'b_mask.png: missing'),
        'no picture': ((b | {'b/b_background.png': b'none'}).items(), 'not a PNG'),
    }[name]

@pytest.mark.parametrize('indexed', [False, True])
@pytest.mark.parametrize('name', ['symlink', 'hard link', 'device', 'fifo', 'up', 'absolute', 'twice', 'one file twice', 'no mask', 'no picture'])
def test_evil_members_cost_one_scene_and_one_line(both, tmp_path, read_warnings, name, indexed):
    scene = both/'scenes'/'0000'
    entries, line = evil(scene, name)
    shard = str(tar_of(tmp_path/'evil.tar', [*files(scene, 'a').items(), *entries, *files(scene, 'c').items()]))
    if indexed: # by somebody who vouches for everything
        ranges = {}
        with tarfile.open(shard) as tar:
            for m, after in zip(tar.getmembers(), [*(m.offset for m in tar.getmembers()[1:]), tar.offset]):
                ranges.setdefault(m.name.split('/')[-2], [m.offset, 0])[1] = after
        index = [[k, start, end-start] for k, (start, end) in ranges.items()]
        (tmp_path/'evil.tar.json').write_text(json.dumps({'version': 1, 'bytes': os.path.getsize(shard), 'scenes': index}))
    good, errors = [], []
    for s in shard_scenes(shard):
        try: good.append(read_scene(s).id)
        except AmodalError as e: errors.append(str(e))
    lines = [l for l in read_warnings().splitlines() if 'has no index' not in l] + errors
    if name == 'twice': # looked through, the second `a` is left out; by an index that takes both for one stretch, `b` is found in it
        assert good == (['b', 'c'] if indexed else ['a', 'b', 'c'])
        line = 'is not where the index says' if indexed else line
    else: assert good == ['a', 'c']
    assert len(lines) == 1 and line in lines[0], lines

def header(size, name=b'b/b_mask.png', kind=b'0', base256=False):
    "Build a tar header with any size."
    m = tarfile.TarInfo(name.decode())
    m.type = kind
    buf = bytearray(m.tobuf(tarfile.GNU_FORMAT))
    buf[124:136] = (b'\x80' if size >= 0 else b'\xff') + (size % 2**88).to_bytes(11, 'big') if base256 else b'%011o\0' % size
    buf[148:156] = b'        '
    buf[148:156] = b'%06o\0 ' % sum(buf)
    return bytes(buf)

DAMAGE = {'noise': os.urandom(1024), 'a giant file': header(2**60, base256=True), 'below 0': header(-1024, base256=True), 'a giant long name': header(2**32, kind=b'L'),
          'a giant pax header': header(2**32, kind=b'x'), 'pax headers without end': header(0, kind=b'x')*3000, 'a sparse file': header(512, kind=b'S'),
          'a pax size below 0': b''.join((header(18, kind=b'x'), b'18 size=-99999999\n'.ljust(512, b'\0'), header(512)))}

@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_costs_what_follows_and_one_line(both, tmp_path, read_warnings, damage):
    scene = both/'scenes'/'0000'
    good = tar_of(tmp_path/'good.tar', [*files(scene, 'a').items(), *files(scene, 'b').items()])
    with tarfile.open(good) as tar: end = tar.getmembers()[-1].offset_data + -(-tar.getmembers()[-1].size//512)*512
    rest = tar_of(tmp_path/'rest.tar', files(scene, 'c').items()).read_bytes()
    (tmp_path/'bad.tar').write_bytes(good.read_bytes()[:end] + DAMAGE[damage] + (bytes(512) if damage == 'a sparse file' else b'') + rest)
    scenes = shard_scenes(str(tmp_path/'bad.tar'))
    lines = [l for l in read_warnings().splitlines() if 'has no index' not in l]
    assert len(lines) == 1 and (re.search('what follows: .*bad.tar: damaged or cut short behind byte', lines[0]) or 'no plain file' in lines[0]), lines
    assert read_scene(scenes[0]).id == 'a'

@pytest.mark.parametrize('change', ['size', 'version', 'outside', 'negative', 'text', 'twice', 'no list', 'deep', 'empty', 'no JSON', 'giant'])
def test_an_index_that_does_not_fit_is_named_and_not_used(both, tmp_path, read_warnings, change):
    shutil.copytree(both/'shards', tmp_path/'shards')
    shard = str(tmp_path/'shards'/'000000.tar')
    index = json.loads(open(index_path(shard)).read())
    text = None
    if change == 'size': index['bytes'] += 512
    if change == 'version': index['version'] = 2
    if change == 'outside': index['scenes'][0][2] = 10**12
    if change == 'negative': index['scenes'][0][1] = -512
    if change == 'text': index['scenes'][0][1] = '0'
    if change == 'twice': index['scenes'][1] = index['scenes'][0]
    if change == 'no list': index['scenes'] = 7
    if change == 'giant': index['scenes'][0][1] = 10**400
    if change == 'deep': text = '['*100_000
    if change == 'empty': text = ''
    if change == 'no JSON': text = '{"version": 1'
    with open(index_path(shard), 'w') as f: f.write(json.dumps(index) if text is None else text)
    scenes = shard_scenes(shard)
    assert [s.name for s in scenes] == ['0000', '0001', '0002', '0003']
    assert read_warnings().splitlines() == [f'{index_path(shard)}: does not fit its tar: looking through that']
    for s in scenes: read_scene(s)

def test_a_shard_that_was_cut_short_after_it_was_indexed_gives_its_whole_scenes(both, tmp_path, read_warnings):
    shutil.copytree(both/'shards', tmp_path/'shards')
    scenes = read_index(str(tmp_path/'shards'/'000000.tar'))
    with open(tmp_path/'shards'/'000000.tar', 'r+b') as f: f.truncate(scenes[3].start + 700)
    assert shard_scenes(scenes[0].shard) == scenes[:2]  # the third may have had more files
    assert 'does not fit its tar' in read_warnings()
    with pytest.raises(AmodalError, match='cut short'): read_scene(scenes[3])  # by those who had read the index before

def test_memory_does_not_grow_with_the_shard(both, tmp_path, forks):
    "A tar of 3 GB (a hole in its middle): looked through, and a scene of it read, in 100 MB more than before."
    scene = both/'scenes'/'0000'
    big = tarfile.TarInfo('x/notes.bin')
    big.size = 3*2**30
    with open(tmp_path/'big.tar', 'wb') as f:
        first = tar_of(tmp_path/'a.tar', files(scene, 'a').items(), tarfile.GNU_FORMAT).read_bytes().rstrip(b'\0')
        f.write(first + bytes(-len(first) % 512) + big.tobuf(tarfile.GNU_FORMAT))
        f.seek(big.size, 1)
        f.write(tar_of(tmp_path/'b.tar', files(scene, 'b').items(), tarfile.GNU_FORMAT).read_bytes())
    code = '''
import resource, sys; from amodal_nb.scenes.folders import read_scene; from amodal_nb.scenes.shards import shard_scenes, write_index
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_index(sys.argv[1])
assert [read_scene(s).id for s in shard_scenes(sys.argv[1])] == ['a', 'b']
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000'''
    done = forks(code, tmp_path/'big.tar')
    assert done.returncode == 0, done.stderr
    os.remove(tmp_path/'big.tar')

@pytest.mark.parametrize('address, line', [('pipe:touch harm #.tar', 'shell command'), ('x://nowhere/{0..1}.tar', 'cannot be read'), ('{0..3.tar', 'unbalanced'), ('none/{0..1}.tar', 'cannot be read'), ('http://127.0.0.1:1/0.tar', 'cannot be read'),
                                           ('lacking://container/*.tar', 'install what is lacking')])
def test_addresses_that_lead_nowhere_are_one_line(tmp_path, monkeypatch, address, line):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(known_implementations, 'lacking', {'class': 'no_such_package.FileSystem', 'err': 'install what is lacking'})
    with pytest.raises(AmodalError, match=line) as e: find_data(address)
    assert len(str(e.value).splitlines()) == 1 and not list(tmp_path.iterdir())

def test_a_file_system_whose_cat_file_takes_a_version_first(both, tmp_path):
    "As s3fs has it."
    class Versioned(MemoryFileSystem):
        protocol, store, pseudo_dirs = 'versioned', {}, ['']
        @classmethod
        def _strip_protocol(cls, path): return super()._strip_protocol(path.replace('versioned://', 'memory://'))
        def cat_file(self, path, version_id=None, start=None, end=None):
            assert version_id is None
            return super().cat_file(path, start=start, end=end)
    fsspec.register_implementation('versioned', Versioned, clobber=True)
    shard = write_shards(find_scenes(both/'scenes'), tmp_path/'shards')[0]
    for path in shard, shard.with_name(f'{shard.name}.json'): Versioned().pipe_file(f'/{path.name}', path.read_bytes())
    for packed, folder in zip(read_shards([f'versioned://{shard.name}']), find_scenes(both/'scenes'), strict=True):
        assert read_scene(packed).completions.equal(read_scene(folder).completions)

def test_shards_below_train_and_val_are_two_sets(tmp_path):
    for part, name in ('train', 'a'), ('val', 'b'): write_shards([good_scene(tmp_path/'in'/name, 16).folder], tmp_path/'shards'/part)
    assert [[s.name for s in part] for part in find_data(tmp_path/'shards')] == [['a'], ['b']]

def test_a_shard_that_stops_being_readable_is_no_shorter_shard(both, monkeypatch):
    "A disk or a server that fails between two scenes: those before are not taken for all."
    extents = shards_module._scene_extents
    def failing(*args):
        yield next(extents(*args))
        raise OSError(5, 'Input/output error')
    monkeypatch.setattr(shards_module, '_scene_extents', failing)
    with pytest.raises(UnreachableError, match='cannot be read .Input/output error'): scan_shard(str(both/'shards'/'000000.tar'))
