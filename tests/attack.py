"""Damage the inputs of readers and commands at random, and check what they do with them: python tests/attack.py --n 1000 [--seed 0] [--only cocoa].
`--first 217 --n 1` repeats one trial by its number; with `--kills 20` commands are killed instead, see `kill_trial`.
Each trial changes one file of one scene, runs the command in this process' child, and checks: no traceback, no crash, every other scene done with the same
bytes, no file changed or removed that the command reads, no wrong pixel of a file with checksums without a line, and nothing half-made in the output."""
import argparse, collections, contextlib, functools, io, json, os, random, re, resource, shutil, signal, subprocess, sys, tempfile, threading, time, traceback, warnings, zipfile
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
import numpy as np, torch
import tqdm.auto
sys.path.insert(0, str(Path(__file__).parent))
import test_formats
from test_bad_input import disc, good_scene, noise
from amodal_nb.app.cli import main
from amodal_nb.core.compositing import composite_stack
from amodal_nb.core.errors import AmodalError, warn_once
from amodal_nb.formats.layer_stack import NO_LOCAL_DIFFERENCE, UNREADABLE
from amodal_nb.formats.openraster import read_ora
from amodal_nb.formats.psd import read_psd
from amodal_nb.models.checkpoint import read_checkpoint
from amodal_nb.scenes.folders import find_scenes, read_scene
from amodal_nb.scenes.shards import find_shards, read_shards, write_shards
from processes import arguments, losses_of

SECONDS = 60     # of CPU a trial may take; ten times as long on the clock, as other work may slow it
MEMORY = 2**31   # bytes it may take beside what this process has
CHECKED = '.png', '.zip', '.ora', '.npz', '.tar', '.safetensors' # files with checksums; those of a tar are the pictures'

# Targets: a folder with a source of three scenes, and a command that reads it

@dataclass
class Target:
    "What is attacked."
    name: str
    args: list                # of the command; @IN and @OUT stand for the folders
    build: object             # called with IN: writes the source, and returns the files of one scene
    scenes: tuple = ('a', 'b', 'c') # `b` is the victim
    shared: tuple = ()        # names of files that hold more than one scene
    read: object = None       # called with IN instead of the command: scene -> what was read, and 'problems'

def scenes(folder):
    for name in 'abc': good_scene(folder/name, 16)
    return sorted((folder/'b').iterdir())

def copies(write, file=None):
    "Write a source three times; what stands beside a folder as its picture is renamed likewise."
    def build(folder):
        with tempfile.TemporaryDirectory() as d:
            src, image = write(Path(d))
            one = src if src.is_file() or not (src/'shot').is_dir() else src/'shot'
            for name in 'abc':
                target = folder/'src'/(name + (one.suffix if one.is_file() else ''))
                target.parent.mkdir(exist_ok=True)
                (shutil.copy if one.is_file() else shutil.copytree)(one, target)
                if image is not None:
                    (folder/'images').mkdir(exist_ok=True)
                    shutil.copy(image if image.is_file() else image/'shot.png', folder/'images'/f'{name}.png')
                if (src/'shot.png').is_file(): shutil.copy(src/'shot.png', folder/'src'/f'{name}.png')
        victims = [folder/'src'/'b'] if (folder/'src'/'b').is_dir() else [*(folder/'src').glob('b.*')]
        return [p for v in victims for p in ([v] if v.is_file() else sorted(v.rglob('*'))) if p.is_file()] + [*folder.glob('images/b.png')]
    return build

def tripled(write, change):
    "Write a source whose JSON lists scenes; `change(content, name, k)` gives what is added to each of its lists for one scene."
    def build(folder):
        src, _ = write(folder)
        for path in {src, *src.parent.glob('instances*.json')}:
            content = json.loads(path.read_text())
            for key, records in content.items():
                if isinstance(records, list) and records and key != 'categories': content[key] = [change(dict(r), name, k) for k, name in enumerate('abc') for r in records]
            path.write_text(json.dumps(content))
        picture = next(p for p in folder.rglob('shot.png'))
        for name in 'abc': shutil.copy(picture, picture.with_name(f'{name}.png'))
        return [picture.with_name('b.png'), src, *src.parent.glob('instances*.json')]
    return build

def renumbered(r, name, k):
    "A record of a label file for picture 5+k."
    if 'file_name' in r: return r | {'id': 5+k, 'file_name': f'{name}.png'}
    r = r | {'image_id': 5+k}
    if isinstance(r.get('id'), int): r['id'] += 100*k
    if 'instance_ids' in r: r['instance_ids'] = [i + 100*k for i in r['instance_ids']]
    return r

def manifest(suffix):
    def build(folder):
        rows, records = ['id,image,mask,comp1,comp2,pairs'], []
        for name in 'abc':
            for part, a in ('p', test_formats.picture()), ('m', test_formats.both().astype(np.uint8)*255), ('0', test_formats.block(0)), ('1', test_formats.block(1)):
                test_formats.save(folder/f'{name}_{part}.png', a)
            rows.append(f'{name},{name}_p.png,{name}_m.png,{name}_0.png,{name}_1.png,2>1')
            records.append({'id': name, 'image': f'{name}_p.png', 'mask': f'{name}_m.png', 'completions': [f'{name}_0.png', f'{name}_1.png'], 'pairs': [[2, 1]]})
        (folder/f'set{suffix}').write_text('\n'.join(rows) + '\n' if suffix == '.csv' else json.dumps(records))
        return [*sorted(folder.glob('b_*')), folder/f'set{suffix}']
    return build

def mulan(folder):
    for name in 'abc':
        for i, layer in enumerate([test_formats.BACK, test_formats.block(0), test_formats.block(1)]): test_formats.save(folder/f'{name}-layer_{i}.png', layer)
    return sorted(folder.glob('b-*'))

def fused(folder):
    scenes(folder/'scenes')
    test_formats.amodal('fuse', folder/'scenes', '--out', folder/'fused', '--model', 'vote')
    return sorted((folder/'fused'/'b').iterdir())

def shards(folder):
    scenes(folder/'scenes')
    write_shards(find_scenes(folder/'scenes'), folder/'shards')
    shutil.rmtree(folder/'scenes')
    return sorted((folder/'shards').iterdir())

def read_all(folder):
    "Read the scenes of shards: name -> pictures as bytes."
    read = {}
    for s in read_shards(find_shards(folder/'shards') or [str(folder/'shards'/'000000.tar')]):
        try: scene = read_scene(s)
        except AmodalError as e: print(e, file=sys.stderr)
        else: read[s.name] = b''.join(t.numpy().tobytes() for t in (scene.partial, scene.mask, scene.completions, scene.alphas))
    return read

def refitted(folder):
    src, _ = test_formats.openraster(folder)
    test_formats.save(folder/'photo.png', test_formats.picture())
    test_formats.amodal('refit', folder/'photo.png', src, '--out', folder/'refitted', '--model', 'vote')
    (folder/'edits.json').write_text(json.dumps({'version': 1, 'edits': [{'op': 'move', 'layer': 'layer 0', 'dx': 2, 'dy': 1}]}))
    return [folder/'edits.json', *sorted((folder/'refitted'/'photo').iterdir())]

def layered(folder):
    src, _ = test_formats.openraster(folder)
    test_formats.save(folder/'photo.png', test_formats.picture())
    return [src, folder/'photo.png']

def checkpoint(folder):
    from amodal_nb.models.checkpoint import build_model, save_checkpoint
    scenes(folder/'scenes')
    info = {'model': 'unet', 'args': {'width': 8, 'n_completions': 5}}
    save_checkpoint(folder/'model.safetensors', {f'model.{k}': v for k, v in build_model('unet', info['args']).state_dict().items()}, info)
    return [folder/'model.safetensors']

def cutouts(folder):
    "Three cut-outs and two backgrounds, for one scene."
    for kind in 'cutouts', 'backgrounds': (folder/kind).mkdir()
    for k, name in enumerate('abc'): test_formats.save(folder/'cutouts'/f'{name}.png', np.dstack([noise(64, 64, 3, seed=k), disc(.5, 64)*np.uint8(255)]))
    for name in 'ab': test_formats.save(folder/'backgrounds'/f'{name}.png', noise(32, 32, 3))
    return [*sorted((folder/'cutouts').iterdir()), *sorted((folder/'backgrounds').iterdir())]

def training(data, run):
    "Words of a command that trains for six steps and saves after every second."
    tiny = dict(model='unet', model_args='width=8,depth=1', batch_size=1, val_scenes=1, resume='auto')
    return ['train', *arguments(data, run, steps=6, **tiny)]

class Died(BaseException):
    "The end of a run, which nothing in it handles. No process is forked here: a fork of one that has computed may wait for ever."

def killed_run(step):
    """A builder of a run that ended once `step` was in its log: after 3 it has one checkpoint, after 5 two."""
    def build(folder):
        from amodal_nb.training.loop import RunLog
        scenes(folder/'scenes')
        write = RunLog.write
        def write_and_die(log, at, *args):
            write(log, at, *args)
            if at == step: raise Died
        with patch.object(RunLog, 'write', write_and_die):
            try: main(training(folder/'scenes', folder/'run'))
            except Died: pass
            else: raise AssertionError(f'training did not come to step {step}')
        shutil.copy(folder/'run'/'log.jsonl', folder/'whole.jsonl')
        return sorted(p for p in (folder/'run').iterdir() if p.is_file())
    return build

def go_on(folder):
    "Go on with a run, in a copy of it: what it ends in, and what is wrong with the way there."
    run = folder.parent/'run'
    subprocess.run(['cp', '-a', folder/'run', run], check=True)
    before = contents(run)
    if before.get('log.jsonl') != (folder/'whole.jsonl').read_bytes(): before.pop('log.jsonl', None) # another digit is another log, and nobody can know
    try: status = main(training(folder/'scenes', run)) or 0
    except SystemExit as e: status = e.code
    lines = sys.stderr.getvalue().splitlines()
    if status: return {'run': None, 'problems': faults_of_refusal(run, before, status, lines)}
    tensors, info = read_checkpoint(run/'last.safetensors', '')
    weights = {name: t.numpy().tobytes() for name, t in tensors.items()}
    return {'run': (info['step'], weights, [o for o in losses_of(run) if o['step'] > 5]), 'problems': [*faults_of_going_on(run, before, lines)]}

KEPT = 'last.safetensors', 'previous.safetensors' # a refusal changes neither; steps before it may find better weights

def faults_of_refusal(run, before, status, lines):
    "What is wrong with an end in one line: it lost a file of the run, or told nothing."
    after = contents(run)
    lost = [f'{name} lost' for name, content in before.items() if name.startswith(KEPT) and after.get(name) != content]
    if first_lines(before.get('log.jsonl')) not in ([], first_lines(after.get('log.jsonl'))): lost.append('log lost')
    return lost + ([] if status == 1 and len(lines) in (1, 2) else [f'status {status}, {len(lines)} lines'])

def first_lines(log):
    "Lines of a log of the first two steps, none if it is no file."
    return [line for line in log.splitlines() if line.startswith((b'{"step": 1,', b'{"step": 2,'))] if isinstance(log, bytes) else []

def faults_of_going_on(run, before, lines):
    "What is wrong with a run that went on: it began anew, as what it has measured before step 3 differs, or lost lines of its log, in silence."
    if first_lines(before.get('log.jsonl')) not in ([], first_lines((run/'log.jsonl').read_bytes())): yield 'other lines of the log'
    if len(lines) > 2: yield f'{len(lines)} lines'

def layered_psd(parts):
    """A builder of a PSD of two objects on a background, with its merged picture: with `parts` as the project writes it, with masks and both kinds of names; else without
    compression, in a group."""
    def build(folder):
        from amodal_nb.formats.layers import Layer, write_psd
        layers = [torch.from_numpy(a.copy()).permute(2, 0, 1)/255 for a in (S.opaque, S.block(0), S.block(1))]
        if parts: write_psd(folder/'shot.psd', [Layer(f'layer {k}', t[:3], t[3:]) for k, t in enumerate(reversed(layers))])
        else: uncompressed_psd(folder/'shot.psd')
        np.save(folder/'flat.npy', composite_stack(layers).numpy())
        return [folder/'shot.psd']
    return build

def uncompressed_psd(path):
    from psd_tools import PSDImage
    from psd_tools.constants import Compression
    file = PSDImage.new('RGB', (S.W, S.H))
    layers = [file.create_pixel_layer(S.Image.fromarray(a), name=f'layer {k}', compression=Compression.RAW) for k, a in enumerate((S.opaque, S.block(0), S.block(1)))]
    file.create_group(layers[1:], name='objects')
    file.save(path)

def layered_ora(folder):
    src, _ = S.openraster(folder)
    layers = [torch.from_numpy(a.copy()).permute(2, 0, 1)/255 for a in (S.opaque, S.block(0), S.block(1))]
    np.save(folder/'flat.npy', composite_stack(layers).numpy())
    return [src]

def read_layers(folder):
    "Read the layers of a file: their pictures as bytes. A problem is another picture, or a name that cannot be read, without a line."
    path = next(folder.glob('shot.ora'), folder/'shot.psd')
    stack = {'.ora': read_ora, '.psd': read_psd}[path.suffix](path)
    for note in stack.notes: print(note, file=sys.stderr)
    layers = [layer.rgba for layer in stack.layers]
    if stack.background is not None: layers.insert(0, torch.cat([stack.background, torch.ones_like(stack.background[:1])]))
    flat, expected = composite_stack(layers), torch.from_numpy(np.load(folder/'flat.npy'))
    same = flat.shape == expected.shape and (flat - expected).abs().max() <= NO_LOCAL_DIFFERENCE
    strange = [layer.name for layer in stack.layers if not layer.name.isprintable() or UNREADABLE in layer.name]
    problems = [] if same else ['another picture in silence']
    if strange: problems.append(f'the name {strange[0]!r} in silence')
    return {'shot': [layer.numpy().tobytes() for layer in layers], 'problems': [] if stack.notes else problems}

def converts(format, build, *more, shared=()): return Target(f'convert {format}', ['convert', format, '@IN/src', '@OUT', '--mask', 'overlaps', *more], build, shared=shared)

S = test_formats
IMAGES = '--image', '@IN/images'
TARGETS = [
    *[Target('fuse', ['fuse', '@IN', '--out', '@OUT', '--model', 'vote'], scenes)]*6,
    *[Target(f'export {f}', ['export', f, '@IN', '--out', '@OUT', '--model', 'vote'], scenes) for f in ('scenes', 'ora', 'coco', 'shards')],
    *[Target('export scenes --fused', ['export', 'scenes', '@IN/scenes', '--fused', '@IN/fused', '--out', '@OUT'], fused)]*2,
    converts('rgba-stack', copies(S.layers)), Target('convert rgba-stack, zips', ['convert', 'rgba-stack', '@IN/src', '@OUT'], copies(S.zipped(S.layers))),
    converts('comfyui', copies(S.stack_of(S.opaque, S.block(0), S.block(1), name='ComfyUI_{:05}_.png'))),
    converts('offsets', copies(S.offsets), *IMAGES), Target('convert offsets, RGBA', converts('offsets', None, *IMAGES).args, copies(S.offsets_rgba)),
    converts('pix2gestalt', copies(S.pix2gestalt), *IMAGES), converts('deocclusion', copies(S.deocclusion)), converts('art', copies(S.art)),
    converts('reveallayer', copies(S.reveallayer)), converts('openraster', copies(S.openraster)), converts('psd', copies(S.psd)),
    Target('convert mulan', ['convert', 'mulan', '@IN', '@OUT', '--mask', 'overlaps'], mulan),
    Target('convert reveallayer, JSON', ['convert', 'reveallayer', '@IN/src/bench.json', '@OUT', '--mask', 'overlaps'], lambda d: [p for p in (S.reveallayer_json(d)[0].parent).iterdir()], ('shot',), ('bench.json',)),
    Target('convert cocoa', ['convert', 'cocoa', '@IN/coco/annotations/COCO_amodal_val2014.json', '@OUT'], tripled(S.cocoa, renumbered), shared=('COCO_amodal_val2014.json',)),
    Target('convert kins', ['convert', 'kins', '@IN/KINS/update_test_2020.json', '@OUT'], tripled(S.kins, renumbered), shared=('update_test_2020.json',)),
    Target('convert instaorder', ['convert', 'instaorder', '@IN/coco/annotations/InstaOrder_val2017.json', '@OUT'], tripled(S.instaorder, renumbered), shared=('InstaOrder_val2017.json', 'instances_val2017.json')),
    *[Target(f'convert manifest{s}', ['convert', 'manifest', f'@IN/set{s}', '@OUT'], manifest(s), shared=(f'set{s}',)) for s in ('.csv', '.json')],
    *[Target('shards', [], shards, shared=('000000.tar', '000000.tar.json'), read=read_all)]*3,
    Target('refit', ['refit', '@IN/photo.png', '@IN/shot.ora', '--out', '@OUT', '--model', 'vote'], layered, ('photo',)),
    Target('edit', ['edit', '@IN/refitted/photo', '@IN/edits.json', '--out', '@OUT'], refitted, ('photo',)),
    Target('eval', ['eval', '@IN', '--no-lpips', '--json', '@OUT/table.json'], scenes, ('table',)),
    Target('scenes', ['scenes', '@OUT', '--n', '1', '--size', '32', '--cutouts', '@IN/cutouts', '--backgrounds', '@IN/backgrounds'], cutouts, ('0000',)),
    *[Target(f'layers of {name}', [], build, ('shot',), read=read_layers) for name, build in (('psd', layered_psd(True)), ('psd, not compressed', layered_psd(False)), ('ora', layered_ora))],
    *[Target(f'train --resume, {k}', [], killed_run(step), ('run',), read=go_on) for k, step in (('one checkpoint', 3), ('two checkpoints', 5))],
    Target('fuse --model', ['fuse', '@IN/scenes', '--out', '@OUT', '--model', '@IN/model.safetensors'], checkpoint, shared=('model.safetensors',)),
]

# Damage: each takes a path and a random number generator, and returns whether checksums must show it

def bytes_damage(change):
    def damage(path, rng):
        data = bytearray(path.read_bytes())
        if not data: return False
        start = rng.randrange(len(data))
        if path.suffix == '.tar': start = rng.choice([start, data.find(b'PNG') + rng.randrange(200)])
        before = bytes(data)
        change(data, start, rng)
        path.write_bytes(data)
        return bytes(data) != before
    damage.__name__ = change.__name__
    return damage

def flip_a_bit(data, start, rng): data[start] ^= 1 << rng.randrange(8)
def zero_bytes(data, start, rng):
    end = min(len(data), start + rng.choice([1, 16, 512]))
    data[start:end] = bytes(end - start)
def lose_bytes(data, start, rng): del data[start:start + rng.choice([1, 4, 100])]
def insert_bytes(data, start, rng): data[start:start] = rng.randbytes(rng.choice([1, 4, 100]))
def repeat_bytes(data, start, rng): data[start:start] = data[start:start + rng.choice([4, 100, 5000])]
def change_a_header(data, start, rng):
    if data[:4] != b'PK\3\4': start = rng.randrange(min(60, len(data)))
    else: start = data.rfind(b'PK\1\2', 0, rng.randrange(len(data)) + 60) + rng.randrange(46)
    if 0 <= start < len(data): data[start] = rng.choice([0, 1, 14, 99, 127, 128, 255])
def cut(data, start, rng): del data[start:]
def swap_bytes(data, start, rng):
    "Exchange two neighbouring blocks, such as rows of a picture that is not compressed."
    n = rng.choice([1, 16, 64])
    first, second = data[start:start+n], data[start+n:start+2*n]
    data[start:start+2*n] = second + first

def empty(path, rng): path.write_bytes(b''); return False
def garbage(path, rng): path.write_bytes(rng.randbytes(200)); return False
def text(path, rng): path.write_text('hello'); return False
def remove(path, rng): path.unlink(); return False
def a_folder(path, rng): path.unlink(); path.mkdir(); return False
def a_dead_link(path, rng): path.unlink(); path.symlink_to('nowhere'); return False
def a_loop(path, rng): path.unlink(); path.symlink_to(path); return False
def a_pipe(path, rng): path.unlink(); os.mkfifo(path); return False
def no_utf8(path, rng): path.rename(os.fsdecode(os.fsencode(path) + b'\xff')); return False
def two_names(path, rng): shutil.copy(path, path.with_suffix('.JPG')); return False
def another_picture(path, rng): test_formats.save(path, np.zeros((5, 7, 3), np.uint8), format='PNG'); return False
def many_scans(path, rng):
    f = io.BytesIO()
    test_formats.Image.new('RGB', (16, 16)).save(f, 'JPEG', progressive=True)
    data = f.getvalue()
    scan = data.rindex(b'\xff\xda')
    path.write_bytes(data[:-2] + data[scan:-2]*1000 + data[-2:])
    return False

BYTES = [bytes_damage(f) for f in (flip_a_bit, flip_a_bit, zero_bytes, zero_bytes, lose_bytes, insert_bytes, repeat_bytes, change_a_header, change_a_header, swap_bytes, cut)]
FILES = [empty, garbage, text, remove, a_folder, a_dead_link, a_loop, a_pipe, no_utf8, two_names, another_picture, many_scans]

ODD = [None, True, 0, -1, 2**31, 2**64, 10**400, 1e308, float('nan'), .5, '', 'x', '../x', '/etc/passwd', 'a'*5000, '\ud800', '\udcff', 'é\0', [], {}, [[]], [None]*3, {'a': {}}, 'report.json',
       [1e9]*6, functools.reduce(lambda v, _: [v], range(900), 1)]

def nodes(value, path=()):
    "Yield the path of every value in JSON."
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, v in items: yield from nodes(v, (*path, key))

def odd_json(path, rng):
    "Replace or remove a value, or write a key twice."
    try: content = json.loads(path.read_text())
    except (ValueError, OSError): return empty(path, rng)
    where = rng.choice([*nodes(content)][1:] or [()])
    if not where: path.write_text(json.dumps(rng.choice(ODD))); return False
    holder = content
    for key in where[:-1]: holder = holder[key]
    value = holder[where[-1]]
    if rng.random() < .1: del holder[where[-1]]
    elif rng.random() < .1 and isinstance(holder, dict): holder[f'{where[-1]}\0twice'] = value
    else: holder[where[-1]] = rng.choice(ODD)
    path.write_text(json.dumps(content).replace('\\u0000twice', ''))
    return False

def odd_csv(path, rng):
    rows = path.read_bytes().split(b'\n')
    k = rng.randrange(len(rows))
    cells = rows[k].split(b',')
    cells[rng.randrange(len(cells))] = rng.choice([b'', b'"', b'../x', b'\xff\xfe', b'\0', b'9'*400, b'2>2', b'1>7>3', b'a'*200_000, b'nan'])
    rows[k] = b','.join(cells)
    path.write_bytes(b'\n'.join(rows))
    return False

ODD_LENGTHS = [0, 1, 2, 3, 400, 2**15, 2**31 - 1, 2**31, 2**32 - 1]
def odd_section(path, rng):
    "Give a section of a PSD, its number of layers, or one of its tagged blocks another length."
    data = bytearray(path.read_bytes())
    places = [26] # of the first section's length
    for _ in range(2): places.append(places[-1] + 4 + int.from_bytes(data[places[-1]:places[-1]+4], 'big'))
    places += [places[-1] + 4, places[-1] + 6, *(m.start() + 8 for m in re.finditer(b'8BIM', data))]
    place = rng.choice(places)
    data[place:place+4] = rng.choice(ODD_LENGTHS).to_bytes(4, 'big')
    path.write_bytes(data)
    return False

def odd_name(path, rng):
    "Overwrite bytes of a layer's name in a PSD."
    data = bytearray(path.read_bytes())
    place = rng.choice([m.start() for m in re.finditer(b'l\0?a\0?y', data)])
    data[place:place+2] = rng.choice([b'\0\0', b'\1\2', b'\xd8\x00', b'\xff\xff', b'\n\n', rng.randbytes(2)])
    path.write_bytes(data)
    return False

def odd_entry(path, rng):
    "Leave out, rename or repeat an entry of an OpenRaster, or give it what another one holds."
    with zipfile.ZipFile(path) as z: entries = [(name, z.read(name)) for name in z.namelist()]
    (name, content), (_, other) = rng.choice(entries), rng.choice(entries)
    new = rng.choice([[], [('x' + name, content)], [(name, content)]*2, [(name, other)]])
    with warnings.catch_warnings(), zipfile.ZipFile(path, 'w') as z:
        warnings.simplefilter('ignore') # of a name that stands twice
        for n, c in entries:
            for entry in new if n == name else [(n, c)]: z.writestr(*entry)
    return False

ODD_XML = ['', '&#x85;', '&#xfffd;', '0', '-1', '1e308', 'nan', '99999', 'hidden', 'svg:multiply', 'svg:dst-out', '../x', '/etc/passwd', 'stack.xml', 'a&#10;b', '&a;', '"/><text a="', '"><stack a="']
def odd_stack(path, rng):
    "Change a value in an OpenRaster's stack.xml, or repeat or remove an element."
    with zipfile.ZipFile(path) as z: entries = {name: z.read(name) for name in z.namelist()}
    xml = entries['stack.xml'].decode()
    match = rng.choice([*re.finditer(r'(?<==")[^"]*|<[^>]*>', xml)])
    new = rng.choice(['', match[0]*3, match[0]*1500]) if match[0].startswith('<') else rng.choice(ODD_XML)
    entries['stack.xml'] = (xml[:match.start()] + new + xml[match.end():]).encode()
    with zipfile.ZipFile(path, 'w') as z:
        for name, content in entries.items(): z.writestr(name, content)
    return False

def damages_of(path):
    if path.suffix in ('.psd', '.ora'): return [{'.psd': odd_section, '.ora': odd_stack}[path.suffix]]*20 + [{'.psd': odd_name, '.ora': odd_entry}[path.suffix]]*6 + BYTES*2 + FILES
    if path.suffix == '.json': return [odd_json]*12 + BYTES[:8] + FILES[:9]
    if path.suffix == '.csv': return [odd_csv]*12 + BYTES[:8] + FILES[:9]
    return BYTES*2 + FILES

# One trial

def content_of(path):
    "The bytes of a file, but of an OpenRaster file what it holds, as a zip has times; a table of measures without its seconds."
    if path.name == 'table.json': return re.sub(rb'"seconds": [^,]*', b'', path.read_bytes())
    if path.suffix != '.ora' or not zipfile.is_zipfile(path): return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as z: return [(e.filename, e.CRC) for e in z.infolist()]
    except Exception: return path.read_bytes() # it was damaged

def contents(folder):
    "Everything below a folder: path -> bytes of a file, target of a link, or its kind."
    def what_is(p): return os.readlink(p) if p.is_symlink() else content_of(p) if p.is_file() else p.stat().st_mode
    return {p.relative_to(folder).as_posix(): what_is(p) for p in sorted(folder.rglob('*'))}

def run(target, source, out):
    "Run a command in this process: (status or what was read, lines of stderr); raises what escapes it."
    warn_once.cache_clear()
    args = [a.replace('@IN', str(source)).replace('@OUT', str(out)) for a in target.args]
    with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
        try: status = target.read(source) if target.read else main(args) or 0
        except AmodalError as e:
            if not target.read: raise
            status = {}
            print(e, file=sys.stderr)
        except SystemExit as e: status = e.code or 0
    return status, err.getvalue().splitlines()

def result_of(target, out, status, name):
    "What a command made of a scene, report aside."
    if target.read: return status.get(name)
    return {k: v for k, v in contents(out).items() if name in Path(k).parts or Path(k).stem == name or Path(k).name.startswith(f'{name}.')}

def problems_of(target, out, status, lines, expected, checksums, damaged, shared):
    "Everything that is wrong with the outcome of a trial."
    results = {name: result_of(target, out, status, name) for name in target.scenes}
    if not shared:
        for name in target.scenes:
            if name != 'b' and len(target.scenes) > 1 and results[name] != expected[name]: yield f'good scene lost: {name}'
    done = status == 0 if not target.read else True
    silent = not lines and done
    victim = target.scenes[len(target.scenes)//2]
    if checksums and silent and results[victim] != expected[victim] and damaged.suffix in CHECKED: yield 'wrong pixels in silence'
    if target.read:
        yield from status.get('problems', ())
        return
    if not isinstance(status, int): yield f'status {status!r}'
    if status and not lines: yield f'status {status} without a line'
    if len(lines) > 12: yield f'{len(lines)} lines'
    if any('Traceback' in l for l in lines): yield 'traceback printed'
    hidden = [p for p in out.rglob('*') if p.name.startswith('.') or p.name.endswith(('.tmp', '.replaced'))] if out.exists() else []
    if hidden: yield f'left over: {hidden[0].name}'
    if out.exists() and target.args[0] in ('fuse', 'export', 'convert') and any(out.iterdir()):
        try: json.loads((out/'report.json').read_text())
        except (OSError, ValueError): yield 'no report'
    if target.args[0] in ('convert', 'scenes') or target.args[:2] == ['export', 'scenes']:
        for folder in out.iterdir() if out.exists() else ():
            if not folder.is_dir(): continue
            try: read_scene(folder)
            except Exception as e: yield f'half a scene: {e}'

@functools.cache
def prepared(name):
    "A target's source, the damaged files that may be chosen, and what an undamaged run gives. Kept for all trials."
    target = next(t for t in TARGETS if t.name == name)
    folder = Path(tempfile.mkdtemp(prefix='attack_'))
    (folder/'in').mkdir()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()): files = [p.relative_to(folder/'in') for p in target.build(folder/'in')]
    status, lines = run(target, folder/'in', folder/'out')
    assert target.read or status == 0, (name, lines)
    return folder, files, {s: result_of(target, folder/'out', status, s) for s in target.scenes}

def chosen(k, seed, only=''):
    "The random number generator of a trial, and its target."
    rng = random.Random(f'{seed}/{k}')
    return rng, rng.choice([t for t in TARGETS if only in t.name])

def trial(k, seed, only=''):
    "One attack: (name of the target, file, damage, list of problems)."
    rng, target = chosen(k, seed, only)
    folder, files, expected = prepared(target.name)
    with tempfile.TemporaryDirectory(prefix='trial_') as d:
        d = Path(d)
        shutil.copytree(folder/'in', d/'in', symlinks=True)
        (d/'tmp').mkdir()
        file = rng.choice(files)
        damage = rng.choice(damages_of(file))
        checksums = damage(d/'in'/file, rng)
        before, tempfile.tempdir = contents(d/'in'), str(d/'tmp')
        try:
            status, lines = run(target, d/'in', d/'out')
            problems = [*problems_of(target, d/'out', status, lines, expected, checksums, file, file.name in target.shared)]
        except Exception as e: problems = [f'traceback: {type(e).__name__}: {e}'[:300] + ' at ' + traceback.format_exc().splitlines()[-3].strip()]
        finally: tempfile.tempdir = None
        if contents(d/'in') != before: problems.append('a file of the source changed')
        if any((d/'tmp').iterdir()): problems.append('the temporary folder is not empty')
    return target.name, file.as_posix(), damage.__name__, problems

# Many trials, in children, so that a crash is one problem among others

def limit_time():
    "End this process by a signal when a trial takes too long, computing or waiting."
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.alarm(10*SECONDS)

def in_a_child(ks, seed, only, pipe):
    "Run trials and write a line for each."
    with open('/proc/self/statm') as f: size = int(f.read().split()[0])*resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for k in ks:
        limit_time()
        print(json.dumps([k, *trial(k, seed, only)]), file=pipe, flush=True)

def attack(n, seed=0, only='', first=0, chunk=25, report=lambda line: None):
    "Run `n` trials: list of (number, target, file, damage, problems)."
    names = {chosen(k, seed, only)[1].name for k in range(first, first+n)}
    for name in sorted(names): prepared(name) # once, before the children
    results, todo = [], collections.deque(range(first, first+n))
    while todo:
        ks = [todo.popleft() for _ in range(min(chunk, len(todo)))]
        read, write = os.pipe()
        sys.stdout.flush()
        pid = os.fork()
        if not pid:
            os.close(read)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2) # libraries in C print there
            try:
                with os.fdopen(write, 'w') as pipe: in_a_child(ks, seed, only, pipe)
            except BaseException: os._exit(70)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe: rows = [json.loads(line) for line in pipe]
        _, status = os.waitpid(pid, 0)
        if status:
            crashed = ks[len(rows)]
            rows.append([crashed, chosen(crashed, seed, only)[1].name, '?', '?', [f'crash or {SECONDS} s: status {os.waitstatus_to_exitcode(status)}']])
            todo.extendleft(reversed(ks[len(rows):]))
        for row in rows:
            if row[4]: report(f'{row[0]}: {row[1]}: {row[3]} of {row[2]}: {"; ".join(row[4])}')
        results += rows
    for name in names: shutil.rmtree(prepared(name)[0], ignore_errors=True)
    prepared.cache_clear()
    return results

# Kills: a command dies before or after one of its changes of files, and is run again

CHANGES = {'open', 'write', 'writelines', 'encode_to_file', 'close', 'fsync', 'sendfile', 'replace', 'rename', 'unlink', 'remove', 'rmdir', 'mkdir', 'symlink', 'truncate'}

def four(folder):
    "Four scenes of 32 px, two in a folder of their own."
    for name in 'a', 'b', 'more/c', 'more/d': good_scene(folder/name, 32)

def stacks(folder):
    "Four folders of layers."
    for name in 'abcd':
        (folder/'src'/name).mkdir(parents=True)
        for k in 0, 1: test_formats.save(folder/'src'/name/f'layer_{k}.png', test_formats.block(k))

def fused_four(folder):
    four(folder/'scenes')
    test_formats.amodal('fuse', folder/'scenes', '--out', folder/'fused', '--model', 'vote')

VOTE = '--model', 'vote'
KILLED = [ # the command, what builds its source, and what the next run needs to replace what the killed one has written
    ('fuse', ['fuse', '@IN', '--out', '@OUT', *VOTE], four, []), ('fuse --shards', ['fuse', '@IN', '--out', '@OUT', *VOTE, '--shards', '3'], four, []),
    ('convert rgba-stack', ['convert', 'rgba-stack', '@IN/src', '@OUT', '--mask', 'overlaps'], stacks, []),
    ('convert --overwrite', ['convert', 'rgba-stack', '@IN/src', '@OUT', '--mask', 'overlaps', '--overwrite'], stacks, []),
    ('export scenes', ['export', 'scenes', '@IN/scenes', '--fused', '@IN/fused', '--out', '@OUT'], fused_four, []),
    *((f'export {f}', ['export', f, '@IN/scenes', '--fused', '@IN/fused', '--out', '@OUT'], fused_four, ['--overwrite']) for f in ('ora', 'coco')),
]

def run_in_a_child(target, source, out, death=None):
    "Run a command in a child that kills itself at the `death`-th beginning or end of a change: (status, lines, number of these), or None if it was killed."
    read, write = os.pipe()
    sys.stdout.flush()
    pid, calls = os.fork(), 0
    def count(frame, event, function):
        nonlocal calls
        if event not in ('c_call', 'c_return') or function.__name__ not in CHANGES: return
        calls += 1
        if calls == death: os.kill(os.getpid(), signal.SIGKILL)
    if not pid:
        limit_time()
        for bar in tqdm.std.tqdm, tqdm.auto.tqdm: bar.set_lock(threading.RLock()) # theirs is shared with other children, and one may have died holding it
        threading.setprofile(count)
        sys.setprofile(count)
        try: status, lines = run(target, source, out)
        except BaseException as e: status, lines = 70, [f'{type(e).__name__}: {e}']
        sys.setprofile(None)
        with os.fdopen(write, 'w') as pipe: json.dump([status, lines, calls], pipe)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe: text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if text: return json.loads(text)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGKILL else (70, [f'ended with {code}'], calls)

def is_result(path):
    "Whether a path below the output is one that a person takes for a result; reports tell of the run itself."
    parts = Path(path).parts
    return not any(p.startswith('.') or p.endswith('.tmp') for p in parts) and parts[-1] not in ('report.json', 'report.jsonl')

@functools.cache
def undisturbed(k):
    "The source of a command, all that it writes, and the number of its changes."
    name, args, build, _ = KILLED[k]
    folder = Path(tempfile.mkdtemp(prefix='kills_'))
    (folder/'in').mkdir()
    with contextlib.redirect_stdout(io.StringIO()): build(folder/'in')
    target = Target(name, args, build)
    status, lines, n = run_in_a_child(target, folder/'in', folder/'out')
    if '--overwrite' in args: status, lines, n = run_in_a_child(target, folder/'in', folder/'out') # replacing what is there
    assert (status, lines) == (0, []), (name, status, lines)
    return folder, contents(folder/'out'), n

def killed_command(k, seed):
    "The random number generator of a trial, and the number of its command in `KILLED`."
    rng = random.Random(f'kill/{seed}/{k}')
    return rng, rng.randrange(len(KILLED))

def kill_trial(k, seed):
    """Kill a command at a random change: (name, 'run', number of the change, list of problems). No result may then be half, and the next run must end silently,
    with the bytes of an undisturbed one, and nothing else beside them."""
    rng, which = killed_command(k, seed)
    name, args, build, again = KILLED[which]
    folder, expected, n = undisturbed(which)
    death, problems = rng.randint(1, n), []
    with tempfile.TemporaryDirectory(prefix='kill_') as d:
        d = Path(d)
        shutil.copytree(folder/'in', d/'in')
        before = contents(d/'in')
        if '--overwrite' in args: shutil.copytree(folder/'out', d/'out') # which the command replaces
        if run_in_a_child(Target(name, args, build), d/'in', d/'out', death): problems.append('not killed')
        after = contents(d/'out')
        problems += [f'half: {p}' for p, v in after.items() if is_result(p) and v != expected.get(p)]
        status, lines, _ = run_in_a_child(Target(name, [*args, *again], build), d/'in', d/'out')
        if status or lines: problems.append(f'status {status} of the next run: {lines}')
        ended = contents(d/'out')
        problems += [f'differs: {p}' for p in ended.keys() | expected.keys() if ended.get(p) != expected.get(p)]
        if contents(d/'in') != before: problems.append('a file of the source changed')
        if {p.name for p in d.iterdir()} != {'in', 'out'}: problems.append('left over beside the output')
    return name, 'run', str(death), problems

def kills(n, seed=0, first=0, report=lambda line: None):
    "Kill `n` commands: list of (number, command, 'run', number of the change, problems)."
    results = []
    for k in range(first, first+n):
        results.append([k, *kill_trial(k, seed)])
        if results[-1][4]: report(f'{k}: {results[-1][1]}: killed at {results[-1][3]}: {"; ".join(results[-1][4])}')
    for which in {killed_command(k, seed)[1] for k in range(first, first+n)}: shutil.rmtree(undisturbed(which)[0], ignore_errors=True)
    undisturbed.cache_clear()
    return results

def table(results):
    "Markdown: trials and problems by target."
    rows = collections.defaultdict(collections.Counter)
    for _, target, _, _, problems in results:
        rows[target]['trials'] += 1
        for p in problems: rows[target]['problems'] += 1
    lines = ['| command | trials | problems |', '|---|---|---|']
    lines += [f'| {name} | {c["trials"]} | {c["problems"]} |' for name, c in sorted(rows.items())]
    return '\n'.join([*lines, f'| all | {len(results)} | {sum(c["problems"] for c in rows.values())} |'])

if __name__ == '__main__':
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--n', type=int, default=1000)
    p.add_argument('--seed', type=int, default=0)
    p.add_argument('--first', type=int, default=0)
    p.add_argument('--only', default='')
    p.add_argument('--kills', type=int, default=0)
    a = p.parse_args()
    start = time.time()
    show = functools.partial(print, flush=True)
    results = kills(a.kills, a.seed, a.first, show) if a.kills else attack(a.n, a.seed, a.only, a.first, report=show)
    print(table(results))
    print(f'{time.time()-start:.0f} s, seed {a.seed}')
    sys.exit(any(r[4] for r in results))
