"PNG files that are decoded by imagecodecs where it is installed: the pixels and the errors are Pillow's, whatever the file."
import io, random, struct, zlib
from unittest.mock import patch
import numpy as np, pytest, torch
from PIL import Image, PngImagePlugin
from amodal_nb.core import pictures
from amodal_nb.core.errors import SceneError

pytestmark = pytest.mark.skipif(pictures.fast_png_decoder() is None, reason='imagecodecs is not installed')
MODES = 'L', 'RGB', 'RGBA'

def png(picture, **options):
    f = io.BytesIO()
    picture.save(f, format='PNG', **options)
    return f.getvalue()

def chunk(name, data): return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

def chunks_of(data):
    "Every chunk of a PNG as (name, data)."
    chunks, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place:place+4], 'big')
        chunks.append((data[place+4:place+8], data[place+8:place+8+length]))
        place += 12 + length
    return chunks

def file_of(chunks): return b'\x89PNG\r\n\x1a\n' + b''.join(chunk(*own) for own in chunks)

def outcome(path):
    "Pixels, or the error's line."
    try: return pictures._read_raw(path, MODES, None)[0]
    except SceneError as e: return str(e)

def compare(path, data):
    "Return whether imagecodecs decodes a file; its pixels are Pillow's."
    path.write_bytes(data)
    ours = pictures.decode_plain_png(path, MODES, None)
    if ours is None: return False
    with patch.object(pictures, 'fast_png_decoder', lambda: None): theirs = outcome(path)
    assert isinstance(theirs, torch.Tensor) and torch.equal(ours, theirs), theirs
    return True

def pictures_of(mode):
    values = np.random.default_rng(0).integers(0, 256, (9, 7, 4), np.uint8)
    return Image.fromarray(values, 'RGBA').convert(mode)

exif, text = Image.Exif(), PngImagePlugin.PngInfo()
exif[0x0112] = 6
text.add_text('Title', 'a')
KINDS = { # name -> (bytes, whether imagecodecs decodes them)
    **{mode: (png(pictures_of(mode)), True) for mode in MODES},
    **{mode: (png(pictures_of(mode)), False) for mode in ('1', 'P', 'LA', 'I;16')},
    'text': (png(pictures_of('RGB'), pnginfo=text), False),          # ImageMagick writes the orientation there
    'turned': (png(pictures_of('RGB'), exif=exif), False),
    'colour key': (png(pictures_of('RGB'), transparency=(1, 2, 3)), False),
    'animated': (png(pictures_of('RGB'), save_all=True, append_images=[pictures_of('RGB').rotate(90)]), False),
    'one pixel': (png(pictures_of('RGBA').crop((0, 0, 1, 1))), True)}
for name, own in ('gamma', (b'gAMA', struct.pack('>I', 100000))), ('a broken profile', (b'iCCP', b'x\0\0no stream')), ('a private chunk', (b'prVt', b'x')):
    first, *rest = chunks_of(KINDS['RGBA'][0])
    KINDS[name] = file_of([first, own, *rest]), name == 'gamma'

@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_of_png_is_read_as_by_pillow(kind, tmp_path):
    data, is_plain = KINDS[kind]
    assert compare(tmp_path/'a.png', data) == is_plain

def damaged(data, chance):
    "A file with some bytes changed, with or without right checksums, cut short, or with a chunk twice, missing or moved."
    kind = chance.randrange(5)
    if kind == 0: return data[:chance.randrange(len(data))]
    chunks = chunks_of(data)
    place = chance.randrange(len(chunks))
    name, own = chunks[place]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(chance.randint(1, 3)): changed[chance.randrange(8, len(data))] = chance.randrange(256)
        return bytes(changed)
    if kind == 2: chunks.insert(chance.randrange(len(chunks)), chunks[place])
    if kind == 3: chunks.insert(chance.randrange(len(chunks)), chunks.pop(place))
    if kind == 4 and own:
        own = bytearray(own)
        own[chance.randrange(len(own))] ^= 1 << chance.randrange(8)
        chunks[place] = name, bytes(own)
    return file_of(chunks)

@pytest.mark.parametrize('kind', MODES)
def test_what_is_damaged_is_left_to_pillow_unless_the_pixels_are_the_same(kind, tmp_path, n=300):
    chance = random.Random(kind)
    n_plain = sum(compare(tmp_path/'a.png', damaged(KINDS[kind][0], chance)) for _ in range(n))
    assert 0 < n_plain < n/2                                         # data behind a moved `IEND`

@pytest.mark.parametrize('name', [b'pHYs', b'gAMA', b'cHRM', b'sRGB'])
def test_a_short_chunk_is_left_to_pillow(name, tmp_path):
    first, *rest = chunks_of(KINDS['RGB'][0])
    (tmp_path/'a.png').write_bytes(file_of([first, (name, b''), *rest]))
    assert pictures.decode_plain_png(tmp_path/'a.png', MODES, None) is None
