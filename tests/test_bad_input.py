"Bad input: each bad scene is named in one line with its reason, every other scene is done, and nothing half-made is left."
import ctypes, json, math, os, pickle, struct, subprocess, sys, zlib
from pathlib import Path
from tempfile import TemporaryFile
from types import SimpleNamespace
import numpy as np, pytest, torch
from PIL import Image
from safetensors.torch import save_file
from amodal_nb.fusion import folder as folder_module, memory, predict
from amodal_nb.app.cli import main
from amodal_nb.core.errors import AmodalError
from amodal_nb.scenes.folders import read_scene
from amodal_nb.models import checkpoint as checkpoints
from amodal_nb.models.checkpoint import build_model, save_checkpoint

SIDE = 24  # px

# Files

def noise(*shape, seed=0, high=256): return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint8)

def disc(cx, side=SIDE):
    y, x = np.mgrid[:side, :side]
    return ((x-cx*side)**2 + (y-side/2)**2 < (side/3.2)**2).astype(np.uint8)

def save(path, array, mode=None, format='PNG'):
    im = Image.fromarray(array)
    (im.convert(mode) if mode else im).save(path, format=format)

def png(path, width, height, depth, colour_type, rows, *chunks):
    "A PNG from its parts, for what PIL does not write. `rows` are zlib-compressed; `chunks` are (name, data) before them."
    parts = [(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour_type, 0, 0, 0)), *chunks, (b'IDAT', rows), (b'IEND', b'')]
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(struct.pack('>I', len(d)) + n + d + struct.pack('>I', zlib.crc32(n+d)) for n, d in parts))

def zeros(n):
    "`n` zero bytes, compressed."
    c = zlib.compressobj(9)
    return b''.join(c.compress(bytes(min(2**20, n-i))) for i in range(0, n, 2**20)) + c.flush()

class Parts:
    "The files of one scene: `s('mask.png')` is a path."
    def __init__(self, folder): self.folder = Path(folder)
    def __call__(self, part): return self.folder/f'{self.folder.name}_{part}'

def good_scene(folder, side=SIDE, image=True, partial=True, background=True, pairs=True):
    "Two discs that overlap, on noise; the mask hides part of the overlap."
    s, back = Parts(folder), noise(side, side, 3)
    s.folder.mkdir(parents=True)
    left, right = disc(.38, side)[..., None], disc(.62, side)[..., None]
    comps = [noise(side, side, 3, seed=1)//2 + 100, noise(side, side, 3, seed=2)//2 + 60]
    truth = np.where(left, comps[0], np.where(right, comps[1], back))
    mask = (disc(.5, side)*(np.mgrid[:side, :side][0] < side/2)*255).astype(np.uint8)
    save(s('mask.png'), mask)
    for k, (c, a) in enumerate(zip(comps, (left, right)), 1): save(s(f'comp{k}.png'), np.dstack([c, a*255]))
    if image: save(s('image.png'), truth)
    if partial: save(s('partial.png'), truth*(mask == 0)[..., None])
    if background: save(s('background.png'), back)
    if pairs: s('scene.json').write_text('{"version": 1, "pairs": [{"front": 1, "back": 2}]}')
    return s

# What must work

def rgb_on_black(s): save(s('comp1.png'), noise(SIDE, SIDE, 3)*disc(.4)[..., None])
def rgb_black(s): save(s('comp1.png'), np.zeros((SIDE, SIDE, 3), np.uint8))
def rgb_everywhere(s): save(s('comp1.png'), noise(SIDE, SIDE, 3) | 64)
def rgb_at_night(s): rgb_on_black(s); save(s('partial.png'), np.zeros((SIDE, SIDE, 3), np.uint8))
def jpeg_inside(s): save(s('image.png'), noise(SIDE, SIDE, 3), format='JPEG')
def blank_completion(s): save(s('comp2.png'), np.zeros((SIDE, SIDE, 4), np.uint8))
def interlocked(s): s('scene.json').write_text('{"version": 1, "pairs": [{"front": 1, "back": 2}, {"front": 2, "back": 1}]}')
def more_files(s): s('notes.txt').write_text('mine'); s('comp1_alpha.txt').touch()

GOOD = { # name -> (what good_scene is given, what is changed)
    'plain': ({}, None), 'with  two spaces': ({}, None), 'größe 東京 🙂': ({}, None), "quote' [x]* $HOME": ({}, None), '-n': ({}, None),
    'new\nline': ({}, None), 'é'*118: ({}, None), '_comp1.png': ({}, None),
    **({os.fsdecode(b'latin-1 \xe9'): ({}, None)} if sys.platform == 'linux' else {}),  # elsewhere file names are UTF-8
    'only the image': (dict(partial=False), None), 'only the partial': (dict(image=False), None), 'least': (dict(partial=False, background=False, pairs=False), None),
    'rgb on black': ({}, rgb_on_black), 'rgb black': ({}, rgb_black), 'rgb everywhere': ({}, rgb_everywhere), 'rgb at night': ({}, rgb_at_night),
    'jpeg data': (dict(partial=False), jpeg_inside), 'blank completion': ({}, blank_completion),
    'interlocked': ({}, interlocked), 'more files': ({}, more_files),
    **{f'{k} mask': ({}, lambda s, a=a, how=how: save(s('mask.png'), a, **how)) for k, a, how in [
        ('grey', disc(.5)*128, {}), ('0 and 1', disc(.5), {}), ('rgb', disc(.5)*255, dict(mode='RGB')), ('1 bit', disc(.5)*255, dict(mode='1')),
        ('palette', disc(.5)*255, dict(mode='P'))]},
    'palette partial': ({}, lambda s: save(s('partial.png'), noise(SIDE, SIDE, 3), mode='P')),
    'palette completion': ({}, lambda s: save(s('comp1.png'), noise(SIDE, SIDE, 3), mode='P')),
    'grey alpha completion': ({}, lambda s: save(s('comp2.png'), noise(SIDE, SIDE), mode='LA')),
}

SUSPICIOUS = { # name of a good scene -> what the one line about it must say
    'rgb everywhere': 'comp1 covers nearly all', 'palette completion': 'comp1 covers nearly all', 'grey alpha completion': 'comp2 covers nearly all',
    'rgb black': 'comp1 covers nothing', 'blank completion': 'comp2 covers nothing'}

# What must be refused

def remove(*parts):
    def damage(s):
        for p in parts: s(p).unlink()
    return damage
def rename(old, new): return lambda s: s(old).rename(s(new))
def empty(part): return lambda s: s(part).write_bytes(b'')
def text(part, value='hello'): return lambda s: s(part).write_text(value)
def half(part): return lambda s: s(part).write_bytes(s(part).read_bytes()[:s(part).stat().st_size//2])
def header_only(part): return lambda s: s(part).write_bytes(s(part).read_bytes()[:40])
def flipped(part):
    def damage(s):
        data = bytearray(s(part).read_bytes())
        data[len(data)//2] ^= 255
        s(part).write_bytes(data)
    return damage
def picture(part, array, **how): return lambda s: save(s(part), array, **how)
def sized(part, *shape): return picture(part, noise(*shape))
def scene_json(value): return text('scene.json', value if isinstance(value, str) else json.dumps(value))
def pairs(*pairs): return scene_json({'version': 1, 'pairs': [{'front': f, 'back': b} for f, b in pairs]})

def real_bomb(s): png(s('partial.png'), 12000, 12000, 8, 2, zeros(12000*(1+12000*3)))  # 0.4 MB that decode to 0.4 GB
def claimed_bomb(s): png(s('comp2.png'), 2**31-1, 2**31-1, 8, 6, zeros(1000))
def a_little_too_large(s): png(s('mask.png'), 8193, 8192, 8, 0, zeros(1000))
def text_bomb(s): png(s('mask.png'), SIDE, SIDE, 8, 0, zeros(SIDE*(1+SIDE)), (b'zTXt', b'Comment\0\0' + zeros(2**27)))
def a_folder(part):
    def damage(s): s(part).unlink(missing_ok=True); s(part).mkdir()
    return damage
def a_pipe(part):
    def damage(s): s(part).unlink(); os.mkfifo(s(part))
    return damage
def link(part, to):
    def damage(s): s(part).unlink(); s(part).symlink_to(to or s(part))
    return damage

DEEP = noise(SIDE, SIDE).astype(np.uint16)*257

BAD = { # name -> (damage, what the line must say)
    'no mask': (remove('mask.png'), '_mask.png', 'missing'),
    'no picture': (remove('partial.png', 'image.png'), '_partial.png', 'missing'),
    'no completions': (remove('comp1.png', 'comp2.png'), '_comp1.png', 'missing'),
    'only json': (remove('mask.png', 'partial.png', 'image.png', 'background.png', 'comp1.png', 'comp2.png'), '_comp1.png', 'missing'),
    'gap that pairs name': (rename('comp2.png', 'comp3.png'), '_scene.json', 'pairs', 'missing'),
    'gap of a million': (rename('comp2.png', 'comp999999.png'), '999999 completions', 'leave out completions'),
    'from 0': (rename('comp2.png', 'comp0.png'), '_comp0.png', 'comp1.png'),
    'leading zero': (rename('comp2.png', 'comp02.png'), '_comp02.png'),
    'wrong suffix': (rename('comp2.png', 'comp2.JPG'), '_comp2.JPG'),
    **{f'empty {p}': (empty(f'{p}.png'), f'_{p}.png', 'empty (0 bytes)') for p in ('mask', 'partial', 'image', 'comp2', 'background')},
    **{f'half {p}': (half(f'{p}.png'), f'_{p}.png', 'damaged') for p in ('mask', 'partial', 'comp1', 'background')},
    'header only': (header_only('comp1.png'), '_comp1.png', 'damaged'),
    'flipped byte': (flipped('partial.png'), '_partial.png', 'damaged'),
    'half jpeg': (lambda s: (remove('partial.png')(s), picture('image.png', noise(SIDE, SIDE, 3), format='JPEG')(s), half('image.png')(s)), '_image.png', 'damaged'),
    **{f'text {p}': (text(f'{p}.png'), f'_{p}.png', 'not a PNG') for p in ('mask', 'partial', 'comp2', 'background')},
    'gif': (picture('comp1.png', noise(SIDE, SIDE), format='GIF'), '_comp1.png', 'is a GIF, which is not read'),
    'small mask': (picture('mask.png', disc(.5, 8)*255), '.png', '8x8', f'{SIDE}x{SIDE}'),
    'small image': (sized('image.png', SIDE-1, SIDE, 3), '_image.png', f'{SIDE}x{SIDE-1}', f'{SIDE}x{SIDE}'),
    'small partial': (sized('partial.png', SIDE-1, SIDE, 3), '_partial.png', f'{SIDE}x{SIDE-1}', f'{SIDE}x{SIDE}'),
    'wide completion': (sized('comp2.png', SIDE, 2*SIDE, 4), '_comp2.png', f'{2*SIDE}x{SIDE}'),
    'tiny background': (sized('background.png', 1, 1, 3), '_background.png', '1x1'),
    'black mask': (picture('mask.png', disc(.5)*0), '_mask.png', 'all black'),
    'many values': (picture('mask.png', disc(.5)*128 + disc(.3)), '_mask.png', 'has 4 values (0, 1, 128, 129)'),
    '16 bit mask': (picture('mask.png', DEEP), '_mask.png', 'values'),
    '16 bit partial': (picture('partial.png', DEEP), '_partial.png', 'mode is L'),
    'cmyk image': (lambda s: (remove('partial.png')(s), picture('image.png', noise(SIDE, SIDE, 3), mode='CMYK', format='JPEG')(s)), '_image.png', 'mode is CMYK'),
    'grey partial': (picture('partial.png', noise(SIDE, SIDE)), '_partial.png', 'mode is L'),
    'grey completion': (picture('comp2.png', noise(SIDE, SIDE)), '_comp2.png', 'mode is L'),
    'rgba partial': (sized('partial.png', SIDE, SIDE, 4), '_partial.png', 'transparent in places'),
    'real bomb': (real_bomb, '_partial.png', '12000x12000', 'more pixels than the limit'),
    'claimed bomb': (claimed_bomb, '_comp2.png', 'more pixels than the limit'),
    'a little too large': (a_little_too_large, '_mask.png', '8193x8192', 'more pixels than the limit'),
    'text bomb': (text_bomb, '_mask.png', 'damaged'),
    'not json': (scene_json('{"version": 1, "pairs": ['), '_scene.json', 'not JSON'),
    'empty json': (scene_json(''), '_scene.json', 'not JSON'),
    'binary json': (lambda s: s('scene.json').write_bytes(b'\xff\xfe\x00'), '_scene.json', 'not JSON'),
    'nested json': (scene_json('['*100_000), '_scene.json', 'not JSON'),
    'nested version': (scene_json('{"version": ' + '['*900 + ']'*900 + ', "pairs": []}'), '_scene.json'),
    'long version': (scene_json({'version': 'v'*10_000, 'pairs': []}), '_scene.json', 'version'),
    'version 2': (scene_json({'version': 2, 'pairs': []}), '_scene.json', 'version 2'),
    'no version': (scene_json({'pairs': []}), '_scene.json', 'form'),
    'list json': (scene_json([1]), '_scene.json', 'form'),
    'strings for pairs': (scene_json({'version': 1, 'pairs': ['12']}), '_scene.json', 'form'),
    'pair 0': (pairs((0, 1)), '_scene.json', '(0, 1)', '1 to 2'),
    'pair 3': (pairs((1, 2), (3, 1)), '_scene.json', '(3, 1)', '1 to 2'),
    'pair with itself': (pairs((2, 2)), '_scene.json', '(2, 2)'),
    'pair of words': (pairs((1, 'x\n'*1000)), '_scene.json', '1 to 2'),
    'pair of halves': (pairs((1, 1.5)), '_scene.json', '1.5'),
    'folder for mask': (a_folder('mask.png'), '_mask.png', 'is a folder'),
    'folder for json': (a_folder('scene.json'), '_scene.json', 'neither a file'),
    'pipe for partial': (a_pipe('partial.png'), '_partial.png', 'neither a file'),
    'pipe for json': (a_pipe('scene.json'), '_scene.json', 'neither a file'),
    'dead link': (link('background.png', 'nowhere.png'), '_background.png', 'neither a file'),
    'looping link': (link('partial.png', None), '_partial.png', 'neither a file'),
    'looping json': (link('scene.json', None), '_scene.json', 'neither a file'),
    'bad größe 東京': (empty('comp1.png'), '_comp1.png', 'empty'),
    'bad new\nline': (empty('comp1.png'), '_comp1.png', 'empty'),
    'unreadable mask': (lambda s: s('mask.png').chmod(0), '_mask.png', 'ermission'),
    'unreadable folder': (lambda s: s.folder.chmod(0), 'ermission'),
}

# Running

def without_root_powers():
    "In a child before exec: root without the right to read and write everything (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH)."
    for capability in 1, 2: LIBC.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == 'linux' else None
DROP = without_root_powers if LIBC and os.geteuid() == 0 else None

def permissions_count(folder):
    "Whether a child of ours is stopped by permissions."
    if not (folder/'closed').exists(): (folder/'closed').touch(mode=0)
    return subprocess.run(['cat', folder/'closed'], preexec_fn=DROP, capture_output=True).returncode != 0

def start(*args):
    "The command in a process of its own; (status, stdout, lines of stderr, peak memory in bytes)."
    env = os.environ | {'PYTHONDONTWRITEBYTECODE': '1', 'NO_COLOR': '1'}
    with TemporaryFile('w+', errors='surrogateescape') as out, TemporaryFile('w+', errors='surrogateescape') as err:
        p = subprocess.Popen([sys.executable, '-m', 'amodal_nb.app.cli', *map(str, args)], stdin=subprocess.DEVNULL, stdout=out, stderr=err, preexec_fn=DROP, env=env)
        _, status, used = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        for f in out, err: f.seek(0)
        return p.returncode, out.read(), err.read().splitlines(), used.ru_maxrss*1024

def here(capfd, *args):
    "The command in this process, which has torch already; (status, lines of stderr). An exception that escapes is a traceback."
    try: main([*map(str, args)]); status = 0
    except SystemExit as e: status = e.code
    return status, capfd.readouterr().err.splitlines()

def refused(capfd, *args):
    "The one line."
    status, lines = here(capfd, *args)
    assert status and len(lines) == 1 and 'Traceback' not in lines[0], (status, lines)
    return lines[0]

def leftovers(folder): return [p for p in Path(folder).rglob('*') if p.name.endswith('.tmp')]

# One folder with everything

@pytest.fixture(scope='module')
def run(tmp_path_factory):
    "`amodal fuse`, once, over all of it."
    top = tmp_path_factory.mktemp('bad input')
    root, out = top/'the scenes', top/'the results'
    good = {name: good_scene(root/name, **how) for name, (how, _) in GOOD.items()}
    for name, (_, change) in GOOD.items():
        if change: change(good[name])
    bad = {name for name in BAD if 'unreadable' not in name or permissions_count(top)}
    for name in sorted(bad): BAD[name][0](good_scene(root/name))
    for split in 'train', 'val': good_scene(root/split/'twice')
    (root/'around').symlink_to(root)               # every scene again, and again
    (root/'loop').symlink_to(root/'loop')
    (root/'not a scene').mkdir()
    (root/'not a scene'/'README.txt').write_text('mine')
    (root/'file.txt').touch()
    before = {p: p.lstat().st_mtime_ns for p in root.rglob('*')}
    status, stdout, lines, peak = start('fuse', root, '--out', out)
    warnings, lines = ([o for o in lines if (str(root) in o) == is_error] for is_error in (False, True))
    after = {p: p.lstat().st_mtime_ns for p in root.rglob('*')}
    report = json.loads((out/'report.json').read_text(encoding='utf-8'))
    yield SimpleNamespace(root=root, out=out, status=status, stdout=stdout, lines=lines, warnings=warnings, peak=peak, good=good, bad=bad, report=report, untouched=before == after)
    if (root/'unreadable folder').exists(): (root/'unreadable folder').chmod(0o700)  # so that it can be removed

def test_fuse_counts_bad_scenes_and_exits_with_1(run):
    assert run.status == 1
    assert not any('Traceback' in o for o in run.lines)
    assert len(run.lines) == len(run.bad) + 1, run.lines  # one each, and one for the second `twice`
    assert sorted(run.report['done']) == sorted([*run.good, 'twice'])
    assert sorted(o['id'] for o in run.report['failed']) == sorted([*run.bad, 'twice'])
    assert f"{len(run.report['done'])} fused, {len(run.report['failed'])} failed" in run.stdout

def test_fuse_warns_of_suspicious_scenes_and_of_no_other(run):
    assert sorted(o.partition(':')[0] for o in run.warnings) == sorted(SUSPICIOUS)
    for name, word in SUSPICIOUS.items(): assert any(o.startswith(f'{name}: ') and word in o for o in run.warnings), name

def names(line, folder): return any(' '.join(f'{folder}{end}'.splitlines()) in line for end in '/:')

@pytest.mark.parametrize('name', BAD)
def test_fuse_names_a_bad_scene_with_its_reason(run, name):
    if name not in run.bad: pytest.skip('this user can read everything')
    (line,) = [o for o in run.lines if names(o, run.root/name)]
    for word in BAD[name][1:]: assert word in line
    assert len(line) < 600
    (entry,) = [o for o in run.report['failed'] if o['id'] == name]
    assert entry['reason'] in line
    assert not (run.out/name).exists()

def read_picture(path): return np.asarray(Image.open(path))

@pytest.mark.parametrize('name', [*GOOD, 'twice'])
def test_fuse_does_every_good_scene(run, name):
    s, o = run.good.get(name) or Parts(run.root/'train'/'twice'), Parts(run.out/name)
    assert {p.name for p in o.folder.iterdir()} == {o(k).name for k in ('fused.png', 'weights.npz', 'order.json')}
    fused, mask = Image.open(o('fused.png')), np.asarray(Image.open(s('mask.png')).convert('L'))
    assert (fused.format, fused.mode, fused.size) == ('PNG', 'RGB', mask.shape[::-1])
    partial = np.asarray(Image.open(s('partial.png' if s('partial.png').exists() else 'image.png')).convert('RGB'))
    assert (np.asarray(fused)[mask == 0] == partial[mask == 0]).all()
    weights = np.load(o('weights.npz'), allow_pickle=False)
    slots = ['comp1', 'comp2'] + ['background']*s('background.png').exists()
    assert set(weights.files) == {'weights', 'slots'} and weights['slots'].tolist() == slots
    assert weights['weights'].dtype == np.float16 and weights['weights'].shape == (len(slots), *mask.shape)
    assert np.isfinite(weights['weights']).all() and weights['weights'].min() >= 0 and weights['weights'].max() <= 1
    order = json.loads(o('order.json').read_text(encoding='utf-8'))
    assert set(order) - {'uncovered_fill'} == {'order', 'pairs', 'uncovered_fraction', 'harmonise'} and 0 <= order['uncovered_fraction'] <= 1
    for p in order['pairs']:
        assert set(p) == {'a', 'b', 'p_a_front', 'overlap_px', 'why'} and p['why'] in ('evidence', 'inferred', 'prior', None)
        assert p['a'] in (1, 2) and p['b'] in (1, 2) and 0 <= p['p_a_front'] <= 1 and p['overlap_px'] > 0

def test_fuse_refuses_the_second_scene_of_a_name(run):
    (line,) = [o for o in run.lines if str(run.root/'val'/'twice') in o]
    assert 'same name' in line and str(run.root/'train'/'twice') in line

def test_fuse_writes_nothing_else(run):
    assert not leftovers(run.out) and not leftovers(run.root) and run.untouched
    assert {p.name for p in run.out.iterdir()} == {*run.good, 'twice', 'report.json'}

def test_fuse_does_not_decode_bombs(run):
    assert run.peak < 1.2e9, f'{run.peak/1e9:.2f} GB; the largest bomb is 2.7 GB as float'

def test_eval_names_the_same_bad_scenes_as_fuse(run, capfd, tmp_path):
    readable = {n for n in run.bad if 'unreadable' not in n}
    status, lines = here(capfd, 'eval', run.root, '--no-lpips', '--json', tmp_path/'table.json')
    results = json.loads((tmp_path/'table.json').read_text(encoding='utf-8'))
    assert status == 1
    for name in readable: assert sum(names(o, run.root/name) for o in lines) == 1, name
    assert any('only the partial' in o and 'image' in o for o in lines)
    assert results['results']['oracle']['scenes'] >= len(run.good) - 1
    assert len(results['failed']) >= len(readable) + 1

# The output folder

@pytest.fixture
def three(tmp_path):
    "Two small scenes and a large one between them, whose result takes about 50 kB."
    for name, side in ('a', 16), ('b', 128), ('c', 16): good_scene(tmp_path/'in'/name, side)
    return tmp_path/'in'

def check_b_failed(status, lines, out, why):
    "One line, which names the file and why; the others are done, and of `b` nothing is left."
    assert status == 1 and len(lines) == 1 and why in lines[0] and str(out/'b') in lines[0], lines
    report = json.loads((out/'report.json').read_text())
    assert report['done'] == ['a', 'c'] and [o['id'] for o in report['failed']] == ['b']
    for name in 'ac': assert len(list((out/name).iterdir())) == 3
    assert not leftovers(out) and not (out/'b').is_dir()

def test_fuse_leaves_nothing_of_a_write_that_fails_half_way(three, tmp_path, forks):
    limited = 'import resource, sys; from amodal_nb.app.cli import main; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); main(sys.argv[1:])'
    done = forks(limited, 'fuse', three, '--out', tmp_path/'out')
    check_b_failed(done.returncode, done.stderr.splitlines(), tmp_path/'out', 'cannot be written (File too large)')

@pytest.fixture
def small_disk(tmp_path):
    "A folder that holds 64 kB."
    if not DROP: pytest.skip('only root can mount a file system')
    disk = tmp_path/'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', disk], capture_output=True).returncode: pytest.skip('mounting is not permitted here')
    yield disk
    subprocess.run(['umount', disk], check=True)

def test_fuse_on_a_full_disk_names_what_it_could_not_write(three, small_disk, capfd):
    status, lines = here(capfd, 'fuse', three, '--out', small_disk/'out')
    check_b_failed(status, lines, small_disk/'out', 'cannot be written (No space left')

def test_scenes_on_a_full_disk_is_one_line(small_disk, capfd):
    assert 'No space left' in refused(capfd, 'scenes', small_disk/'out', '--n', 5, '--size', 64)
    assert not leftovers(small_disk)

def test_share_on_a_full_disk_is_one_line(small_disk, tmp_path, capfd):
    checkpoint(INFO)(tmp_path/'unet.safetensors') # 498 kB
    line = refused(capfd, 'share', tmp_path/'unet.safetensors', '--out', small_disk/'out')
    assert f'{small_disk}/out: cannot be written' in line and 'No space left' in line and list((small_disk/'out').iterdir()) == []

SIGNALLED = """
import pathlib, signal, sys
import amodal_nb.fusion.predict as predict, amodal_nb.training.loop as loop
from amodal_nb.app.cli import main
def stop(*args, **kwargs): signal.raise_signal(signal.SIGTERM)
pathlib.Path.write_text = predict.load_predictor = loop.training_data = stop
main(sys.argv[1:])
"""

@pytest.mark.parametrize('command', ['train', 'share', 'eval'])
def test_sigterm_is_one_line_and_leaves_nothing_half_written(three, tmp_path, forks, command):
    "Before training has begun, between two files of a shared model, before a measure; `fuse` and training itself do more."
    args = {'train': ['train', three, '--out', tmp_path/'out'], 'share': ['share', 'order', '--out', tmp_path/'out'], 'eval': ['eval', three, '--json', tmp_path/'out'/'json']}
    done = forks(SIGNALLED, *args[command])
    assert done.returncode == 143 and done.stderr.count('\n') == 1 and 'Traceback' not in done.stderr, done.stderr
    assert not list((tmp_path/'out').rglob('*')) # hidden ones too

def test_fuse_leaves_a_file_where_a_results_folder_should_be(three, tmp_path, capfd):
    (tmp_path/'out').mkdir()
    (tmp_path/'out'/'b').write_text('mine')
    status, lines = here(capfd, 'fuse', three, '--out', tmp_path/'out')
    check_b_failed(status, lines, tmp_path/'out', 'cannot be written')
    assert (tmp_path/'out'/'b').read_text() == 'mine'

@pytest.mark.parametrize('where', ['file', 'below a file', '/proc/amodal', '/dev/null/amodal'])
@pytest.mark.parametrize('command', ['fuse', 'scenes', 'train', 'eval'])
def test_a_place_that_cannot_be_written_is_one_line(three, tmp_path, capfd, command, where):
    (tmp_path/'file').write_text('mine')
    out = Path(where) if where.startswith('/') else tmp_path/'file'/'x' if where == 'below a file' else tmp_path/'file'
    if command == 'eval' and where == 'file': pytest.skip('a file is what eval writes')
    args = {'fuse': ['fuse', three, '--out', out], 'scenes': ['scenes', out, '--n', 1, '--size', 32], 'eval': ['eval', three, '--no-lpips', '--json', out],
            'train': ['train', three, '--out', out, '--steps', 1, '--model', 'unet', '--model-args', 'width=8', '--lpips-weight', 0, '--workers', 0, '--val', 0]}
    line = refused(capfd, *args[command])
    assert str(out) in line or str(out.parent) in line
    assert (tmp_path/'file').read_text() == 'mine'

def test_fuse_into_a_read_only_folder_names_every_scene(three, tmp_path):
    if not permissions_count(tmp_path): pytest.skip('this user can write everywhere')
    (tmp_path/'out').mkdir(mode=0o500)
    status, _, lines, _ = start('fuse', three, '--out', tmp_path/'out')
    assert status == 1 and all('ermission' in o and str(tmp_path/'out') in o for o in lines)
    for name in 'abc': assert sum(str(tmp_path/'out'/name) in o for o in lines) == 1

def test_fuse_does_not_take_results_for_scenes(three, capfd):
    for _ in 'once', 'again': assert here(capfd, 'fuse', three, '--out', three/'fused') == (0, [])

def test_fuse_without_any_usable_scene_is_one_line(tmp_path, capfd):
    empty('mask.png')(good_scene(tmp_path/'in'/'a'))
    assert 'empty' in refused(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out')
    assert json.loads((tmp_path/'out'/'report.json').read_text())['done'] == []

# Nonsense on the command line

@pytest.mark.parametrize('args, words', [
    ('fuse nowhere --out out', 'nowhere'), ('fuse in --out out --model nonsense', 'nonsense'), ('fuse in --out out --model nowhere.safetensors', 'nowhere'),
    ('fuse in --out out --on-extra some', 'largest'), ('fuse in/a/a_mask.png --out out', 'no cut-outs'), ('fuse out --out out', 'no folder'), ('fuse in in/a/a_comp1.png --out out', 'no cut-outs'), ('fuse in --mask in/a/a_mask.png --out out', '--mask'), ('fuse in --out out --uncovered some', 'inpaint'),
    ('eval nowhere', 'nowhere'), ('eval in --model nonsense', 'nonsense'),
    ('scenes new --n 0', 'n 0'), ('scenes new --n -1', 'n -1'), ('scenes new --n 1 --noise loud', 'loud'), ('scenes new --n 1 --noise blur=-1', 'blur'),
    ('scenes new --n 1 --objects x', 'objects'), ('scenes new --n 1 --objects 5-2', '(5, 2)'), ('scenes new --n 1 --objects 0', 'objects'),
    ('scenes new --n 1 --size 2', 'size 2'), ('scenes new --n 1 --size 100000', '100000'), ('scenes new --n 1 --seed -1', 'seed -1'),
    ('scenes new --n 1 --hide 7', 'hide'), ('scenes new --n 1 --workers -1', 'workers'), ('scenes new --n 1 --cutouts nowhere', 'nowhere'),
    ('scenes new --n 1 --backgrounds nowhere', 'nowhere'), ('scenes new --n 1 --cutouts cc0,nowhere', 'nowhere'), ('scenes new --n 1 --cutouts cc0,', 'commas'),
    ('scenes new --n 1 --noise varied,spread=9', 'spread'), ('scenes new --n 1 --similar 2', 'similar'), ('scenes new --n 1 --similar nan', 'similar'),
    ('train nowhere --out new', 'nowhere'), ('train in --out new --val 0 --model nonsense', 'nonsense'), ('train in --out new --val 2', 'val'),
    *((f'train in --out new --val 0 --model unet --lpips-weight 0 --workers 0 --steps 1 --model-args width=8 {o}', w) for o, w in [
        ('--resume yes', 'resume'), ('--eval-every 0', 'eval_every'), ('--log-every 0', 'log_every'), ('--steps 0', 'steps'), ('--batch-size 0', 'batch_size'),
        ('--n-max-completions 0', 'n_max_completions'), ('--lr nan', 'nan'), ('--workers -1', 'workers'), ('--on-extra some', 'largest'),
        ('--model-args width=7', 'width'), ('--model-args width', 'width'), ('--model-args depth=-1,width=8', 'depth'), ('--model-args wide=8', 'wide')]),
    *((f'train in --out new --val 0 --model reference --lpips-weight 0 --workers 0 --steps 1 --model-args {o}', w) for o, w in [
        ('d_model=6', 'd_model'), ('d_model=0', 'd_model'), ('d_model=16,nhead=0', 'nhead'), ('d_model=16,nhead=3', 'nhead'), ('context=some', 'inject')]),
])
@pytest.mark.filterwarnings('ignore:Initializing zero-element tensors')  # of sizes that are refused then
def test_nonsense_options_are_one_line(args, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    good_scene(tmp_path/'in'/'a')
    assert words in refused(capfd, *args.split())
    assert {p.name for p in tmp_path.iterdir()} <= {'in', 'new', 'out'}
    assert not any(p.is_file() and p.suffix != '.jsonl' and 'tensorboard' not in p.parts for p in tmp_path.glob('new/**/*'))

@pytest.mark.parametrize('args', ['', 'nonsense', 'fuse', 'fuse in', 'fuse in --out', 'fuse in --out out --nonsense', 'scenes new', 'scenes new --n x', 'scenes new --n 1 --similar',
                                  'train', 'train in', 'train in --out new --steps x', 'train in --out new --nonsense 1', 'eval', 'demo --steps 1'])
def test_wrong_usage_is_explained(args, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    status, lines = here(capfd, *args.split())
    assert status == 2 and not list(tmp_path.iterdir())

# Weights that are none

class Trap:
    "A pickle that leaves a mark when it is opened."
    def __init__(self, mark): self.mark = mark
    def __reduce__(self): return Path.touch, (self.mark,)

def unet(**args): return {f'model.{k}': v for k, v in build_model('unet', {'width': 8, 'n_completions': 5, **args}).state_dict().items()}
INFO = {'model': 'unet', 'args': {'width': 8, 'n_completions': 5}}
def checkpoint(info, **args): return lambda p: save_checkpoint(p, unet(**args), info)
def order(**args): return {f'model.{k}': v for k, v in build_model('order', args).state_dict().items()}
ORDER = {'model': 'order', 'args': {}}

WEIGHTS = {
    'pickle': lambda p: p.write_bytes(pickle.dumps(Trap(p.with_name('mark')))),
    'torch pickle': lambda p: torch.save(Trap(p.with_name('mark')), p),
    'empty': lambda p: p.write_bytes(b''),
    'text': lambda p: p.write_text('hello'),
    'cut': lambda p: (checkpoint(INFO)(p), p.write_bytes(p.read_bytes()[:-7])),
    'cut header': lambda p: (checkpoint(INFO)(p), p.write_bytes(p.read_bytes()[:50])),
    'long header': lambda p: (checkpoint(INFO)(p), p.write_bytes(b'\xff'*8 + p.read_bytes()[8:])),
    'folder': lambda p: p.mkdir(),
    "somebody else's": lambda p: save_file({'w': torch.zeros(2)}, p),
    'nested': lambda p: save_file(unet(), p, metadata={'amodal_nb': '['*100_000}),
    'no json': lambda p: save_file(unet(), p, metadata={'amodal_nb': '{'}),
    'unknown model': checkpoint(INFO | {'model': 'resnet'}),
    'list for model': checkpoint(INFO | {'model': ['unet']}),
    'other model': checkpoint(INFO | {'model': 'reference'}),
    'other sizes': checkpoint(INFO | {'args': {'width': 16}}),
    'list for sizes': checkpoint(INFO | {'args': [1]}),
    'nonsense sizes': checkpoint({'model': 'reference', 'args': {'nhead': 0}}),
    'negative sizes': checkpoint(INFO | {'args': {'n_completions': -5}}),
    'not finite': lambda p: save_checkpoint(p, {k: v*math.nan for k, v in unet().items()}, INFO),
    'unet called order': checkpoint(ORDER),
    'order called unet': lambda p: save_checkpoint(p, order(), INFO),
    'order of other width': lambda p: save_checkpoint(p, order(width=8), ORDER),
    'order of odd width': lambda p: save_checkpoint(p, order(), ORDER | {'args': {'width': 7}}),
    'order and more': lambda p: save_checkpoint(p, order() | {'model.more': torch.zeros(1)}, ORDER),
    'order in part': lambda p: save_checkpoint(p, dict(list(order().items())[1:]), ORDER),
    'order not finite': lambda p: save_checkpoint(p, {k: v/0 for k, v in order().items()}, ORDER),
    'order cut': lambda p: (save_checkpoint(p, order(), ORDER), p.write_bytes(p.read_bytes()[:-1000])),
    'order as a pickle': lambda p: torch.save({'model': order(), 'info': ORDER}, p),
}

@pytest.mark.parametrize('name', WEIGHTS)
def test_fuse_refuses_files_that_are_no_weights(name, tmp_path, capfd):
    good_scene(tmp_path/'in'/'a')
    path = tmp_path/('weights.pt' if name == 'torch pickle' else 'weights.safetensors')
    WEIGHTS[name](path)
    line = refused(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', '--model', path)
    assert str(path) in line and len(line) < 600
    if 'pickle' in name: assert 'pickles are never opened' in line
    assert not (tmp_path/'mark').exists(), 'the pickle was opened'
    assert not (tmp_path/'out').exists()

def test_fuse_takes_weights_of_each_model(tmp_path, capfd):
    good_scene(tmp_path/'in'/'a')
    for k, save in ('unet', checkpoint(INFO)), ('order', lambda p: save_checkpoint(p, order(), ORDER)):
        save(tmp_path/f'{k}.safetensors')
        assert here(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/k, '--model', tmp_path/f'{k}.safetensors') == (0, [])

def test_fuse_refuses_shipped_weights_that_are_damaged(tmp_path, monkeypatch, capfd):
    good_scene(tmp_path/'in'/'a')
    (tmp_path/'models').mkdir()
    (tmp_path/'models'/'order.safetensors').write_text('hello')
    monkeypatch.setattr(checkpoints, 'assets', lambda: tmp_path)
    monkeypatch.setattr(predict, 'shipped_predictor', predict.shipped_predictor.__wrapped__)  # it may have been read already
    assert str(tmp_path/'models'/'order.safetensors') in refused(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', '--model', 'order')
    assert not (tmp_path/'out').exists()

# Nothing to fuse

def transparent(s): save(s('comp1.png'), noise(SIDE, SIDE, 4)*np.array([1, 1, 1, 0], np.uint8))
def black(s): save(s('comp2.png'), np.zeros((SIDE, SIDE, 3), np.uint8))

@pytest.mark.parametrize('model', ['order', 'vote'])
@pytest.mark.parametrize('background', [True, False])
def test_fuse_shows_the_background_where_completions_cover_nothing(model, background, tmp_path, capfd):
    s = good_scene(tmp_path/'in'/'a', background=background)
    transparent(s); black(s)
    run = here(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', '--model', model, '--uncovered', 'keep')
    assert run == (0, ['a: comp1, comp2 cover nothing: leave them out, or check their alpha'])
    o = Parts(tmp_path/'out'/'a')
    mask = read_picture(s('mask.png'))[..., None] > 0
    expected = np.where(mask, read_picture(s('background.png')) if background else 0, read_picture(s('partial.png')))
    assert (read_picture(o('fused.png')) == expected).all()
    told = json.loads(o('order.json').read_text())
    assert told['uncovered_fraction'] == (0 if background else 1) and told['pairs'] == [] and told['order'] == [] # what covers nothing has no place in it
    weights = np.load(o('weights.npz'))['weights']
    assert (weights[:2] == 0).all() and (weights[2:] == 1).all()

@pytest.mark.parametrize('model', ['order', 'vote'])
def test_fuse_ignores_completions_outside_the_mask(model, tmp_path, capfd):
    s = good_scene(tmp_path/'in'/'a', background=False)
    hidden = read_picture(s('mask.png'))[..., None] > 0
    for k in 1, 2: save(s(f'comp{k}.png'), np.where(hidden, 0, read_picture(s(f'comp{k}.png'))).astype(np.uint8))
    status, (line,) = here(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', '--model', model, '--uncovered', 'keep')
    assert status == 0 and 'no completion covers the mask' in line
    o = Parts(tmp_path/'out'/'a')
    assert (read_picture(o('fused.png')) == read_picture(s('partial.png'))).all()
    assert json.loads(o('order.json').read_text())['uncovered_fraction'] == 1

def test_fuse_pictures_refuses_no_completions():
    with pytest.raises(AmodalError, match='at least one completion'): predict.fuse_pictures(noise(SIDE, SIDE, 3), disc(.5), [])

# Too much to fuse

def b_was_too_large(status, lines, out, *words):
    "One line, which names the scene's path and says what to do; the others are done, and of `b` nothing is left."
    assert status == 1 and len(lines) == 1 and all(o in lines[0] for o in ('/b: ', 'leave out completions', *words)), lines
    report = json.loads((out/'report.json').read_text())
    assert report['done'] == ['a', 'c'] and [o['id'] for o in report['failed']] == ['b']
    assert {p.name for p in out.iterdir()} == {'a', 'c', 'report.json'} and not leftovers(out)

@pytest.fixture
def twenty(three):
    "`three`, with 20 completions in the large one."
    for k in range(3, 21): (three/'b'/f'b_comp{k}.png').write_bytes((three/'b'/'b_comp2.png').read_bytes())
    return three

def test_fuse_refuses_unread_a_scene_too_large_for_the_memory(twenty, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(memory, 'free_memory', lambda: 60e6)
    monkeypatch.setattr(folder_module, 'read_scene', lambda folder, truth: pytest.fail(f'{folder} was read') if folder.name == 'b' else read_scene(folder, truth=truth))
    status, lines = here(capfd, 'fuse', twenty, '--out', tmp_path/'out', '--model', 'order')
    b_was_too_large(status, lines, tmp_path/'out', '20 completions of 128x128 px', '60 MB are free', ': 8 would fit', 'px would fit')

def test_eval_refuses_unread_a_scene_too_large_for_the_memory(twenty, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(memory, 'free_memory', lambda: 60e6)
    status, lines = here(capfd, 'eval', twenty, '--no-lpips', '--json', tmp_path/'table.json')
    assert status == 1 and len(lines) == 1 and 'b: 20 completions of 128x128 px need about' in lines[0] and '60 MB are free' in lines[0], lines
    assert json.loads((tmp_path/'table.json').read_text())['results']['oracle']['scenes'] == 2

def test_fuse_refuses_a_scene_with_too_many_pairs_for_the_memory(twenty, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(memory, 'free_memory', lambda: 130e6)  # enough but for the windows of 190 pairs
    status, lines = here(capfd, 'fuse', twenty, '--out', tmp_path/'out', '--model', 'order')
    b_was_too_large(status, lines, tmp_path/'out', '130 MB are free', 'would fit')

@pytest.mark.parametrize('error', [MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory:\nyou tried to allocate 9 bytes.")])
@pytest.mark.parametrize('module, step', [(folder_module, 'read_scene'), (predict, 'prepare_scene')])
def test_fuse_goes_on_when_memory_runs_out_at_one_scene(module, step, error, three, tmp_path, monkeypatch, capfd):
    real = getattr(module, step)
    def failing(first, *args, **options): # a folder, or a scene
        if (first.name if step == 'read_scene' else first.id) == 'b': raise error
        return real(first, *args, **options)
    monkeypatch.setattr(module, step, failing)
    status, lines = here(capfd, 'fuse', three, '--out', tmp_path/'out', '--model', 'order')
    b_was_too_large(status, lines, tmp_path/'out', 'the memory ran out', '128x128 px')

@pytest.mark.skipif(sys.platform != 'linux', reason='ulimit -v is obeyed on Linux')
@pytest.mark.parametrize('foreseen', [True, False])
def test_fuse_in_a_limited_address_space_leaves_out_the_large_scene(foreseen, tmp_path, forks):
    for name, side in ('a', 16), ('b', 1024), ('c', 16): good_scene(tmp_path/'in'/name, side, image=False)
    code = f"""
import math, resource, sys
from amodal_nb.app import cli; from amodal_nb.fusion import memory, predict
predict.load_predictor()
if not {foreseen}: memory.free_memory = lambda: math.inf
used = int(open('/proc/self/statm').read().split()[0])*resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2*10**8,)*2)
cli.main(['fuse', *sys.argv[1:]])
"""
    done = forks(code, tmp_path/'in', '--out', tmp_path/'out', '--model', 'order')
    why = ['2 completions of 1024x1024 px need about', 'px would fit'] if foreseen else ['the memory ran out']
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and all(o in done.stderr for o in ('/b: ', *why)), done.stderr
    assert {p.name for p in (tmp_path/'out').iterdir()} == {'a', 'c', 'report.json'}
