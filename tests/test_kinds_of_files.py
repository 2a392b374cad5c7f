"Pictures, masks, stacks and manifests as other programs write them: each is read as what it shows, or refused with a line that says what to do."
import zipfile
import numpy as np, pytest, torch
from PIL import Image, features
from amodal_nb.core.errors import AmodalError, FormatError, SceneError
from amodal_nb.core.pictures import read_mask, read_picture, to_tensor
from amodal_nb.formats.manifest import from_manifest
from amodal_nb.formats.crops import from_pix2gestalt
from amodal_nb.formats.stacks import from_rgba_stack
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.scenes.scene import make_scene

SIDE = 48

def disc(cx, cy, r=14):
    y, x = np.mgrid[:SIDE, :SIDE]
    return ((x-cx)**2 + (y-cy)**2 < r*r).astype(np.uint8)*255

def layer(colour, alpha): return np.dstack([np.full((SIDE, SIDE), c, np.uint8) for c in colour] + [alpha])*(alpha[..., None] > 0)

BOTTOM = layer((40, 90, 60), np.full((SIDE, SIDE), 255, np.uint8))
RED, BLUE = layer((200, 40, 30), disc(18, 24)), layer((20, 60, 210), disc(30, 24))

def save(path, a, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(a).save(path, **options)
    return path

@pytest.fixture
def stack(tmp_path):
    "A folder of three layers, bottom to top, and the scene that it holds."
    folder = tmp_path/'stack'
    for k, a in enumerate((BOTTOM, RED, BLUE)): save(folder/f'layer_{k}.png', a)
    (scene,) = from_rgba_stack(folder)
    return folder, scene

def test_a_transparent_colour_is_alpha_in_a_stack(stack, tmp_path):
    folder, scene = stack
    for k, a in (1, RED), (2, BLUE):
        (folder/f'layer_{k}.png').unlink()
        save(folder/f'layer_{k}.png', a[..., :3], transparency=(0, 0, 0))
    (again,) = from_rgba_stack(folder)
    assert torch.equal(again.alphas, scene.alphas) and torch.equal(again.completions, scene.completions)

@pytest.mark.parametrize('write', [
    lambda path: Image.fromarray(RED).quantize(16).save(path), # palette with transparency, as pngquant writes
    lambda path: Image.fromarray(RED).convert('LA').save(path)], ids=['palette', 'grey with alpha'])
def test_completions_of_odd_modes_keep_their_alpha(tmp_path, write):
    write(tmp_path/'c.png')
    t = read_picture(tmp_path/'c.png', ('RGB', 'RGBA'))
    assert torch.equal(t[3] > .5, torch.from_numpy(RED[..., 3] > 0))

def png16(path, a):
    "Write RGBA with 16 bits a channel, which Pillow does not."
    import struct, zlib
    h, w = a.shape[:2]
    rows = b''.join(b'\0' + (a[y].astype('>u2')*257).tobytes() for y in range(h))
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    header = struct.pack('>IIBBBBB', w, h, 16, 6, 0, 0, 0)
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))

def test_16_bits_are_read_at_8_with_a_warning(tmp_path, caplog):
    png16(tmp_path/'deep.png', RED)
    assert torch.equal(read_picture(tmp_path/'deep.png', ('RGBA',), raw=True), to_tensor(RED, raw=True))
    assert '16 bits a channel, read at 8' in caplog.text

REGION = disc(24, 24, 9)
MASKS = {
    '0 and 1': REGION//255, '0 and 38': REGION//255*38, 'alpha': np.dstack([REGION*0]*3 + [REGION]), 'one bit': REGION > 0,
    'colour': np.dstack([REGION, REGION*0, REGION*0]), '16 bits': (REGION//255).astype(np.uint16)*65535}

@pytest.mark.parametrize('kind', MASKS)
def test_two_valued_masks_are_read_as_what_they_mean(tmp_path, kind):
    path = save(tmp_path/'m.png', MASKS[kind])
    assert torch.equal(read_mask(path)[0] > 0, torch.from_numpy(REGION > 0))

def test_a_palette_mask_is_read(tmp_path):
    im = Image.fromarray(REGION//255).convert('P')
    im.putpalette([0, 0, 0, 128, 0, 0])
    im.save(tmp_path/'m.png')
    assert torch.equal(read_mask(tmp_path/'m.png')[0] > 0, torch.from_numpy(REGION > 0))

def test_a_mask_of_three_values_names_them(tmp_path):
    path = save(tmp_path/'m.png', REGION//255*2 + disc(5, 5, 4)//255)
    with pytest.raises(SceneError, match=r'has 3 values \(0, 1, 2\)'): read_mask(path)

@pytest.mark.parametrize('mask', [REGION[None] > 0, REGION > 0, REGION//255, torch.from_numpy(REGION > 0)[None]], ids=['SAM', 'bool', '0 and 1', 'torch'])
def test_masks_in_memory_have_any_of_the_usual_forms(mask):
    scene = make_scene(BOTTOM[..., :3], mask, [RED, BLUE])
    assert torch.equal(scene.mask[0] > 0, torch.from_numpy(REGION > 0))

ORIENTATIONS = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: lambda a: np.swapaxes(a, 0, 1), 6: lambda a: np.rot90(a, -1),
                7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1), 8: np.rot90}

@pytest.mark.parametrize('orientation', ORIENTATIONS)
@pytest.mark.parametrize('format', ['png', 'tiff', *(['webp'] if features.check('webp') else [])])
def test_the_orientation_of_the_camera_is_applied(tmp_path, orientation, format):
    stored = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path/f'p.{format}', stored, exif=exif, **({'lossless': True} if format == 'webp' else {}))
    seen = np.ascontiguousarray(ORIENTATIONS[orientation](stored))
    assert torch.equal(read_picture(path, raw=True), to_tensor(seen, raw=True))
    assert torch.equal(read_picture(path, size=seen.shape[:2], raw=True), to_tensor(seen, raw=True))
    if format != 'tiff': # which Pillow turns itself
        assert torch.equal(read_picture(path, raw=True, upright=False), to_tensor(stored, raw=True))
    with Image.open(path) as im: assert torch.equal(to_tensor(im, raw=True), to_tensor(seen, raw=True)) # in memory as well

def test_a_turned_photograph_in_a_manifest_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = layer((0, 0, 0), np.full((SIDE, SIDE), 255, np.uint8))[..., :3].copy()
    picture[:10] = 255
    save(tmp_path/'p.png', np.ascontiguousarray(picture[::-1, ::-1]), exif=exif)
    for name, a in ('a.png', RED), ('b.png', BLUE): save(tmp_path/name, a)
    (tmp_path/'m.csv').write_text('image,comp1,comp2\np.png,a.png,b.png\n')
    (scene,) = from_manifest(tmp_path/'m.csv')
    assert torch.equal(scene.image, to_tensor(picture))

def test_a_file_of_several_pictures_is_refused(tmp_path):
    frames = [Image.fromarray(RED[..., :3]), Image.fromarray(BLUE[..., :3])]
    frames[0].save(tmp_path/'two.tiff', save_all=True, append_images=frames[1:])
    with pytest.raises(SceneError, match='holds 2 pictures'): read_picture(tmp_path/'two.tiff')

@pytest.mark.parametrize('k, suffix', [(0, 'jpg'), (2, 'webp')])
def test_layers_of_another_format_are_not_passed_over(stack, k, suffix):
    folder, scene = stack
    with Image.open(folder/f'layer_{k}.png') as im:
        if suffix == 'webp': im.save(folder/f'layer_{k}.webp', lossless=True, exact=True)
        else: im.convert('RGB').save(folder/f'layer_{k}.jpg', quality=100, subsampling=0)
    (folder/f'layer_{k}.png').unlink()
    (again,) = from_rgba_stack(folder)
    assert again.n == scene.n and (again.background - scene.background).abs().max() < .02

def test_pix2gestalt_reads_webp_among_png(tmp_path):
    def on_white(a): return np.where(a[..., 3:] > 0, a[..., :3], 255).astype(np.uint8)
    save(tmp_path/'photo.png', BOTTOM[..., :3])
    save(tmp_path/'p'/'o1.png', on_white(RED))
    save(tmp_path/'p'/'o2.webp', on_white(BLUE), lossless=True)
    (scene,) = from_pix2gestalt(tmp_path/'p', tmp_path/'photo.png')
    assert scene.n == 2

def test_a_scene_folder_takes_photographs_as_jpeg(tmp_path):
    scene = make_scene(BOTTOM[..., :3], REGION, [RED, BLUE], background=BOTTOM[..., :3], id='x')
    folder = write_scene(scene, tmp_path)
    for kind in 'image', 'background':
        with Image.open(folder/f'x_{kind}.png') as im: im.save(folder/f'x_{kind}.jpg', quality=100)
        (folder/f'x_{kind}.png').unlink()
    again = read_scene(folder)
    assert (again.background - scene.background).abs().max() < .02 and (again.image - scene.image).abs().max() < .02
    save(folder/'x_image.png', BOTTOM[..., :3])
    with pytest.raises(SceneError, match='is there as well'): read_scene(folder)

def test_two_runs_in_one_folder_are_refused(stack):
    folder, _ = stack
    for k, a in enumerate((BOTTOM, BLUE, RED), 3): save(folder/f'layer_{k}.png', a)
    with pytest.raises(FormatError, match='layer 4 of 6 is opaque.*two runs'): list(from_rgba_stack(folder))

def test_a_flattened_picture_is_found_above_a_nearly_opaque_bottom(stack):
    folder, scene = stack
    flattened = BOTTOM.copy()
    for a in RED, BLUE: flattened[a[..., 3] > 0] = a[a[..., 3] > 0]
    bottom = BOTTOM.copy()
    bottom[:2, :, 3] = 240
    for k, a in enumerate((flattened, bottom, RED, BLUE)): save(folder/f'layer_{k}.png', a)
    (again,) = from_rgba_stack(folder)
    assert again.n == scene.n and torch.equal(again.image, to_tensor(flattened[..., :3]))
    assert torch.equal(again.background, scene.background)

def test_layers_and_picture_of_two_sizes_are_both_named(stack, tmp_path):
    folder, _ = stack
    save(tmp_path/'stack.png', np.zeros((SIDE*2, SIDE*2, 3), np.uint8))
    with pytest.raises(AmodalError, match=f'stack.png: is {SIDE*2}x{SIDE*2} but the layers are {SIDE}x{SIDE}'): list(from_rgba_stack(folder, tmp_path/'stack.png'))

def test_what_macos_adds_to_a_zip_is_ignored(stack, tmp_path):
    folder, scene = stack
    with zipfile.ZipFile(tmp_path/'s.zip', 'w') as z:
        for p in folder.iterdir():
            z.write(p, f's/{p.name}')
            z.writestr(f'__MACOSX/s/._{p.name}', b'\0\5\x16\7')
    errors = []
    (again,) = from_rgba_stack(tmp_path/'s.zip', on_error=lambda *e: errors.append(e))
    assert not errors and again.id == 's' and torch.equal(again.completions, scene.completions)
    (folder/'._layer_1.png').write_bytes(b'\0\5\x16\7')
    (again,) = from_rgba_stack(folder)
    assert again.n == scene.n

@pytest.fixture
def pictures(tmp_path):
    save(tmp_path/'p.png', BOTTOM[..., :3])
    save(tmp_path/'m.png', REGION)
    for k, a in enumerate((RED, BLUE, layer((90, 90, 0), disc(24, 16))), 1): save(tmp_path/f'c{k}.png', a)
    return tmp_path

@pytest.mark.parametrize('text, empty, pairs', [
    ('id,image,mask,comp1,comp2,comp3,pairs\nx,p.png,m.png,c1.png,,c3.png,3>1\n', (2,), [(3, 1)]),
    ('id,image,mask,comp0,comp1,comp2,pairs\nx,p.png,m.png,c1.png,c2.png,c3.png,1>2\n', (), [(2, 3)]),
    ('id;image;mask;comp1;comp2\nx;p.png;m.png;c1.png;c2.png\n', (), None),
    ('id\timage\tmask\tcomp1\tcomp2\nx\tp.png\tm.png\tc1.png\tc2.png\n', (), None),
    ('ID,Image,MASK,Comp1,COMP2,pairs\nx,p.png,m.png,c1.png,c2.png,2>1\n', (), [(2, 1)])],
    ids=['empty column', 'from zero', 'semicolons', 'tabs', 'capitals'])
def test_pairs_of_a_manifest_follow_the_numbers_of_the_columns(pictures, text, empty, pairs):
    (pictures/'m.csv').write_text(text)
    (scene,) = from_manifest(pictures/'m.csv')
    assert scene.empty == empty and scene.pairs == pairs
    assert torch.equal(scene.completions[0], to_tensor(RED)[:3]) and scene.n == text.lower().split('\n')[0].count('comp')

def test_a_completion_that_cannot_be_read_leaves_its_slot_empty(pictures):
    (pictures/'c2.png').write_bytes(b'')
    (pictures/'m.csv').write_text('id,image,mask,comp1,comp2,comp3,pairs\nx,p.png,m.png,c1.png,c2.png,c3.png,2>1 3>1\n')
    errors = []
    (scene,) = from_manifest(pictures/'m.csv', on_error=lambda *e: errors.append(e))
    assert len(errors) == 1 and scene.empty == (2,) and scene.pairs == [(3, 1)]

def test_a_manifest_without_completions_says_how_to_name_them(pictures):
    (pictures/'m.csv').write_text('id,image,mask,object1\nx,p.png,m.png,c1.png\n')
    with pytest.raises(FormatError, match='comp1, comp2'): list(from_manifest(pictures/'m.csv'))
