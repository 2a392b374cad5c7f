"Pictures, masks, stacks and manifests as other programs write them: each is read as what it shows, or refused with a line that says what to do."
import json, zipfile
import numpy as np, pytest, torch
from PIL import Image, features
from amodal_nb.core.errors import AmodalError, FormatError, SceneError
from amodal_nb.app.cli import main
from amodal_nb.core.pictures import icc_profile, read_mask, read_picture, to_tensor, to_uint8
from amodal_nb.formats.common import raise_format_error, shuffled_order
from amodal_nb.formats.convert import convert
from amodal_nb.formats.export import export
from amodal_nb.formats.labels import from_cocoa, from_kins
from amodal_nb.formats.manifest import from_manifest
from amodal_nb.formats.crops import from_pix2gestalt
from amodal_nb.formats.stacks import from_rgba_stack
from amodal_nb.fusion.bulk import fuse_folder
from amodal_nb.fusion.predict import fuse_pictures
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.scenes.inputs import from_pictures
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

def test_dark_objects_of_a_label_map_are_named_and_rims_are_not(tmp_path, caplog):
    labels = Image.fromarray(REGION//255 + disc(8, 40, 6)//255*2)
    labels.putpalette([0, 0, 0, 128, 0, 0, 64, 0, 0])                # as those of DAVIS, whose eighth object is dark
    labels.save(tmp_path/'labels.png')
    assert torch.equal(read_mask(tmp_path/'labels.png', soft=True)[0] > 0, torch.from_numpy(REGION > 0))
    assert 'labels.png: its areas of 64 are not read as the region' in caplog.text
    caplog.clear()
    big = Image.fromarray(REGION).resize((96, 96), Image.Resampling.NEAREST).rotate(30, Image.Resampling.BICUBIC)
    big.resize((SIDE, SIDE), Image.Resampling.BOX).save(tmp_path/'rim.png')
    big.save(tmp_path/'rim.jpg', quality=60)
    for name in 'rim.png', 'rim.jpg': assert read_mask(tmp_path/name, soft=True).any()
    assert not caplog.records

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

def test_an_orientation_in_xmp_alone_is_left_from_before_the_picture_was_turned(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    for exif in b'', Image.Exif().tobytes():
        path = save(tmp_path/'p.jpg', BOTTOM[:24, :, :3], xmp=xmp, exif=exif)
        with Image.open(path) as im: assert im.getexif().get(0x0112) == 6 # for Pillow, which viewers do not follow
        assert read_picture(path).shape == (3, 24, SIDE)

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
    with pytest.raises(AmodalError, match=f'stack: layer 1 and 2 more: {SIDE}x{SIDE} px, but the picture has {SIDE*2}x{SIDE*2}: give --resize'): list(from_rgba_stack(folder, tmp_path/'stack.png'))

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

# Colour profiles

def wide_gamut():
    "A profile that is not sRGB by name."
    from PIL import ImageCms
    return ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB')).tobytes().replace(b's\0R\0G\0B', b'w\0i\0d\0e').replace(b'sRGB', b'wide')

@pytest.fixture
def photo_with_profile(pictures):
    icc = wide_gamut()
    save(pictures/'p.png', BOTTOM[..., :3], icc_profile=icc)
    return pictures, icc

def profile(path):
    with Image.open(path) as im: return im.info.get('icc_profile')

def test_the_colour_profile_of_a_photograph_goes_with_all_that_is_made_of_it(photo_with_profile, tmp_path, caplog):
    folder, icc = photo_with_profile
    scene = from_pictures(folder/'p.png', folder/'m.png', [folder/'c1.png', folder/'c2.png'], id='x')
    assert scene.icc == icc and not caplog.records # completions without a profile have the picture's numbers
    written = write_scene(scene, tmp_path/'in')
    assert read_scene(written).icc == icc == profile(written/'x_comp1.png') and profile(written/'x_mask.png') is None
    fuse_folder(tmp_path/'in', tmp_path/'out', 'vote')
    assert profile(tmp_path/'out'/'x'/'x_fused.png') == icc
    for format in 'ora', 'psd', 'scenes': export(format, tmp_path/'in', tmp_path/format, tmp_path/'out')
    with zipfile.ZipFile(tmp_path/'ora'/'x.ora') as z:
        assert {profile(z.open(name)) for name in z.namelist() if name.endswith('.png')} == {icc}
    assert profile(tmp_path/'psd'/'x.psd') == icc == profile(tmp_path/'scenes'/'x'/'x_image.png')

def test_the_colour_profile_of_a_picture_in_memory_is_kept(photo_with_profile, tmp_path):
    folder, icc = photo_with_profile
    fused = fuse_pictures(Image.open(folder/'p.png'), REGION, [RED, BLUE], model='vote')
    fused.picture.save(tmp_path/'fused.png')
    assert profile(tmp_path/'fused.png') == icc

@pytest.mark.parametrize('which', ['manifest', 'stack', 'folder', 'memory'])
def test_completions_of_another_profile_are_named_in_one_line(photo_with_profile, which, caplog):
    folder, icc = photo_with_profile
    save(folder/'p.png', BOTTOM[..., :3])
    for k, a in (1, RED), (2, BLUE): save(folder/f'c{k}.png', a, icc_profile=icc)
    if which == 'manifest':
        (folder/'m.csv').write_text('id,image,mask,comp1,comp2\nprofiles,p.png,m.png,c1.png,c2.png\n')
        list(from_manifest(folder/'m.csv'))
    elif which == 'stack':
        for k, a in enumerate((RED, BLUE)): save(folder/'profiles'/f'layer_{k}.png', a, icc_profile=icc)
        list(from_rgba_stack(folder/'profiles', folder/'p.png'))
    elif which == 'memory': make_scene(Image.open(folder/'p.png'), REGION, [Image.open(folder/f'c{k}.png') for k in (1, 2)], id='in memory')
    else:
        written = write_scene(make_scene(BOTTOM[..., :3], REGION, [RED, BLUE], id='of profiles'), folder)
        for k in 1, 2: (written/f'of profiles_comp{k}.png').write_bytes((folder/f'c{k}.png').read_bytes())
        read_scene(written)
    (line,) = [r.getMessage() for r in caplog.records]
    assert 'is not that of the picture' in line and line.count(',') == 1 # both are named

def test_a_profile_of_grey_is_not_given_to_colours(tmp_path):
    grey = bytearray(wide_gamut())
    grey[16:20] = b'GRAY'
    assert icc_profile(save(tmp_path/'g.png', REGION, icc_profile=bytes(grey))) is None

# Layers and completions of another size than the photograph

def large(factor=2, extra=0): return np.random.default_rng(0).integers(0, 255, (SIDE*factor, SIDE*factor + extra, 3), dtype=np.uint8)

@pytest.mark.parametrize('extra, lines', [(0, 0), (1, 0), (20, 1)])
def test_layers_are_scaled_to_the_photograph(stack, tmp_path, caplog, extra, lines):
    folder, scene = stack
    save(tmp_path/'stack.png', large(extra=extra))
    report = convert('rgba-stack', folder, tmp_path/'out', tmp_path/'stack.png', resize=True)
    again = read_scene(tmp_path/'out'/'stack')
    assert report['done'] == ['stack'] and again.size == (2*SIDE, 2*SIDE + extra) and again.n == scene.n
    assert len([r for r in caplog.records if 'aspect' in r.getMessage()]) == lines
    smaller = torch.nn.functional.interpolate(again.alphas, scene.size, mode='area')
    assert ((smaller > .5) != (scene.alphas > .5)).float().mean() < .02
    inside = again.completions[0][:, again.alphas[0, 0] == 1]
    assert (inside.median(1).values - to_tensor(RED)[:3, 24, 18]).abs().max() < 2/255

def test_completions_of_a_manifest_are_scaled(pictures, tmp_path, capsys):
    save(pictures/'p.png', large())
    (pictures/'m.csv').write_text('id,image,mask,comp1,comp2\nx,p.png,m.png,c1.png,c2.png\n')
    with pytest.raises(FormatError, match=r'x: mask and 2 more: 48x48 px, but the picture has 96x96: give --resize'): list(from_manifest(pictures/'m.csv'))
    (scene,) = from_manifest(pictures/'m.csv', resize=True)
    assert scene.size == (96, 96) and set(scene.mask.unique().tolist()) == {0, 1} and scene.n == 2
    main_status = pytest.raises(SystemExit, main, ['convert', 'pix2gestalt', str(pictures), str(tmp_path/'out'), '--resize'])
    assert main_status.value.code == 1 and '--resize: pix2gestalt has sizes' in capsys.readouterr().err

def test_scaling_keeps_to_the_limit_of_a_scene(pictures, monkeypatch):
    monkeypatch.setattr('amodal_nb.formats.common.MAX_SCENE_PIXELS', 3*(2*SIDE)**2)
    save(pictures/'p.png', large())
    (pictures/'m.csv').write_text('id,image,mask,comp1,comp2\nx,p.png,m.png,c1.png,c2.png\n')
    with pytest.raises(AmodalError, match='over the limit'): list(from_manifest(pictures/'m.csv', resize=True))

# Labels of COCOA's and KINS's relatives

FRONT, BEHIND, BOTH = [8, 8, 28, 8, 28, 40, 8, 40], [20, 16, 44, 16, 44, 32, 20, 32], [28, 16, 44, 16, 44, 32, 28, 32]
IMAGES = [{'id': 7, 'file_name': 'p.png', 'width': SIDE, 'height': SIDE}]

@pytest.mark.parametrize('read, amodal, visible', [(from_cocoa, 'segmentation', 'visible_mask'), (from_kins, 'segmentation', 'inmodal_seg'), (from_kins, 'a_segm', 'i_segm')],
                         ids=['COCOA-cls and D2SA', 'KINS 2019', 'KINS 2020 without ranks'])
def test_the_order_follows_from_visible_masks(pictures, read, amodal, visible):
    objects = [{'id': 1, 'image_id': 7, amodal: [BEHIND], visible: [BOTH]}, {'id': 2, 'image_id': 7, amodal: [FRONT], visible: [FRONT]}]
    (pictures/'l.json').write_text(json.dumps({'images': IMAGES, 'annotations': objects, 'categories': []}))
    (scene,) = read(pictures/'l.json', pictures)
    assert scene.pairs == [(2, 1)]

@pytest.mark.parametrize('read', [from_cocoa, from_kins])
def test_labels_without_an_order_are_refused_with_one_line(pictures, read):
    objects = [{'id': i, 'image_id': 7, 'segmentation': [FRONT]} for i in range(50)]
    (pictures/'l.json').write_text(json.dumps({'images': IMAGES, 'annotations': objects}))
    errors = []
    with pytest.raises(FormatError, match='neither oco_id and ico_id nor a visible mask'): list(read(pictures/'l.json', on_error=lambda *e: errors.append(e)))
    assert not errors

SINGLE = {'image_id': 7, 'regions': [{'segmentation': FRONT, 'order': '10', 'name': 'a'}, {'segmentation': BEHIND, 'order': '9'}]}

@pytest.mark.parametrize('content, names', [(SINGLE, ['000000000007']), ([SINGLE, SINGLE], ['000000000007_0', '000000000007_1'])], ids=['one', 'list'])
@pytest.mark.parametrize('given', ['picture', 'folder', 'nothing'])
def test_annotations_without_a_list_of_pictures_are_read(pictures, content, names, given):
    save(pictures/'photos'/'COCO_val2014_000000000007.png', BOTTOM[..., :3])
    (pictures/'labels').mkdir()
    (pictures/'labels'/'000000000007.json').write_text(json.dumps(content))
    image = {'picture': pictures/'p.png', 'folder': pictures/'photos', 'nothing': None}[given]
    for src in pictures/'labels', pictures/'labels'/'000000000007.json':
        scenes = list(from_cocoa(src, image))
        assert [s.id for s in scenes] == names and len(scenes) == len(names)
        for s in scenes: # ranks are numbers, although texts; objects are shuffled
            (front, back), = s.pairs
            assert shuffled_order(s.id, 2)[front-1] == 1 and shuffled_order(s.id, 2)[back-1] == 0

def test_annotations_whose_picture_is_missing_say_so_once(pictures):
    (pictures/'labels').mkdir()
    (pictures/'labels'/'x.json').write_text(json.dumps(SINGLE))
    (pictures/'labels'/'damaged.json').write_text('{')
    (pictures/'labels'/'unordered.json').write_text(json.dumps({'regions': [{'segmentation': FRONT}, {'segmentation': BEHIND}], 'file_name': 'q.png'}))
    save(pictures/'photos'/'q.png', BOTTOM[..., :3])
    errors = {}
    scenes = list(from_cocoa(pictures/'labels', on_error=lambda id, e: errors.setdefault(id, []).append(str(e))))
    assert not scenes and {id: len(lines) for id, lines in errors.items()} == {'x': 1, 'damaged': 1, 'unordered': 1}
    assert 'with --image' in errors['x'][0] and 'depth_constraint' in errors['unordered'][0]

def test_objects_that_cannot_be_read_are_one_line(pictures):
    regions = [{'segmentation': FRONT, 'order': 1}] + [{'segmentation': 'nothing', 'order': k} for k in range(2, 102)]
    (pictures/'x.json').write_text(json.dumps({'image_id': 7, 'depth_constraint': '', 'regions': regions}))
    errors = []
    (scene,) = from_cocoa(pictures/'x.json', pictures/'p.png', on_error=lambda *e: errors.append(str(e[1])))
    assert scene.n == 1 and len(errors) == 1 and 'object 2' in errors[0] and '99 more objects' in errors[0]

def test_a_zip_of_a_version_that_is_not_known_is_named(stack, tmp_path):
    folder, _ = stack
    with zipfile.ZipFile(tmp_path/'s.zip', 'w') as z: z.write(folder/'layer_0.png', 'layer_0.png')
    data = bytearray((tmp_path/'s.zip').read_bytes())
    data[data.index(b'PK\1\2') + 6] = 99 # the version needed to extract, in the central directory
    (tmp_path/'s.zip').write_bytes(data)
    with pytest.raises(FormatError, match='s.zip: is no zip, or damaged'): list(from_rgba_stack(tmp_path/'s.zip'))

# Labels and tables as other programs and machines write them

def labels(pictures, write=lambda path, text: path.write_text(text), image=None, **annotation):
    "Write a label file of two ordered objects, the first in front."
    content = {'images': [IMAGES[0] | (image or {})], 'annotations': [{'image_id': 7, 'regions': SINGLE['regions'], 'depth_constraint': '1-2'} | annotation]}
    write(pictures/'l.json', json.dumps(content))
    return pictures/'l.json'

@pytest.mark.parametrize('how', [
    dict(image_id=7.), dict(image={'id': 7.}), dict(image={'file_name': 'val2014/p.png'}), dict(image={'file_name': 'images\\p.png'}),
    dict(write=lambda path, text: path.write_text(text, 'utf-8-sig')), dict(image={'width': float(SIDE), 'height': None})],
    ids=['image_id is a float', 'id is a float', 'folder of another machine', 'Windows', 'byte order mark', 'a size of one side'])
def test_labels_find_their_picture(pictures, how):
    (scene,) = from_cocoa(labels(pictures, **how), pictures)
    assert scene.id == 'p' and len(scene.pairs) == 1 and torch.equal(scene.image, to_tensor(BOTTOM[..., :3]))

def test_the_last_part_of_a_name_is_not_enough_where_two_pictures_share_it(pictures):
    src, errors = labels(pictures, image={'file_name': 'train/p.png'}), []
    content = json.loads(src.read_text())
    content['images'].append({'id': 8, 'file_name': 'val/p.png'})
    src.write_text(json.dumps(content))
    assert not list(from_cocoa(src, pictures, on_error=lambda *e: errors.append(str(e[1])))) and 'train/p.png: missing' in errors[0]

@pytest.mark.parametrize('how, line', [(dict(image_id='7'), "picture '7' is not among the images"),
                                       (dict(image={'width': 2*SIDE, 'height': 2*SIDE}), 'has 48x48 px, but its labels are of 96x96 px')])
def test_labels_of_another_picture_are_named(pictures, how, line):
    errors = []
    assert not list(from_cocoa(labels(pictures, **how), pictures, on_error=lambda *e: errors.append(str(e[1]))))
    assert len(errors) == 1 and line in errors[0]

@pytest.mark.parametrize('is_upright', [True, False])
def test_labels_turn_a_photograph_where_their_size_is_that_of_the_turned_one(pictures, is_upright):
    upright = np.concatenate([BOTTOM[..., :3], large(1)], 1) # 48 x 96
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(pictures/'p.png', exif=exif)
    size = dict(zip(('height', 'width'), upright.shape if is_upright else upright.shape[1::-1]))
    (scene,) = from_cocoa(labels(pictures, image=size), pictures)
    assert torch.equal(scene.image, to_tensor(np.array(upright if is_upright else np.rot90(upright))))

def test_annotations_of_pictures_that_are_not_listed_are_one_line(pictures):
    objects = [{'id': k, 'image_id': k, 'segmentation': [FRONT], 'visible_mask': [FRONT]} for k in range(6, 12)]
    (pictures/'l.json').write_text(json.dumps({'images': IMAGES, 'annotations': objects}))
    errors = []
    assert len(list(from_cocoa(pictures/'l.json', pictures, on_error=lambda *e: errors.append(str(e[1]))))) == 1
    assert len(errors) == 1 and 'picture 6 is not among the images' in errors[0] and '4 more annotations' in errors[0]

TABLE = 'id,image,mask,comp1,comp2,pairs\nx,p.png,m.png,c1.png,c2.png,2>1\n'

@pytest.mark.parametrize('data', [
    TABLE.replace(',', '\t').encode('utf-16'), ('sep=;\r\n' + TABLE.replace(',', ';')).encode(), TABLE.replace('2>1', '"2 > 1,"').encode(), TABLE.replace('\n', '\r').encode()],
    ids=['Unicode text of Excel', 'sep=', 'pairs with commas', 'old Mac'])
def test_tables_of_excel_are_read(pictures, data, caplog):
    (pictures/'m.csv').write_bytes(data)
    (scene,) = from_manifest(pictures/'m.csv')
    assert scene.pairs == [(2, 1)] and scene.mask.any() and not caplog.records

def test_absolute_paths_are_read_in_the_folder_of_a_manifest_alone(pictures):
    (pictures/'m.csv').write_text(TABLE.replace('c1.png', str(pictures/'c1.png')))
    (scene,) = from_manifest(pictures/'m.csv')
    assert torch.equal(scene.completions[0], to_tensor(RED)[:3])
    for outside in '/etc/c1.png', 'C:\\me\\c1.png', f'{pictures}/../c1.png':
        (pictures/'m.csv').write_text(TABLE.replace('c1.png', outside))
        with pytest.raises(FormatError, match='is absolute|leads out'): list(from_manifest(pictures/'m.csv'))

def test_a_column_of_pictures_that_is_not_read_is_named(pictures, caplog):
    (pictures/'m.csv').write_text(TABLE.replace('mask', 'maks'))
    (scene,) = from_manifest(pictures/'m.csv')
    (record,) = caplog.records
    assert "'maks' names pictures, but what is read is id, image, partial, mask" in record.getMessage() and not scene.mask.any()

@pytest.mark.parametrize('text, line', [(TABLE.replace('2>1', '2>1,c3.png'), 'more cells than there are columns'), (TABLE.replace('2>1', 'c2>c1'), "form of pairs: '2>1 3>1'"),
                                        (TABLE.replace('c1.png,c2.png', 'a.png,b.png'), 'see above; paths count from'), ('PK\3\4', 'save the table as CSV')])
def test_what_a_manifest_lacks_is_said(pictures, text, line):
    (pictures/'m.csv').write_text(text)
    with pytest.raises(FormatError, match=line): list(from_manifest(pictures/'m.csv', on_error=lambda id, e: None if 'missing' in str(e) else raise_format_error(id, e)))

def test_copies_of_layers_are_named_and_capitals_do_not_matter(stack, caplog):
    folder, _ = stack
    (expected,) = from_rgba_stack(folder)
    (folder/'layer_1.png').rename(folder/'LAYER_1.PNG')
    for name in 'layer_1 (1).png', 'layer 2.png', 'photo.png': save(folder/name, RED)
    (scene,) = from_rgba_stack(folder)
    (record,) = caplog.records
    assert record.getMessage().endswith(': layer 2.png, layer_1 (1).png: passed over, as the names are not those of layers')
    assert torch.equal(scene.completions, expected.completions)

def test_a_flattened_picture_is_found_without_a_layer_that_hides_it(stack):
    folder, scene = stack
    save(folder/'layer_0.png', to_uint8(scene.image))
    (again,) = from_rgba_stack(folder)
    assert again.background is None and torch.equal(again.image, scene.image) and torch.equal(again.completions, scene.completions)
    assert not again.mask.any() and again.pairs == scene.pairs

@pytest.mark.parametrize('format', ['pix2gestalt', 'mulan', 'cocoa', 'openraster', 'rgba-stack'])
def test_what_macos_adds_to_a_folder_is_ignored(stack, pictures, format):
    folder, scene = stack
    src = pictures/'source'
    if format == 'pix2gestalt':
        for k, a in enumerate((RED, BLUE)): save(src/f'o{k}.png', a)
    elif format in ('mulan', 'rgba-stack'):
        for k, a in enumerate((BOTTOM, RED, BLUE)): save(src/(f'x-layer_{k}.png' if format == 'mulan' else f'layer_{k}.png'), a)
    elif format == 'openraster': export('ora', write_scene(scene, pictures/'in').parent, src)
    else:
        src.mkdir()
        (src/'a.json').write_text(json.dumps(SINGLE))
    for p in [*src.iterdir()]: (src/f'._{p.name}').write_bytes(b'\0\5\x16\7')
    (src/'.DS_Store').write_bytes(b'\0')
    report = convert(format, src, pictures/'out', pictures/'p.png' if format in ('pix2gestalt', 'cocoa') else None)
    assert len(report['done']) == 1 and not report['failed']

def test_cutouts_of_a_photograph_that_was_not_turned_are_named(pictures):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(pictures/'p.png', BOTTOM[:30, :, :3], exif=exif)
    save(pictures/'c1.png', RED[:30])
    with pytest.raises(SceneError, match="48x30 but the picture is 30x48: turn one of them by 90 degrees"): from_pictures(pictures/'p.png', None, [pictures/'c1.png'])

class OnGpu(torch.Tensor):
    "Refuses what a tensor on a GPU refuses: to become an array of NumPy's. A stand-in, as tests need no GPU."
    def cpu(self): return self.as_subclass(torch.Tensor)
    def numpy(self, *args, **options): raise TypeError("can't convert cuda:0 device type tensor to numpy")

def test_tensors_on_a_gpu_are_copied_from_it(caplog):
    picture, mask, *rest = (torch.from_numpy(np.atleast_3d(a)).movedim(2, 0) for a in (BOTTOM[..., :3], REGION, RED, BLUE[..., :3], BOTTOM[..., :3]))
    fused = [fuse_pictures(move(picture), move(mask), list(map(move, rest[:2])), move(rest[2]), model='vote') for move in (lambda t: t, lambda t: t.as_subclass(OnGpu))]
    assert torch.equal(fused[0].weights, fused[1].weights) and torch.equal(fused[0].result, fused[1].result)
    with pytest.raises(TypeError): np.asarray(picture.as_subclass(OnGpu))

@pytest.mark.parametrize('ground', [0, 255])
def test_alpha_that_is_1_everywhere_is_no_alpha(pictures, ground):
    plain = [np.where(a[..., 3:] > 0, a[..., :3], ground).astype(np.uint8) for a in (RED, BLUE)]
    rgba = [np.dstack([a, np.full((SIDE, SIDE), 255, np.uint8)]) for a in plain]
    expected = from_pictures(pictures/'p.png', None, plain)
    in_memory = from_pictures(pictures/'p.png', None, [Image.fromarray(rgba[0]), rgba[1]])
    in_files = from_pictures(pictures/'p.png', None, [save(pictures/f'c{k}.png', a) for k, a in enumerate(rgba)])
    assert expected.alphas.mean() < .5 and all(torch.equal(s.alphas, expected.alphas) for s in (in_memory, in_files))

def test_a_zip_with_backslashes_is_a_folder(stack, tmp_path):
    folder, _ = stack
    with zipfile.ZipFile(tmp_path/'s.zip', 'w') as z:
        for p in folder.glob('layer_*'):
            entry = zipfile.ZipInfo('x')
            entry.filename = f'my stack\\{p.name}'
            z.writestr(entry, p.read_bytes())
    (scene,) = from_rgba_stack(tmp_path/'s.zip')
    assert {*scene.object_names} < {p.stem for p in folder.iterdir()}
