"Layered files as editors, other systems and nobody in his right mind write them: read as what they show, or refused in one line, within bounds of memory."
import functools, io, json, stat, struct, zipfile, zlib
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from amodal_nb.app.cli import main
from amodal_nb.core.compositing import flatten_layers
from amodal_nb.formats.common import shuffled_order
from amodal_nb.formats.convert import convert
from amodal_nb.formats.layered import from_layout, read_layer_stack, repaint_errors
from amodal_nb.scenes.folders import read_scene

SHARED = Path(__file__).parents[2]/'shared'
W, H = 40, 30

def disc(colour, cx, cy, r=9):
    y, x = np.mgrid[:H, :W]
    alpha = ((x-cx)**2 + (y-cy)**2 < r*r)[..., None]
    return np.dstack([np.broadcast_to(np.uint8(colour), (H, W, 3))*alpha, alpha*np.uint8(255)]).astype(np.uint8)

WALL = np.dstack([np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8), np.full((H, W), 255, np.uint8)])
RED, BLUE = disc((200, 40, 30), 15, 15), disc((20, 60, 210), 24, 15)

def png(a, **options):
    f = io.BytesIO()
    Image.fromarray(a).save(f, 'PNG', **options)
    return f.getvalue()

# OpenRaster

LAYERS = '<layer name="blue" src="data/2.png"/><layer name="red" src="data/1.png"/><layer name="wall" src="data/0.png"/>'
DATA = {f'data/{k}.png': png(a) for k, a in enumerate((WALL, RED, BLUE))}

def ora(layers=LAYERS, size=f'w="{W}" h="{H}"', xml=None, mimetype='image/openraster', entries=DATA, more=()):
    "The bytes of an OpenRaster file; `more` are further (name or ZipInfo, content)."
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        if mimetype is not None: z.writestr('mimetype', mimetype, zipfile.ZIP_STORED)
        if xml is None: xml = f'<image version="0.0.5" {size}><stack>{layers}</stack></image>'
        if xml: z.writestr('stack.xml', xml)
        for name, content in [*entries.items(), *more]: z.writestr(name, content)
    return f.getvalue()

def layer(**attributes): return '<layer ' + ' '.join(f'{k.replace("_", "-")}="{v}"' for k, v in attributes.items()) + '/>' + LAYERS

def with_entry(content): return ora(layer(name='odd', src='odd.png'), more=[('odd.png', content)])

def entry_info(name, **fields):
    info = zipfile.ZipInfo(name)
    for k, v in fields.items(): setattr(info, k, v)
    return info

def patched(data, old, new, count=-1):
    assert old in data
    return data.replace(old, new, count)

def claimed_png(w, h):
    "A PNG of a few bytes whose header states a size."
    def chunk(kind, content): return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 6, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'\0'*100)) + chunk(b'IEND', b'')

@functools.cache
def blank_png(side): return png(np.zeros((side, side), np.uint8), compress_level=1)

BOMB = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaaaaaaaa">' + ''.join(f'<!ENTITY {b} "{f"&{a};"*16}">' for a, b in zip('abcdefg', 'bcdefgh')) + ']><image>&h;</image>'
EXTERNAL = '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]><image>&a;</image>'

def deep(n): return '<stack>'*n + LAYERS + '</stack>'*n

ORA = { # name -> (file, a part of the one line, or None where it is read)
    'plain': lambda: (ora(), None),
    'empty': lambda: (b'', 'is no'),
    'text': lambda: (b'no zip at all', 'is no zip'),
    'cut at 40 bytes': lambda: (ora()[:40], 'is no zip'),
    'cut before the directory': lambda: (ora()[:-60], 'is no zip'),
    'another mimetype': lambda: (ora(mimetype='application/epub+zip'), 'not image/openraster'),
    'no mimetype': lambda: (ora(mimetype=None), None),
    'a mimetype of a megabyte': lambda: (ora(mimetype='x'*2**20), 'over the limit'),
    'no stack.xml': lambda: (ora(xml=''), 'stack.xml: missing'),
    'stack.xml of text': lambda: (ora(xml='hello'), 'is no XML'),
    'stack.xml cut short': lambda: (ora(xml='<image><stack>'), 'is no XML'),
    'stack.xml of zeros, 20 MB': lambda: (ora(xml='\0'*(20*2**20)), 'over the limit'),
    'stack.xml, not UTF-8': lambda: (ora(xml=b'<image w="4" h="4" name="\xff\xfe"><stack/></image>'), 'is no XML'),
    'stack.xml of an unknown encoding': lambda: (ora(xml='<?xml version="1.0" encoding="x-none"?><image/>'), 'is no XML'),
    'entities that grow': lambda: (ora(xml=BOMB), 'document type'),
    'entities in UTF-16': lambda: (ora(xml=BOMB.encode('utf-16')), 'document type'),
    'an external entity': lambda: (ora(xml=EXTERNAL), 'document type'),
    'groups, 30 deep': lambda: (ora(deep(30)), None),
    'groups, 1000 deep': lambda: (ora(deep(1000)), 'nests more than'),
    'groups, 100,000 deep': lambda: (ora(deep(100_000)), 'nests more than'),
    'elements, 100,000': lambda: (ora('<layer/>'*100_000), 'elements'),
    'layers, 2000': lambda: (ora(layer(src='data/1.png')*600), 'layers, over the limit'),
    'two stacks': lambda: (ora(xml='<image w="4" h="4"><stack/><stack/></image>'), 'one <stack>'),
    'no image': lambda: (ora(xml='<svg/>'), 'one <stack>'),
    'a canvas of 10^9 px': lambda: (ora(size='w="1000000000" h="1000000000"'), 'no number in range'),
    'a canvas of 20000x20000 px': lambda: (ora(size='w="20000" h="20000"'), 'over the limit'),
    'a canvas without width': lambda: (ora(size='h="30"'), '0x30 px'),
    'a canvas of -5 px': lambda: (ora(size='w="-5" h="30"'), '-5x30 px'),
    'a canvas of nan px': lambda: (ora(size='w="nan" h="30"'), 'no number in range'),
    'offset inf': lambda: (ora(layer(src='data/1.png', x='inf')), 'no number in range'),
    'offset 1e300': lambda: (ora(layer(src='data/1.png', y='1e300')), 'no number in range'),
    'outside of the canvas': lambda: (ora(layer(src='data/1.png', x='9999')), None),
    'opacity nan': lambda: (ora(layer(src='data/1.png', opacity='nan')), 'no number in range'),
    'opacity 7': lambda: (ora(layer(src='data/1.png', opacity='7')), 'opacity 7'),
    'opacity of text': lambda: (ora(layer(src='data/1.png', opacity='half')), 'no number in range'),
    'a blend mode': lambda: (ora(layer(src='data/1.png', composite_op='svg:multiply')), 'blend mode svg:multiply'),
    'a blend mode nobody knows': lambda: (ora(layer(src='data/1.png', composite_op='x:y')), 'blend mode x:y'),
    'an eraser': lambda: (ora(layer(src='data/1.png', composite_op='svg:dst-out')), 'svg:dst-out'),
    'a hidden blend mode': lambda: (ora(layer(src='data/1.png', composite_op='svg:multiply', visibility='hidden')), None),
    'a faint blend mode': lambda: (ora(layer(src='data/1.png', composite_op='svg:multiply', opacity='0')), None),
    'an element of text': lambda: (ora('<text>hello</text>' + LAYERS), 'neither a layer nor a group'),
    'all hidden': lambda: (ora('<layer src="data/1.png" visibility="hidden"/>'), 'shows no layer'),
    'no layers': lambda: (ora(''), 'shows no layer'),
    'a layer without a picture': lambda: (ora(layer(name='x')), 'names no picture'),
    'a picture that is missing': lambda: (ora(layer(src='data/9.png')), 'missing'),
    'a picture outside': lambda: (ora(layer(src='../../../etc/passwd')), 'missing'),
    'a picture of an absolute path': lambda: (ora(layer(src='/etc/passwd')), 'outside of the file'),
    'an entry that leads out': lambda: (ora(more=[('../out.png', b'')]), 'leads out'),
    'an entry of an absolute path': lambda: (ora(more=[('/etc/x.png', b'')]), 'leads out'),
    'a link': lambda: (ora(more=[(entry_info('l.png', external_attr=(stat.S_IFLNK | 0o777) << 16), '/etc/passwd')]), 'is a link'),
    'entries, 10,001': lambda: (ora(more=[(f'{k}', b'') for k in range(10_001)]), 'more than 10000 files'),
    'an entry of 300 MB of zeros': lambda: (with_entry(bytes(300*2**20)), 'over the limit'),
    'an entry of 200 MB of zeros': lambda: (with_entry(bytes(200*2**20)), 'not a PNG'),
    'encrypted': lambda: (patched(ora(), b'PK\x01\x02\x14\x03\x14\x00\x00\x00', b'PK\x01\x02\x14\x03\x14\x00\x01\x00'), 'is encrypted'),
    'a compression nobody knows': lambda: (patched(patched(ora(), b'PK\x03\x04\x14\0\0\0\x08\0', b'PK\x03\x04\x14\0\0\0\x63\0'),
                                                   b'PK\x01\x02\x14\x03\x14\0\0\0\x08\0', b'PK\x01\x02\x14\x03\x14\0\0\0\x63\0'), 'cannot be unpacked'),
    'a picture of text': lambda: (with_entry(b'<svg/>'), 'not a PNG'),
    'an empty picture': lambda: (with_entry(b''), 'empty'),
    'a picture cut short': lambda: (with_entry(png(WALL)[:200]), 'damaged or cut short'),
    'a picture of 100000x100000 px': lambda: (with_entry(claimed_png(100_000, 100_000)), 'limit'),
    'a picture that claims 8000x8000 px': lambda: (with_entry(claimed_png(8000, 8000)), 'damaged or cut short'),
    'pictures of 8000x8000 px, three': lambda: (ora(''.join(layer(src=f'{k}.png') for k in 'abc'), more=[(f'{k}.png', blank_png(8000)) for k in 'abc']), 'over the limit'),
    'a picture of 8000x8000 px': lambda: (with_entry(blank_png(8000)), None),
    'a damaged merged picture': lambda: (ora(more=[('mergedimage.png', b'\x89PNG')]), None),
    'a merged picture of another size': lambda: (ora(more=[('mergedimage.png', blank_png(9))]), None),
    'a name of a megabyte': lambda: (ora(layer(name='x'*2**20, src='data/1.png')), None),
    'a name of two lines': lambda: (ora(layer(name='a&#10;b', src='data/1.png')), None),
    'names that repeat': lambda: (ora(LAYERS*3), None),
    'an annotation': lambda: (ora('<annotation href="x"/>' + LAYERS), None),
}

def twice():
    with pytest.warns(UserWarning, match='Duplicate'): return ora(more=[('data/1.png', png(BLUE))])

def damaged_crc():
    data = bytearray(ora())
    at = data.index(b'data/1.png') + len('data/1.png') + 30
    data[at] ^= 255
    return bytes(data)

def latin_names():
    "Names of entries in code page 437, as old zips have them: no UTF-8, and not what stack.xml calls them."
    return patched(ora(layer(src='d\u00e4ta.png'), more=[('dXta.png', png(RED))]), b'dXta.png', b'd\x84ta.png')

ORA |= {'two entries of one name': lambda: (twice(), 'holds two files named'), 'a checksum': lambda: (damaged_crc(), 'data/1.png'),
        'names of code page 437': lambda: (latin_names(), None)}

# PSD

@functools.cache
def psd_file(change=None, mode='RGBA'):
    "The bytes of a PSD of three layers, changed before it is saved."
    from psd_tools import PSDImage
    psd = PSDImage.new(mode, (W, H))
    for name, a in ('wall', WALL), ('red', RED), ('blue', BLUE): psd.create_pixel_layer(Image.fromarray(a), name=name)
    if change is not None: change(psd)
    f = io.BytesIO()
    psd.save(f)
    return f.getvalue()

def records_of(data): # low-level structure of a file, to be changed and written again
    from psd_tools.psd import PSD
    psd = PSD.read(io.BytesIO(data))
    return psd, psd.layer_and_mask_information.layer_info

def lower(change):
    "A PSD whose layer records are changed behind the library's back."
    psd, info = records_of(psd_file())
    change(info)
    f = io.BytesIO()
    psd.write(f)
    return f.getvalue()

def set_record(k=1, **fields):
    def change(info):
        for name, value in fields.items(): setattr(info.layer_records[k], name, value)
    return change

def put(data, position, fmt, value): # a field of the header
    out = bytearray(data)
    struct.pack_into(fmt, out, position, value)
    return bytes(out)

def header(position, fmt, value): return put(psd_file(), position, fmt, value)

def blend(name, k=1):
    from psd_tools.constants import BlendMode
    def change(psd): psd[k].blend_mode = BlendMode[name]
    return psd_file(change)

def nested(n):
    def change(psd):
        group = psd
        for _ in range(n): group = group.create_group(name='g')
        group.create_pixel_layer(Image.fromarray(RED), name='deep')
    return psd_file(change)

def nested_records(n):
    "Groups in one another, written record by record."
    def change(info):
        import copy
        from psd_tools.constants import SectionDivider, Tag
        from psd_tools.psd.layer_and_mask import ChannelData, ChannelDataList
        from psd_tools.psd.tagged_blocks import SectionDividerSetting, TaggedBlock, TaggedBlocks
        def divider(kind):
            record = copy.deepcopy(info.layer_records[1])
            record.top = record.left = record.bottom = record.right = 0
            record.tagged_blocks = TaggedBlocks([(Tag.SECTION_DIVIDER_SETTING, TaggedBlock(key=Tag.SECTION_DIVIDER_SETTING, data=SectionDividerSetting(kind=kind)))])
            return record
        empty = lambda record: ChannelDataList([ChannelData() for _ in record.channel_info])
        ends = [divider(SectionDivider.BOUNDING_SECTION_DIVIDER) for _ in range(n)]
        starts = [divider(SectionDivider.OPEN_FOLDER) for _ in range(n)]
        for record in ends + starts:
            for channel in record.channel_info: channel.length = 2
        lists = [*map(empty, ends), *info.channel_image_data, *map(empty, starts)]
        info.layer_records[:] = [*ends, *info.layer_records, *starts]
        info.channel_image_data[:] = lists
        info.layer_count = len(info.layer_records)
    return lower(change)

def hide_all(psd):
    for layer in psd: layer.visible = False

def channel_table(info, k=1): # of a layer record, as bytes
    return b''.join(struct.pack('>hI', c.id, c.length) for c in info.layer_records[k].channel_info)

def odd_channel():
    data = psd_file()
    table = channel_table(records_of(data)[1])
    return patched(data, table, table[:6] + struct.pack('>h', 77) + table[8:], 1)

def odd_compression():
    data = psd_file()
    channel = records_of(data)[1].channel_image_data[1][1]
    start = struct.pack('>H', channel.compression) + channel.data[:40]
    return patched(data, start, struct.pack('>H', 9) + start[2:], 1)

def long_channel(info): info.layer_records[1].channel_info[1].length = 2**31 - 1

def zip_bomb(info):
    from psd_tools.constants import Compression
    record, channel = info.layer_records[1], info.channel_image_data[1][1]
    channel.compression, channel.data = Compression.ZIP, zlib.compress(bytes(200*2**20), 1)
    record.channel_info[1].length = len(channel.data) + 2

def noise(info):
    channel = info.channel_image_data[1][1]
    channel.data = np.random.default_rng(1).bytes(len(channel.data))

def fifteen(info): info.layer_count = 15

PSD = {
    'plain': lambda: (psd_file(), None),
    'empty': lambda: (b'', 'is no PSD'),
    'text': lambda: (b'8BPX and more', 'is no PSD'),
    'a header alone': lambda: (psd_file()[:26], 'is damaged'),
    'cut in the header': lambda: (psd_file()[:20], 'is no PSD'),
    'cut in the layers': lambda: (psd_file()[:900], 'is damaged'),
    'version 3': lambda: (header(4, '>H', 3), 'version 3'),
    'channels 0': lambda: (header(12, '>H', 0), 'damaged'),
    'channels 57': lambda: (header(12, '>H', 57), 'damaged'),
    'height 0': lambda: (header(14, '>I', 0), 'canvas'),
    'a canvas of 2^32 px': lambda: (put(header(14, '>I', 2**32-1), 18, '>I', 2**32-1), 'over the limit'),
    'a canvas of 8000x8000 px': lambda: (put(header(14, '>I', 8000), 18, '>I', 8000), 'over the limit'),
    '1 bit': lambda: (header(22, '>H', 1), '1 bits'),
    '7 bits': lambda: (header(22, '>H', 7), '7 bits'),
    '32 bits': lambda: (header(22, '>H', 32), '32 bits'),
    'CMYK': lambda: (header(24, '>H', 4), 'is CMYK'),
    'Lab': lambda: (header(24, '>H', 9), 'is Lab'),
    'indexed': lambda: (header(24, '>H', 2), 'is indexed'),
    'mode 99': lambda: (header(24, '>H', 99), 'colour mode 99'),
    'grey': lambda: (psd_file(mode='L'), None),
    'no layers': lambda: (psd_file(lambda psd: psd.clear()), 'holds no layers'),
    'all hidden': lambda: (psd_file(hide_all), 'shows no layer'),
    'a blend mode': lambda: (blend('MULTIPLY'), 'blend mode multiply'),
    'dissolve': lambda: (blend('DISSOLVE'), 'blend mode dissolve'),
    'a blend mode of the lowest': lambda: (blend('SCREEN', 0), None),
    'clipped to nothing': lambda: (psd_file(lambda psd: setattr(psd[0], 'clipping', True)), 'clipped to no layer'),
    'groups, 20 deep': lambda: (nested(20), None),
    'groups, 40 deep': lambda: (nested(40), 'nests more than'),
    'groups, 1000 deep': lambda: (nested_records(1000), 'nest'),
    'a layer of 2^30 px a side': lambda: (lower(set_record(top=0, left=0, bottom=2**30, right=2**30)), 'over the limit'),
    'a layer of 20000x20000 px': lambda: (lower(set_record(top=0, left=0, bottom=20000, right=20000)), 'over the limit'),
    'a layer of 6000x6000 px without pixels': lambda: (lower(set_record(top=0, left=0, bottom=6000, right=6000)), 'damaged'),
    'a layer upside down': lambda: (lower(set_record(top=20, left=20, bottom=-20, right=-20)), ''),
    'a layer far away': lambda: (lower(set_record(top=9000, left=9000, bottom=9000+H, right=9000+W)), None),
    'a channel nobody knows': lambda: (odd_channel(), ''),
    'colours that the header calls grey': lambda: (header(24, '>H', 1), 'colour mode does not have'),
    'a channel of 2^31 bytes': lambda: (lower(long_channel), ''),
    'a channel of zeros, 200 MB': lambda: (lower(zip_bomb), ''),
    'a compression nobody knows': lambda: (odd_compression(), ''),
    'a channel of noise': lambda: (lower(noise), ''),
    'a count of 15 layers': lambda: (lower(fifteen), ''),
}

@pytest.fixture(scope='module')
def outcomes(tmp_path_factory, forks):
    "What reading each file gave, in a process whose memory and time are limited: {name: [line, layers, notes, path, expected]}; no line where it was read."
    folder = tmp_path_factory.mktemp('hostile')
    names = {}
    for suffix, files in ('ora', ORA), ('psd', PSD), ('psd', FLIPPED), ('ora', FLIPPED_ORA):
        for name, make in files.items():
            path = folder/f'{len(names):03}.{suffix}'
            content, expected = make()
            path.write_bytes(content)
            names[f'{suffix}: {name}'] = path, expected
    code = """
import json, resource, sys
from pathlib import Path
from amodal_nb.core.errors import AmodalError
from amodal_nb.formats.layered import read_layer_stack
import psd_tools, psd_tools.composite
used = int(open('/proc/self/statm').read().split()[0])*resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2*10**9,)*2)
resource.setrlimit(resource.RLIMIT_CPU, (400, 400))
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        stack = read_layer_stack(path)
        outcome = None, [l.name for l in stack.layers], stack.notes
    except AmodalError as e: outcome = str(e), None, None
    except BaseException as e: outcome = f'{type(e).__name__} escaped: {e}', None, None
    print(json.dumps([path.name, outcome]), flush=True)
"""
    done = forks(code, folder)
    by_file = dict(map(json.loads, done.stdout.splitlines()))
    lost = [f'the process ended with {done.returncode}: {done.stderr[-500:]}', None, None]
    return {name: [*by_file.get(path.name, lost), path, expected] for name, (path, expected) in names.items()}

def flipped(data, seed):
    "A file with a few bytes changed, or cut short, at random."
    rng = np.random.default_rng(seed)
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)): changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed[:rng.integers(len(changed)//2, len(changed) + 1)] if rng.random() < .2 else changed)

N_FLIPPED = 60
FLIPPED = {f'flipped {k}': lambda k=k: (flipped(psd_file(), k), '') for k in range(N_FLIPPED)}
FLIPPED_ORA = {f'flipped {k}': lambda k=k: (flipped(ora(), k), '') for k in range(N_FLIPPED)}

def check(line, layers, notes, path, expected):
    if line is None:
        assert expected in (None, '') and layers, f'was read: {layers}'
        assert all(len(note.splitlines()) == 1 for note in notes)
        return
    assert expected is not None and expected in line, line
    assert path.name in line and len(line.splitlines()) == 1 and len(line) < 600 and 'escaped' not in line, line

@pytest.mark.parametrize('name', ORA)
def test_an_openraster_file_is_read_or_refused_in_one_line(name, outcomes): check(*outcomes[f'ora: {name}'])

@pytest.mark.parametrize('name', PSD)
def test_a_psd_is_read_or_refused_in_one_line(name, outcomes): check(*outcomes[f'psd: {name}'])

@pytest.mark.parametrize('suffix', ['ora', 'psd'])
def test_files_with_random_damage_are_read_or_refused_in_one_line(suffix, outcomes):
    damaged = [outcomes[f'{suffix}: flipped {k}'] for k in range(N_FLIPPED)]
    for outcome in damaged: check(*outcome)
    assert sum(line is not None for line, *_ in damaged) > N_FLIPPED//6 # many are noticed

def amodal(*args):
    "The command's exit status."
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code or 0
    return 0

@pytest.mark.parametrize('format, name, make', [('openraster', 'a.ora', ora), ('psd', 'a.psd', psd_file)])
def test_a_damaged_file_does_not_stop_the_others(format, name, make, tmp_path, capsys):
    (tmp_path/'src').mkdir()
    (tmp_path/'src'/name).write_bytes(make())
    (tmp_path/'src'/f'b{name[1:]}').write_bytes(make()[:200])
    assert amodal('convert', format, tmp_path/'src', tmp_path/'out') == 1
    report = json.loads((tmp_path/'out'/'report.json').read_text())
    assert report['done'] == ['a'] and [f['id'] for f in report['failed']] == ['b']
    lines = [l for l in capsys.readouterr().err.splitlines() if 'report.json' not in l]
    assert len(lines) == 1 and f'b{name[1:]}' in lines[0]
    scene = read_scene(tmp_path/'out'/'a')
    number = [shuffled_order('a', 2).index(k) + 1 for k in (0, 1)] # of red and of blue
    assert scene.pairs == [(number[1], number[0])] and sorted(scene.object_names) == ['blue', 'red']
    assert np.array_equal((scene.background*255).round().byte().permute(1, 2, 0).numpy(), WALL[..., :3])

# What the layers of an editor mean

def tensor(a): return torch.from_numpy(a.copy()).permute(2, 0, 1).float()/255

def read_bytes(path, data):
    path.write_bytes(data)
    return read_layer_stack(path)

def test_offsets_of_groups_add_up_and_layers_are_cropped(tmp_path):
    group = '<stack x="-5" y="2"><layer name="red" src="data/1.png" x="-3" y="1"/></stack><layer src="data/0.png"/>'
    (red,) = read_bytes(tmp_path/'a.ora', ora(group)).layers
    expected = torch.zeros(4, H, W)
    expected[:, 3:, :-8] = tensor(RED)[:, :-3, 8:]
    assert torch.equal(red.rgba, expected)

def test_a_faint_group_is_one_layer(tmp_path):
    faint = f'<stack name="g" opacity="0.5">{LAYERS.replace("wall", "w").rpartition("<")[0]}</stack><layer src="data/0.png"/>'
    stack = read_bytes(tmp_path/'a.ora', ora(faint))
    assert [l.name for l in stack.layers] == ['g'] and any('flattened' in note for note in stack.notes)
    whole = flatten_layers([tensor(RED), tensor(BLUE)])
    assert torch.allclose(stack.layers[0].rgba, torch.cat([whole[:3], whole[3:]/2]), atol=1e-6)

@pytest.mark.parametrize('suffix', ['ora', 'psd'])
def test_an_object_in_two_parts_is_one_layer(suffix, tmp_path):
    half = np.arange(W)[None, :, None] < W//2
    parts = {'hidden': RED*~half, 'visible': RED*half, 'mask': np.dstack([RED[..., 3:]]*3 + [np.full((H, W, 1), 255, np.uint8)])}
    if suffix == 'psd':
        def change(psd):
            group = psd.create_group(name='thing')
            for name, a in parts.items(): group.create_pixel_layer(Image.fromarray(a.astype(np.uint8)), name=name)
            group[0].visible = group[2].visible = False
            for layer in psd[1:3]: layer.visible = False
        data = psd_file(change)
    else:
        entries = DATA | {f'{name}.png': png(a.astype(np.uint8)) for name, a in parts.items()}
        group = ''.join(f'<layer name="{name}" src="{name}.png" visibility="hidden"/>' for name in ('mask', 'visible', 'hidden'))
        data = ora(f'<stack name="thing">{group}</stack><layer name="wall" src="data/0.png"/>', entries=entries)
    stack = read_bytes(tmp_path/f'a.{suffix}', data)
    (thing,) = stack.layers
    assert thing.name == 'thing' and torch.allclose(thing.rgba*(thing.rgba[3] > 0), tensor(RED), atol=1/255)

def test_both_formats_hold_the_same(tmp_path):
    stacks = [read_bytes(tmp_path/name, data) for name, data in (('a.ora', ora()), ('a.psd', psd_file()))]
    for a, b in zip(*(s.layers for s in stacks)):
        assert a.name == b.name and torch.allclose(a.rgba*(a.rgba[3] > 0), b.rgba*(b.rgba[3] > 0), atol=1e-6)
    assert torch.allclose(stacks[0].background, stacks[1].background, atol=1e-6)

# Real layers

REAL = SHARED/'real'/'deocclusion'
needs_shared = pytest.mark.skipif(not REAL.exists(), reason=f'{REAL} does not exist')

@needs_shared
def test_real_layers_of_pcnet_are_in_order():
    scenes = list(from_layout(REAL, layout='deocclusion'))
    assert len(scenes) == 4
    for scene in scenes:
        number = {name: int(name[4:]) for name in scene.object_names} # obj_000 is in front
        assert scene.pairs and all(number[scene.object_names[f-1]] < number[scene.object_names[b-1]] for f, b in scene.pairs)
        assert scene.background is not None and not scene.mask.any()

@needs_shared
@pytest.mark.parametrize('name', ['image_0141', 'image_0273', 'image_0447', 'image_0679'])
def test_real_layers_repaint_their_photograph(name):
    forward, reverse = repaint_errors(stack := read_layer_stack(REAL/name))
    assert forward < .034 and forward < reverse # .005 to .033 in their order
    assert 'is the order right?' not in ' '.join(stack.notes)

@pytest.mark.skipif(not (SHARED/'cases').exists(), reason=f'{SHARED/"cases"} does not exist')
def test_two_runs_of_comfyui_become_two_scenes(tmp_path):
    report = convert('comfyui', SHARED/'cases'/'04_comfyui_two_runs', tmp_path/'out')
    assert report['done'] == ['04_comfyui_two_runs_ComfyUI_00001', '04_comfyui_two_runs_ComfyUI_00007'] and not report['failed']
    assert all(read_scene(tmp_path/'out'/id).n == 4 for id in report['done'])
