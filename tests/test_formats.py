"Other systems' files in, layered files out: small files in each documented layout, hostile and half-readable ones, and readers that are not ours."
import copy, json, os, shutil, stat, subprocess, tarfile, zipfile
from xml.etree import ElementTree
import numpy as np, pytest, torch
from PIL import Image
from amodal_nb.formats import stacks as stacks_module
from amodal_nb.app.cli import main
from amodal_nb.formats.common import shuffled_order
from amodal_nb.formats.convert import CONVERT_FORMATS, convert
from amodal_nb.formats.labels import label_mask, rle_mask
from amodal_nb.fusion.bulk import fuse_folder
from amodal_nb.fusion.predict import fuse_scene, FusedScene, harmonised_scene
from amodal_nb.synthesis.composer import Composer
from amodal_nb.formats.export import EXPORT_FORMATS, read_fused
from amodal_nb.formats.layers import fusion_layers, visible_composite, patched_fraction
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.files import assets
from amodal_nb.core.pictures import to_uint8
from amodal_nb.scenes.folders import find_scenes, read_scene

H, W = 32, 40  # px

# A scene: a picture of two blocks on noise, the second in front where they cross

def noise(*shape, seed=0): return np.random.default_rng(seed).integers(30, 226, shape, dtype=np.uint8)
BOXES = (4, 6, 20, 16), (16, 12, 18, 14)  # x, y, w, h
BACK = noise(H, W, 3)

def block(k):
    "RGBA [H,W,4]."
    (x, y, w, h), layer = BOXES[k], np.zeros((H, W, 4), np.uint8)
    layer[y:y+h, x:x+w] = np.dstack([noise(h, w, 3, seed=k+1), np.full((h, w, 1), 255)])
    return layer

def picture():
    p = BACK.copy()
    for layer in block(0), block(1): p[layer[..., 3] > 0] = layer[layer[..., 3] > 0, :3]
    return p

def both(): return (block(0)[..., 3] > 0) & (block(1)[..., 3] > 0)

def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path

def polygon(k):
    x, y, w, h = BOXES[k]
    return [x, y, x+w, y, x+w, y+h, x, y+h]

def rle(k):
    from pycocotools import mask
    r = mask.encode(np.asfortranarray((block(k)[..., 3] > 0).astype(np.uint8)))
    return {'size': r['size'], 'counts': r['counts'].decode()}

# Sources: each writes its layout into a folder and gives (src, image)

def stack_of(*layers, name='layer_{}.png'):
    def write(d):
        for i, layer in enumerate(layers): save(d/'shot'/name.format(i), layer)
        return d/'shot', None
    return write

def zipped(write):
    def write_zip(d):
        src, image = write(d)
        with zipfile.ZipFile(d/'shot.zip', 'w') as z:
            for p in src.iterdir(): z.write(p, p.name)
        return d/'shot.zip', image
    return write_zip

def mulan(d):
    for i, layer in enumerate([BACK, block(0), block(1)]): save(d/'mulan'/f'shot-layer_{i}.png', layer)
    return d/'mulan', None

def crop(k, margin):
    "RGBA crop with a margin, beyond the picture's edge too, and its (row, column)."
    (x, y, w, h), m = BOXES[k], margin
    big = np.zeros((H+2*m, W+2*m, 4), np.uint8)
    big[m:-m, m:-m] = block(k)
    return big[y:y+h+2*m, x:x+w+2*m], (y-m, x-m)

def offsets(d):
    found = {}
    for k in 0, 1:
        rgba, where = crop(k, 9)
        save(d/'out'/'shot'/'amodal_completions'/f'toy car_{k}.jpg', rgba[..., :3], quality=90)
        save(d/'out'/'shot'/'amodal_segmentations'/f'toy car_{k}.png', np.repeat(rgba[..., 3:], 3, 2))
        found[f'toy car_{k}'] = list(where)
    (d/'out'/'shot'/'offsets.json').write_text(json.dumps(found, sort_keys=True, indent=4))
    return d/'out', save(d/'in'/'shot.png', picture()).parent

def offsets_rgba(d):
    found = {}
    for k in 0, 1:
        rgba, where = crop(k, 9)
        save(d/'shot'/'amodal_completions_processed'/f'_{k}.png', rgba)
        found[f'car_{k}'] = list(where)
    (d/'shot'/'offsets.json').write_text(json.dumps(found))
    return d/'shot', save(d/'in.png', picture())

def pix2gestalt(d):
    for k in 0, 1:
        x, y, w, h = BOXES[k]
        white = Image.fromarray(np.where(block(k)[..., 3:] > 0, block(k)[..., :3], 255)[y-4:y+20, x-4:x+22])
        (d/'shot').mkdir(exist_ok=True)
        white.resize((256, 256), Image.Resampling.NEAREST).save(d/'shot'/f'{k}.png')
    (d/'shot'/'crops.json').write_text(json.dumps({str(k): [BOXES[k][0]-4, BOXES[k][1]-4, 26, 24] for k in (0, 1)}))
    return d/'shot', save(d/'in.png', picture())

def cocoa(d):
    save(d/'coco'/'val2014'/'shot.png', picture())
    (src := d/'coco'/'annotations'/'COCO_amodal_val2014.json').parent.mkdir()
    regions = [{'segmentation': polygon(1), 'order': 1, 'name': 'a', 'isStuff': 0, 'occlude_rate': 0, 'area': 252},
               {'segmentation': rle(0), 'order': 2, 'name': 'b', 'isStuff': 0, 'occlude_rate': .2, 'area': 320}]
    src.write_text(json.dumps({'images': [{'id': 5, 'file_name': 'shot.png', 'width': W, 'height': H}],
                               'annotations': [{'id': 9, 'image_id': 5, 'size': 2, 'depth_constraint': '1-2', 'regions': regions}]}))
    return src, None

def kins(d):
    save(d/'KINS'/'image_2'/'shot.png', picture())
    src = d/'KINS'/'update_test_2020.json'
    objects = [{'id': k, 'image_id': 5, 'category_id': 4, 'a_segm': [polygon(k)], 'i_segm': [polygon(k)], 'oco_id': 1, 'ico_id': 2-k} for k in (0, 1)]
    src.write_text(json.dumps({'images': [{'id': 5, 'file_name': 'shot.png', 'width': W, 'height': H}], 'annotations': objects,
                               'categories': [{'id': 4, 'name': 'car'}]}))
    return src, None

def instaorder(d):
    save(d/'coco'/'val2017'/'shot.png', picture())
    (src := d/'coco'/'annotations'/'InstaOrder_val2017.json').parent.mkdir()
    src.write_text(json.dumps({'annotations': [{'image_id': 5, 'instance_ids': [70, 71], 'occlusion': [{'order': '0<1 & 1<0'}],
                                                'depth': [{'order': '1<0', 'overlap': False, 'count': 2}]}]}))
    src.with_name('instances_val2017.json').write_text(json.dumps({'images': [{'id': 5, 'file_name': 'shot.png', 'width': W, 'height': H}],
        'annotations': [{'id': 70+k, 'image_id': 5, 'segmentation': [polygon(k)], 'category_id': 1, 'iscrowd': 0} for k in (0, 1)]}))
    return src, None

def manifest(d, suffix='.csv'):
    for k in 0, 1: save(d/'own'/f'c{k}.png', block(k))
    save(d/'own'/'p.png', picture())
    save(d/'own'/'m.png', both().astype(np.uint8)*255)
    (d/'own'/'set.csv').write_text('id,image,mask,comp1,comp2,pairs\nshot,p.png,m.png,c0.png,c1.png,2>1\n')
    (d/'own'/'set.json').write_text(json.dumps([{'id': 'shot', 'image': 'p.png', 'mask': 'm.png', 'completions': ['c0.png', 'c1.png'], 'pairs': [[2, 1]]}]))
    return d/'own'/f'set{suffix}', None

opaque = np.dstack([BACK, np.full((H, W, 1), 255, np.uint8)])
flat = np.dstack([picture(), np.full((H, W, 1), 255, np.uint8)])
layers = stack_of(opaque, block(0), block(1))

def deocclusion(d):
    for name, a in ('bkg', BACK), ('obj_000', block(1)), ('obj_001', block(0)): save(d/'src'/'shot'/f'{name}.png', a)
    save(d/'src'/'shot.png', picture())
    return d/'src', None

def art(d):
    for name, a in ('bg', BACK), ('layer_0', block(0)), ('layer_1', block(1)), ('whole', flat): save(d/'src'/'shot'/f'{name}.png', a)
    return d/'src', None

def reveallayer(d):
    for name, a in ('bg', opaque), ('fg', flat), ('layer_0', block(0)), ('layer_1', block(1)): save(d/'src'/'shot'/f'{name}_rgba.png', a)
    save(d/'src'/'shot'/'resized_full_image.png', picture())
    return d/'src', None

def reveallayer_json(d):
    for name, a in ('background', BACK), ('layer_0', block(0)), ('layer_1', block(1)), ('full_image', picture()): save(d/'src'/f'{name}.png', a)
    record = {'imgid': 'shot', 'full_image': 'full_image.png', 'background': 'background.png', 'LayerInfoRaw': ['layer_0.png', 'layer_1.png'],
              'detections': [{'bbox': [x, y, x+w, y+h]} for x, y, w, h in BOXES[:2]]}
    (d/'src'/'bench.json').write_text(json.dumps([record]))
    return d/'src'/'bench.json', None

def openraster(d):
    from amodal_nb.formats.layers import Layer, write_ora
    parts = [torch.from_numpy(a.copy()).permute(2, 0, 1)/255 for a in (block(1), block(0), opaque)]
    write_ora(d/'shot.ora', [Layer(f'layer {k}', t[:3], t[3:]) for k, t in enumerate(parts)])
    return d/'shot.ora', None

def psd(d):
    from psd_tools import PSDImage
    file = PSDImage.new('RGBA', (W, H))
    for k, a in enumerate((opaque, block(0), block(1))): file.create_pixel_layer(Image.fromarray(a), name=f'layer {k}')
    file.save(d/'shot.psd')
    return d/'shot.psd', None

def see_through(d):
    src, _ = psd(d)
    save(d/'shot'/'src_img.png', flat)
    return src, None

# format, source, pairs, whether a background is known, largest error of a completion's colour
SOURCES = {
    'layers in a folder': ('rgba-stack', layers, [(2, 1)], True, 0),
    'four digits, LayerD': ('rgba-stack', stack_of(opaque, block(0), block(1), name='{:04}.png'), [(2, 1)], True, 0),
    'ComfyUI': ('rgba-stack', stack_of(opaque, block(0), block(1), name='ComfyUI_{:05}_.png'), [(2, 1)], True, 0),
    'a zip': ('rgba-stack', zipped(layers), [(2, 1)], True, 0),
    'slot 0 flattened': ('rgba-stack', stack_of(flat, opaque, block(0), block(1), name='{}.png'), [(2, 1)], True, 0),
    'mulan': ('mulan', mulan, [(2, 1)], True, 0),
    'deocclusion': ('deocclusion', deocclusion, [(2, 1)], True, 0),
    'art': ('art', art, [(2, 1)], True, 0),
    'reveallayer': ('reveallayer', reveallayer, [(2, 1)], True, 0),
    'reveallayer, JSON': ('reveallayer', reveallayer_json, [(2, 1)], True, 0),
    'openraster': ('openraster', openraster, [(2, 1)], True, 0),
    'psd': ('psd', psd, [(2, 1)], True, 0),
    'see-through': ('see-through', see_through, [(2, 1)], True, 0),
    'comfyui': ('comfyui', stack_of(opaque, block(0), block(1), name='ComfyUI_{:05}_.png'), [(2, 1)], True, 0),
    'comfyui, slot 0': ('comfyui', stack_of(flat, opaque, block(0), block(1), name='ComfyUI_{:05}_.png'), [(2, 1)], True, 0),
    'offsets': ('offsets', offsets, None, False, .25), # JPEG of noise
    'offsets, RGBA': ('offsets', offsets_rgba, None, False, 0),
    'pix2gestalt': ('pix2gestalt', pix2gestalt, None, False, None),
    'cocoa': ('cocoa', cocoa, [(1, 2)], False, None),
    'kins': ('kins', kins, [(2, 1)], False, None),
    'instaorder': ('instaorder', instaorder, [(1, 2), (2, 1)], False, None),
    'csv': ('manifest', manifest, [(2, 1)], False, 0),
    'json': ('manifest', lambda d: manifest(d, '.json'), [(2, 1)], False, 0),
}

def amodal(*args):
    "The command's exit status."
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code or 0
    return 0

def options(image): return () if image is None else ('--image', image)

@pytest.mark.parametrize('name', SOURCES)
def test_each_layout_becomes_a_scene_that_fuses(name, tmp_path):
    format, write, pairs, background, error = SOURCES[name]
    src, image = write(tmp_path)
    assert amodal('convert', format, src, tmp_path/'scenes', *options(image), '--mask', 'overlaps') == 0
    scene = read_scene(tmp_path/'scenes'/'shot')
    number = [0, 1] if pairs is None or format == 'manifest' else shuffled_order('shot', 2) # of the objects in the files
    known = scene.pairs and [(number[f-1]+1, number[b-1]+1) for f, b in scene.pairs]
    assert known == pairs and (scene.background is not None) == background and scene.n == 2
    assert np.array_equal((scene.image*255).round().byte().numpy().transpose(1, 2, 0), picture())
    region = scene.mask[0].numpy() > 0
    if format == 'instaorder': assert region[both()].all() and region.sum() > both().sum() # the seam beside it
    else: assert np.array_equal(region, both())
    if error is not None:
        for k in 0, 1:
            seen = block(number[k])[..., 3] > 0
            assert np.array_equal(scene.alphas[k, 0].numpy() > .5, seen)
            got = scene.completions[k].numpy().transpose(1, 2, 0)[seen]
            assert np.abs(got - block(number[k])[..., :3][seen]/255).mean() <= error + 1e-6
    assert json.loads((tmp_path/'scenes'/'report.json').read_text()) == {'done': ['shot'], 'failed': [], 'left_out': [], 'nothing_to_restore': []}
    assert fuse_folder(tmp_path/'scenes', tmp_path/'fused', 'vote')['done'] == ['shot']

COMPOSITES = 'layers in a folder', 'four digits, LayerD', 'ComfyUI', 'a zip', 'mulan', 'comfyui' # whose picture is made of the layers

@pytest.mark.parametrize('name', SOURCES)
def test_a_photograph_stays_whole_without_a_mask(name, tmp_path):
    format, write, *_ = SOURCES[name]
    src, image = write(tmp_path)
    assert amodal('convert', format, src, tmp_path/'scenes', *options(image)) == 0
    scene = read_scene(tmp_path/'scenes'/'shot')
    hidden = scene.mask[0].numpy() > 0
    has_own_mask = format == 'manifest'
    assert np.array_equal(hidden, both()) if name in COMPOSITES or has_own_mask else not hidden.any()
    if not hidden.any(): assert torch.equal(scene.partial, scene.image)

def test_a_photograph_beside_a_stack_stays_whole(tmp_path):
    src, _ = layers(tmp_path)
    save(tmp_path/'photo.png', picture())
    assert amodal('convert', 'rgba-stack', src, tmp_path/'scenes', '--image', tmp_path/'photo.png') == 0
    assert not read_scene(tmp_path/'scenes'/'shot').mask.any()
    names = {p.name for p in (tmp_path/'scenes'/'shot').iterdir()}
    assert 'shot_mask.png' not in names and 'shot_partial.png' not in names

def test_pix2gestalt_is_placed_by_its_crop(tmp_path):
    src, image = pix2gestalt(tmp_path)
    convert('pix2gestalt', src, tmp_path/'scenes', image)
    scene = read_scene(tmp_path/'scenes'/'shot')
    for k in 0, 1:
        want = block(k)[..., 3] > 0
        assert np.array_equal(scene.alphas[k, 0].numpy() > .5, want)
        assert np.abs(scene.completions[k].numpy().transpose(1, 2, 0)[want] - block(k)[want, :3]/255).mean() < .1 # scaled up and down

def test_labels_show_what_the_picture_shows(tmp_path):
    "Where a label says that an object is hidden, both of a pair have the picture's pixels: nothing tells which is in front."
    src, image = cocoa(tmp_path)
    scene, = CONVERT_FORMATS['cocoa'](src)
    assert np.array_equal(scene.completions[0].numpy()[:, both()], scene.completions[1].numpy()[:, both()])
    assert np.array_equal(scene.completions[0].numpy()[:, both()]*255, picture().transpose(2, 0, 1)[:, both()].astype(np.float32))

def test_masks_are_those_of_pycocotools():
    from pycocotools import mask
    rng = np.random.default_rng(0)
    for _ in range(50):
        p = (rng.random(2*rng.integers(3, 9))*50 - 5).tolist()
        want = mask.decode(mask.merge(mask.frPyObjects([p], H, W)))
        assert np.array_equal(label_mask(p, (H, W), '')[0].numpy(), want)
        r = mask.encode(np.asfortranarray(want))
        assert np.array_equal(rle_mask({'size': [H, W], 'counts': r['counts'].decode()}, (H, W)), want)

def test_pictures_of_cocos_layouts_are_found(tmp_path):
    src, _ = cocoa(tmp_path)
    save(tmp_path/'coco'/'train2014'/'shot.png', picture())
    report = convert('cocoa', src, tmp_path/'a')
    assert 'in several folders' in report['failed'][0]['reason'] and '--image' in report['failed'][0]['reason']
    assert convert('cocoa', src, tmp_path/'b', tmp_path/'coco'/'val2014')['done'] == ['shot']

def test_grey_photographs_are_welcome(tmp_path):
    src, _ = cocoa(tmp_path)
    Image.fromarray(picture()).convert('L').save(tmp_path/'coco'/'val2014'/'shot.png')
    assert convert('cocoa', src, tmp_path/'scenes')['done'] == ['shot']

def test_a_given_mask_counts(tmp_path):
    src, _ = layers(tmp_path)
    m = np.zeros((H, W), np.uint8)
    m[2:5, 2:9] = 255
    save(tmp_path/'masks'/'shot.png', m)
    assert amodal('convert', 'rgba-stack', src, tmp_path/'scenes', '--mask', tmp_path/'masks') == 0
    assert np.array_equal(read_scene(tmp_path/'scenes'/'shot').mask[0].numpy()*255, m)

def test_pictures_in_which_nobody_hides_anybody_are_no_failure(tmp_path):
    src, _ = kins(tmp_path)
    d = json.loads(src.read_text())
    d['images'].append({'id': 6, 'file_name': 'alone.png', 'width': W, 'height': H})
    d['annotations'].append(d['annotations'][0] | {'id': 8, 'image_id': 6})
    src.write_text(json.dumps(d))
    save(tmp_path/'KINS'/'image_2'/'alone.png', picture())
    assert amodal('convert', 'kins', src, tmp_path/'scenes', '--mask', 'overlaps') == 0
    report = json.loads((tmp_path/'scenes'/'report.json').read_text())
    assert report['done'] == ['shot'] and report['nothing_to_restore'] == ['alone']

# Half-readable sources

def damage(path): path.write_bytes(path.read_bytes()[:60])

HALF = {
    'a layer': (layers, 'rgba-stack', lambda d: damage(d/'shot'/'layer_1.png'), 'layer_1.png'),
    'a layer of another size': (layers, 'rgba-stack', lambda d: save(d/'shot'/'layer_1.png', block(0)[:9]), 'layer_1.png'),
    'a crop': (offsets, 'offsets', lambda d: damage(d/'out'/'shot'/'amodal_completions'/'toy car_1.jpg'), 'toy car_1.jpg'),
    'a whole': (pix2gestalt, 'pix2gestalt', lambda d: damage(d/'shot'/'1.png'), '1.png'),
    'a region': (cocoa, 'cocoa', lambda d: edit(d/'coco'/'annotations'/'COCO_amodal_val2014.json', ('annotations', 0, 'regions', 0, 'segmentation'), [1e9]*6), 'object 1'),
    'a completion': (manifest, 'manifest', lambda d: damage(d/'own'/'c0.png'), 'c0.png'),
}

def edit(path, where, value):
    d = json.loads(path.read_text())
    at = d
    for k in where[:-1]: at = at[k]
    at[where[-1]] = value
    path.write_text(json.dumps(d))

@pytest.mark.parametrize('name', HALF)
def test_what_can_be_read_is_read_and_the_rest_is_named(name, tmp_path, capsys):
    write, format, harm, named = HALF[name]
    src, image = write(tmp_path)
    harm(tmp_path)
    mask = save(tmp_path/'mask.png', both().astype(np.uint8)*255)
    args = () if format == 'manifest' else ('--mask', mask)
    assert amodal('convert', format, src, tmp_path/'scenes', *options(image), *args) == 1
    report = json.loads((tmp_path/'scenes'/'report.json').read_text())
    assert report['done'] == ['shot'] and [named in o['reason'] for o in report['left_out']] == [True] and not report['failed']
    assert named in capsys.readouterr().err
    scene = read_scene(tmp_path/'scenes'/'shot')
    assert scene.n - len(scene.empty) == (2 if 'missing' in name else 1)

def test_a_bad_scene_does_not_stop_the_others(tmp_path):
    for name in 'a', 'b', 'c': stack_of(opaque, block(0), block(1))(tmp_path/'src'/name)
    for name in 'a', 'b', 'c': os.rename(tmp_path/'src'/name/'shot', tmp_path/'src'/f'{name}1')
    for name in 'a', 'b', 'c': (tmp_path/'src'/name).rmdir()
    for p in (tmp_path/'src'/'b1').iterdir(): damage(p)
    (tmp_path/'src'/'d.zip').write_bytes(b'PK')
    assert amodal('convert', 'rgba-stack', tmp_path/'src', tmp_path/'scenes') == 1
    report = json.loads((tmp_path/'scenes'/'report.json').read_text())
    assert report['done'] == ['a1', 'c1'] and {o['id'] for o in report['failed']} == {'b1', 'd'}
    assert {p.name for p in (tmp_path/'scenes').iterdir()} == {'a1', 'c1', 'report.json'}

def test_a_scene_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    from amodal_nb.scenes import folders
    src, _ = layers(tmp_path)
    write, count = folders.write_picture, []
    def full(path, *args):
        count.append(path)
        if len(count) == 4: raise OSError(28, 'No space left on device', str(path))
        write(path, *args)
    monkeypatch.setattr(folders, 'write_picture', full)
    assert amodal('convert', 'rgba-stack', src, tmp_path/'scenes') == 1
    assert len(count) == 4 and [p.name for p in (tmp_path/'scenes').iterdir()] == ['report.json']
    assert 'No space left' in json.loads((tmp_path/'scenes'/'report.json').read_text())['failed'][0]['reason']

# Hostile sources

def test_no_entry_of_a_zip_leaves_it(tmp_path, capsys):
    src, _ = zipped(layers)(tmp_path)
    with zipfile.ZipFile(src, 'a') as z:
        for name in '../evil.png', f'{tmp_path}/evil.png', 'a/../../evil.png', 'C:\\evil.png': z.writestr(name, b'x')
        link = zipfile.ZipInfo('layer_3.png')
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, '/etc/passwd')
    before = {p for p in tmp_path.rglob('*')}
    assert amodal('convert', 'rgba-stack', src, tmp_path/'scenes') == 1
    report = json.loads((tmp_path/'scenes'/'report.json').read_text())
    assert report['done'] == ['shot'] and len(report['left_out']) == 1
    assert 'likewise 4 more entries' in report['left_out'][0]['reason']
    assert {p for p in tmp_path.rglob('*') if not p.is_relative_to(tmp_path/'scenes')} == before
    assert read_scene(tmp_path/'scenes'/'shot').n == 2

def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    src, _ = zipped(layers)(tmp_path)
    read = []
    monkeypatch.setattr(zipfile.ZipFile, 'extract', lambda self, entry, *args: read.append(entry.filename))
    monkeypatch.setattr(stacks_module, 'MAX_UNPACKED_BYTES', 1000)
    report = convert('rgba-stack', src, tmp_path/'scenes', report_line=lambda line: None)
    assert not read and '1000 bytes' in report['failed'][0]['reason']
    monkeypatch.setattr(stacks_module, 'MAX_UNPACKED_BYTES', 2**32)
    monkeypatch.setattr(stacks_module, 'MAX_ENTRY_BYTES', 100)
    convert('rgba-stack', src, tmp_path/'scenes', report_line=lambda line: None)
    assert not read

def test_an_entry_that_lies_about_its_size_gives_no_more_than_it_says(tmp_path):
    src = tmp_path/'shot.zip'
    with zipfile.ZipFile(src, 'w', zipfile.ZIP_DEFLATED) as z: z.writestr('layer_0.png', b'0'*10_000_000)
    data = src.read_bytes()
    assert data.count((10_000_000).to_bytes(4, 'little')) == 2 # in the local header and in the directory
    src.write_bytes(data.replace((10_000_000).to_bytes(4, 'little'), (50).to_bytes(4, 'little')))
    report = convert('rgba-stack', src, tmp_path/'scenes', report_line=lambda line: None)
    assert report['done'] == [] and any('cannot be unpacked' in o['reason'] for o in report['failed'])

def test_pictures_too_many_or_too_large_are_refused_by_their_headers(tmp_path):
    (tmp_path/'shot').mkdir()
    Image.new('RGB', (8000, 8000)).save(tmp_path/'shot'/'0.png')
    for i in 1, 2: os.link(tmp_path/'shot'/'0.png', tmp_path/'shot'/f'{i}.png')
    report = convert('rgba-stack', tmp_path/'shot', tmp_path/'scenes', report_line=lambda line: None)
    assert 'over the limit' in report['failed'][0]['reason']

VALUES = [None, True, -1, 0, 2, 1e300, float('nan'), float('inf'), 10**400, '', 'x', '../../etc/passwd', '/etc/passwd', 'a\0b', 'x'*5000, [], {}, [[]], [None],
          [1e9, 0, 0, 1e9, 3, 3], {'size': [H, W], 'counts': ''}, {'size': [H, W], 'counts': 'o'*99}, {'size': [10**9, 10**9], 'counts': [10**18]}]

def places(d, at=()):
    "Every place in JSON; of a list of numbers, the first two and the last: the corners of a polygon are read alike."
    yield at
    entries = list(d.items() if isinstance(d, dict) else enumerate(d) if isinstance(d, list) else ())
    if isinstance(d, list) and all(isinstance(v, (int, float)) for v in d) and len(d) > 3: entries = [*entries[:2], entries[-1]]
    for k, v in entries: yield from places(v, (*at, k))

JSONS = {'offsets': (offsets_rgba, 'offsets.json'), 'pix2gestalt': (pix2gestalt, 'crops.json'), 'cocoa': (cocoa, 'COCO_amodal_val2014.json'),
         'kins': (kins, 'update_test_2020.json'), 'instaorder': (instaorder, 'InstaOrder_val2017.json'), 'instances': (instaorder, 'instances_val2017.json'),
         'manifest': (lambda d: manifest(d, '.json'), 'set.json')}

@pytest.mark.parametrize('name', JSONS)
def test_json_of_any_shape_gives_a_line_and_nothing_outside(name, tmp_path, monkeypatch):
    "Every value of every file, replaced by every hostile one: a report, or one line; never another exception, never another file."
    monkeypatch.setattr(os, 'fsync', lambda fd: None) # a thousand scenes
    write, file = JSONS[name]
    (tmp_path/'src').mkdir()
    src, image = write(tmp_path/'src')
    path, = (tmp_path/'src').rglob(file)
    good = json.loads(path.read_text())
    format = 'instaorder' if name == 'instances' else name
    before, outcomes = {p for p in tmp_path.rglob('*')}, set()
    def one_line(text): assert '\n' not in text
    for where in places(good):
        for value in VALUES:
            d = copy.deepcopy(good)
            if where:
                at = d
                for k in where[:-1]: at = at[k]
                at[where[-1]] = value
            else: d = value
            path.write_text(json.dumps(d))
            try: report = convert(format, src, tmp_path/'scenes', image, overwrite=True, report_line=one_line)
            except AmodalError as e:
                outcomes.add('refused')
                one_line(str(e))
            else: outcomes.add('failed' if report['failed'] else 'done')
            assert {p for p in tmp_path.rglob('*') if not p.is_relative_to(tmp_path/'scenes')} == before, (where, value)
    assert {'refused', 'failed'} <= outcomes or name in ('offsets', 'pix2gestalt')

def compressed(*counts):
    "Numbers in COCO's compressed form, whatever their size: no difference is taken, as there are at most three."
    text = ''
    for value in counts:
        while True:
            bits, value = value & 31, value >> 5
            ends = value == (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32*(not ends))
            if ends: break
    return text

N = H*W
COUNTS = { # run lengths that are no mask of H*W pixels
    'wrap around 2**64': [2**62, 2**62, 2**62, 2**62, N], 'wrap around, beginning with 1s': [0, 2**62, 2**62, 2**62, 2**62, N],
    'wrap around below 0': [2**63, 2**63, N], 'wrap around 2**63': [2**63-1, 2**63-1, N+2], 'a sum below 0': [2**62, 2**62, N],
    'larger than 64 bits': [2**64 + N], 'huge': [10**400, N], 'larger than the canvas': [N+1], 'below 0': [-1, N+1], 'too many': [0]*(N+1) + [N],
    'too few pixels': [N-1], 'none': [], 'floats': [float(N)], 'not finite': [float('inf'), float('nan')], 'bools': [True]*N, 'a bool': [False, N],
    'texts': [str(N)], 'lists': [[N]], 'nothing': [None, N], 'a number': N, 'a record': {'0': N},
    'compressed, larger than the canvas': compressed(N+1), 'compressed, 30 bits': compressed(2**29, 2**29, N), 'compressed, below 0': compressed(-1, N+1),
    'compressed, 40 bits': compressed(2**39), 'compressed, no end': 'o'*1000, 'compressed, too many': '0'*(N+1) + compressed(N), 'no characters of it': '\U0001f600',
}

@pytest.mark.parametrize('name', COUNTS)
def test_run_lengths_that_fit_no_mask_give_a_line(name):
    "Sums of 64 bits wrap around, and then what is written goes beyond the mask: the process dies."
    with pytest.raises(AmodalError) as e: label_mask({'size': [H, W], 'counts': COUNTS[name]}, (H, W), 'labels.json, object 1')
    assert str(e.value).startswith('labels.json, object 1: ') and len(str(e.value)) < 300 and '\n' not in str(e.value)

@pytest.mark.parametrize('size', [[2**32, 2**32], [2**64, 1], [10**400, 1], [-H, -W], [0, 0], [W, H], [H], [H, W, 1], [float(H), float(W)], [True, N], 'HW', {}, None, [[H], W]])
def test_run_lengths_of_another_size_give_a_line(size):
    with pytest.raises(AmodalError, match='labels.json, object 1: '): label_mask({'size': size, 'counts': [N]}, (H, W), 'labels.json, object 1')

@pytest.mark.parametrize('size', [(2**16, 2**16), (0, 5), (-1, -1)])
def test_no_mask_is_made_for_an_absurd_canvas(size):
    with pytest.raises(AmodalError): rle_mask({'size': list(size), 'counts': [size[0]*size[1]]}, size)

@pytest.mark.parametrize('polygon', [[10**400]*6, [2**70]*6, [1e308]*6, [float('nan')]*6, ['1', '2', '20', '2', '20', '20'], [True]*6, [[1, 2], [3, 4], [5, 6]], [None]*6, 'polygon', [1]*5])
def test_polygons_that_are_none_give_a_line(polygon):
    for segmentation in polygon, [polygon]:
        with pytest.raises(AmodalError) as e: label_mask(segmentation, (H, W), 'labels.json, object 1')
        assert str(e.value).startswith('labels.json, object 1: ') and '\n' not in str(e.value)

COMMAND = 'import sys; from amodal_nb.app.cli import main; main(sys.argv[1:])'
RLE_AT = {'cocoa': ('annotations', 0, 'regions', 1, 'segmentation'), 'kins': ('annotations', 0, 'a_segm'), 'instances': ('annotations', 0, 'segmentation')}

@pytest.mark.parametrize('name', RLE_AT)
def test_a_wrapped_run_length_does_not_end_the_process(name, forks, tmp_path):
    "In a process of its own, as it was a segmentation fault."
    write, file = JSONS[name]
    src, _ = write(tmp_path)
    path, = tmp_path.rglob(file)
    edit(path, RLE_AT[name], {'size': [H, W], 'counts': COUNTS['wrap around 2**64']})
    done = forks(COMMAND, 'convert', 'instaorder' if name == 'instances' else name, src, tmp_path/'scenes')
    assert done.returncode == 1 and 'run length 1 is not' in done.stderr and 'Traceback' not in done.stderr, done

def test_the_reported_label_file_does_not_end_the_process(root, forks, tmp_path):
    case = root.parent/'shared'/'cases'/'attack'/'cocoa_rle_overflow_segfault.json'
    if not case.is_file(): pytest.skip('../shared/cases/attack is not here')
    shutil.copy(case, tmp_path/'labels.json')
    for k in 1, 2, 3: save(tmp_path/f'p{k}.png', noise(48, 48, 3, seed=k))
    done = forks(COMMAND, 'convert', 'cocoa', tmp_path/'labels.json', tmp_path/'scenes')
    assert done.returncode == 1 and 'run length 1 is not' in done.stderr and 'Traceback' not in done.stderr, done
    report = json.loads((tmp_path/'scenes'/'report.json').read_text())
    # the first object of p2 cannot be read; the other makes a scene
    assert report['done'] == ['p1', 'p2', 'p3'] and [o['id'] for o in report['left_out']] == ['p2']

@pytest.mark.parametrize('text', ['', '[', '{"a": 1, "a": 2}', '['*100_000, '\ud800'.encode('utf-8', 'surrogatepass').decode('latin-1'), 'null', '"x"', '7'])
@pytest.mark.parametrize('name', JSONS)
def test_text_that_is_no_json_gives_a_line(name, text, tmp_path):
    write, file = JSONS[name]
    src, image = write(tmp_path)
    path, = tmp_path.rglob(file)
    path.write_text(text)
    format = 'instaorder' if name == 'instances' else name
    try: report = convert(format, src, tmp_path/'scenes', image, report_line=lambda line: None)
    except AmodalError as e: assert file in str(e) and '\n' not in str(e)
    else: assert not report['done'] and report['failed']

def test_ids_that_are_there_twice_are_refused(tmp_path):
    src, _ = kins(tmp_path)
    d = json.loads(src.read_text())
    d['images'] *= 2
    src.write_text(json.dumps(d))
    with pytest.raises(AmodalError, match='twice'): convert('kins', src, tmp_path/'scenes')

def test_a_link_in_a_manifests_folder_does_not_lead_out(tmp_path):
    src, _ = manifest(tmp_path)
    secret = save(tmp_path/'secret.png', block(0))
    (tmp_path/'own'/'c0.png').unlink()
    (tmp_path/'own'/'c0.png').symlink_to(secret)
    assert 'leads out' in convert('manifest', src, tmp_path/'scenes', report_line=lambda line: None)['failed'][0]['reason']

def test_two_scenes_of_one_name_are_not_mixed(tmp_path):
    manifest(tmp_path)
    src = tmp_path/'own'/'set.csv'
    src.write_text(src.read_text() + src.read_text().splitlines()[1] + '\n')
    report = convert('manifest', src, tmp_path/'scenes', report_line=lambda line: None)
    assert report['done'] == ['shot'] and 'two scenes have this name' in report['left_out'][0]['reason']

@pytest.mark.parametrize('format, make', [('cocoa', cocoa), ('kins', kins), ('instaorder', instaorder)])
def test_a_missing_extra_is_one_line(format, make, forks, tmp_path):
    "And not one for each object."
    src, _ = make(tmp_path)
    code = 'import sys; sys.modules["pycocotools"] = None; from amodal_nb.app.cli import main; main(sys.argv[1:])'
    done = forks(code, 'convert', format, src, tmp_path/'scenes')
    assert done.returncode == 1 and "pip install 'amodal_nb[formats]'" in done.stderr and len(done.stderr.splitlines()) == 1

# Layered files out, read by programs that are not ours

@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    "Two scenes as every format, one with soft alphas and completions as a model really draws them; no fusion is repeated."
    d = tmp_path_factory.mktemp('exported')
    for name in 'sample3', 'sample6': shutil.copytree(assets()/'scenes'/name, d/'root'/name)
    assert amodal('fuse', d/'root', '--out', d/'fused') == 0
    for format in EXPORT_FORMATS: assert amodal('export', format, d/'root', '--out', d/format, '--fused', d/'fused') == 0
    return d

def rgb(im): return np.asarray(im.convert('RGB')).astype(int)
def fused_of(d, name): return rgb(Image.open(d/'fused'/name/f'{name}_fused.png'))
def scene_as_fused(d, name): return harmonised_scene(scene := read_scene(d/'root'/name), read_fused(scene, d/'fused'))
def order_of(d, name): return [f'comp{k}' for k in json.loads((d/'fused'/name/f'{name}_order.json').read_text())['order']]

@pytest.mark.parametrize('name', ['sample3', 'sample6'])
def test_openraster_follows_its_baseline_and_pil_paints_the_fused_picture(exported, name):
    with zipfile.ZipFile(exported/'ora'/f'{name}.ora') as z:
        first = z.infolist()[0]
        assert (first.filename, first.compress_type, first.extra, z.read(first)) == ('mimetype', zipfile.ZIP_STORED, b'', b'image/openraster')
        image = ElementTree.fromstring(z.read('stack.xml'))
        stack, = image
        fused = fused_of(exported, name)
        assert (image.tag, int(image.get('h')), int(image.get('w'))) == ('image', *fused.shape[:2]) and stack.tag == 'stack'
        assert [n for l in stack if (n := l.get('name')) != 'patch'] == ['picture', *order_of(exported, name), 'background'] # from the top down
        canvas = Image.new('RGBA', fused.shape[1::-1])
        assert [l.get('name') for l in stack if l.get('visibility') == 'hidden'] == ['picture'] # it would hide the others
        for l in reversed(stack[1:]):
            im = Image.open(z.open(l.get('src')))
            assert im.format == 'PNG' and im.mode == 'RGBA' and l.get('src').startswith('data/') and l.get('composite-op') == 'svg:src-over'
            canvas.alpha_composite(im)
        assert np.abs(rgb(canvas) - fused).max() <= 3 and np.abs(rgb(Image.open(z.open('mergedimage.png'))) - fused).max() <= 2
        small = Image.open(z.open('Thumbnails/thumbnail.png'))
        assert small.format == 'PNG' and max(small.size) <= 256

@pytest.mark.parametrize('name', ['sample3', 'sample6'])
def test_psd_has_the_whole_pictures_under_masks(exported, name):
    from psd_tools import PSDImage
    psd, scene, fused = PSDImage.open(exported/'psd'/f'{name}.psd'), scene_as_fused(exported, name), fused_of(exported, name)
    assert [l.name for l in reversed(psd) if l.name != 'patch'] == ['picture', *order_of(exported, name), 'background']
    for l in psd:
        if l.name.startswith('comp'):
            given, masked = to_uint8(scene.completions[int(l.name[4:])-1]), scene.mask[0].numpy() > 0
            assert l.has_mask() and np.array_equal(rgb(l.topil())[masked], given[masked]) # elsewhere the photograph's colours
    assert np.abs(rgb(psd.composite(ignore_preview=True)) - fused).max() <= 3
    assert np.abs(rgb(Image.open(exported/'psd'/f'{name}.psd')) - fused).max() <= 2 # PIL's own reader

def test_noisy_layers_add_up_to_the_photograph_outside_the_mask_and_move_with_its_pixels():
    "The picture itself is hidden, so that every layer is seen; a patch covers a few soft edges, and nothing in the mask."
    noisy = Composer('cc0', size=128, n_objects=4, noise='noisy', seed=2)[0]
    fused = fuse_scene(noisy)
    picture, *layers = fusion_layers(noisy, fused)
    assert not picture.is_visible and all(l.is_visible for l in layers)
    assert (visible_composite(layers) - fused.result).abs().max() <= 2/255 and patched_fraction(layers, noisy) == 0
    patch = sum(float(l.alpha.mean()) for l in layers if l.name == 'patch')
    front = fused.order[0]
    layer, = [l for l in layers if l.name == f'comp{front}']
    shown = (fused.weights[front-1] > .999) & (noisy.mask[0] == 0) & (layer.alpha[0] == 1)
    assert patch < .02 and shown.sum() > 100
    assert (layer.picture - noisy.partial)[:, shown].abs().max() <= 1/255 < (noisy.completions[front-1] - noisy.partial)[:, shown].abs().max()

def test_a_patch_is_not_needed_in_the_mask(exported):
    "Else the fused picture would be there because it was pasted."
    for name in 'sample3', 'sample6':
        scene = read_scene(exported/'root'/name)
        assert patched_fraction(fusion_layers(scene, read_fused(scene, exported/'fused')), scene) == 0

@pytest.mark.skipif(not shutil.which('gimp-console'), reason='GIMP is not installed (Debian: apt install gimp)')
@pytest.mark.parametrize('name', ['sample3', 'sample6'])
def test_gimp_shows_the_fused_picture(exported, name, tmp_path):
    out = tmp_path/'out.png'
    script = f'''(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "{exported/'psd'/f'{name}.psd'}" "x"))))
      (map (lambda (l) (gimp-message (string-append "layer " (car (gimp-item-get-name l)) (if (= -1 (car (gimp-layer-get-mask l))) "" " masked"))))
           (vector->list (cadr (gimp-image-get-layers image))))
      (file-png-save RUN-NONINTERACTIVE image (car (gimp-image-flatten image)) "{out}" "x" 0 6 0 0 0 0 0))'''
    done = subprocess.run(['gimp-console', '-i', '-d', '-f', '-s', '-c', '-b', script, '-b', '(gimp-quit 0)'], capture_output=True, text=True, timeout=300,
                          env=os.environ | {'HOME': str(tmp_path), 'XDG_CONFIG_HOME': str(tmp_path)})
    assert out.exists(), done.stderr
    said = [l.partition('layer ')[2] for l in (done.stdout + done.stderr).splitlines() if 'layer ' in l]
    assert [n for n in said if not n.startswith('patch')] == ['picture', *(f'{n} masked' for n in order_of(exported, name)), 'background']
    assert np.abs(rgb(Image.open(out)) - fused_of(exported, name)).max() <= 3

@pytest.mark.skipif(not (shutil.which('krita') and shutil.which('xvfb-run')), reason='Krita and Xvfb are not installed (Debian: apt install krita xvfb)')
@pytest.mark.parametrize('suffix', ['ora', 'psd'])
def test_krita_shows_the_fused_picture(exported, suffix, tmp_path):
    src, out = tmp_path/f'in.{suffix}', tmp_path/'out.png'
    if suffix == 'psd': shutil.copy(exported/'psd'/'sample6.psd', src)
    else: # without the merged image, so that it is the layers that are shown
        with zipfile.ZipFile(exported/'ora'/'sample6.ora') as z, zipfile.ZipFile(src, 'w') as copied:
            for e in z.infolist(): copied.writestr(e, z.read('data/layer001.png') if e.filename == 'mergedimage.png' else z.read(e))
    for _ in range(3): # `xvfb-run -a` now and then takes a screen that another has just taken
        done = subprocess.run(['xvfb-run', '-a', 'krita', '--export', '--export-filename', out, src], capture_output=True, text=True, timeout=300,
                              env=os.environ | {'HOME': str(tmp_path), 'XDG_RUNTIME_DIR': str(tmp_path)})
        if out.exists(): break
    assert out.exists(), done.stderr
    assert np.abs(rgb(Image.open(out)) - fused_of(exported, 'sample6')).max() <= 3

def test_pycocotools_reads_the_labels(exported):
    from pycocotools import mask
    from pycocotools.coco import COCO
    coco = COCO(exported/'coco'/'annotations.json')
    assert [i['file_name'] for i in coco.loadImgs(coco.getImgIds())] == ['sample3.png', 'sample6.png']
    for info in coco.loadImgs(coco.getImgIds()):
        name = info['file_name'][:-4]
        scene, notes = scene_as_fused(exported, name), coco.loadAnns(coco.getAnnIds(imgIds=info['id']))
        assert np.array_equal(rgb(Image.open(exported/'coco'/'images'/info['file_name'])), fused_of(exported, name))
        for k, note in enumerate(notes):
            whole = scene.alphas[k, 0].numpy() > .5
            assert np.array_equal(coco.annToMask(note) > 0, whole) and note['area'] == whole.sum()
            assert note['bbox'] == mask.toBbox(note['segmentation']).tolist()
            assert not (mask.decode(note['visible_mask']).astype(bool) & ~whole).any()
        number = {n['id']: k for k, n in enumerate(notes, 1)}
        pairs = [(number[p['a']], number[p['b']], p['p_a_front']) for p in coco.dataset['order_pairs'] if p['image_id'] == info['id']]
        assert pairs == [(p['a'], p['b'], p['p_a_front']) for p in json.loads((exported/'fused'/name/f'{name}_order.json').read_text())['pairs']]

def test_exported_scenes_are_the_scenes(exported):
    for name in 'sample3', 'sample6':
        a, b = read_scene(exported/'root'/name), read_scene(exported/'scenes'/name)
        assert a.pairs == b.pairs and (a.alphas == b.alphas).all() and (a.completions == b.completions).all()

def test_the_predicted_order_stands_where_none_is_known(exported, tmp_path):
    shutil.copytree(exported/'root'/'sample3', tmp_path/'root'/'sample3')
    (tmp_path/'root'/'sample3'/'sample3_scene.json').unlink()
    assert amodal('export', 'scenes', tmp_path/'root', '--out', tmp_path/'out', '--fused', exported/'fused') == 0
    known, predicted = (set(read_scene(p).pairs) for p in (exported/'root'/'sample3', tmp_path/'out'/'sample3'))
    assert predicted == known # sample3's order shows, and the shipped model reads it

@pytest.mark.parametrize('model', ['vote', 'mean_valid', 'area'])
def test_weights_of_any_kind_become_layers(model):
    for folder in find_scenes(assets()/'scenes')[::3]:
        scene = read_scene(folder)
        for background in scene.background, None:
            scene.background = background
            fused = fuse_scene(scene, model)
            found = fusion_layers(scene, fused)
            assert (visible_composite(found) - fused.result).abs().max() <= 2/255 and patched_fraction(found, scene) == 0

def test_random_weights_become_layers():
    "Interlocked beyond what any order of layers can show."
    scene = read_scene(find_scenes(assets()/'scenes')[0])
    g = torch.Generator().manual_seed(0)
    w = torch.rand(scene.n+1, *scene.size, generator=g)**4
    w /= w.sum(0)
    shown = (w[:-1, None]*scene.completions).sum(0) + w[-1]*scene.background
    fused = FusedScene('x', torch.where(scene.mask > 0, shown, scene.partial), w, [], [], list(range(1, scene.n+1)), 0.)
    found = fusion_layers(scene, fused)
    assert (visible_composite(found) - fused.result).abs().max() <= 2/255 and patched_fraction(found, scene) == 0

def test_what_weights_do_not_explain_is_patched():
    scene = read_scene(find_scenes(assets()/'scenes')[0])
    fused = fuse_scene(scene, 'vote')
    fused.result = torch.where(scene.mask > 0, fused.result*.8, fused.result) # as if colours had been corrected after fusing
    found = fusion_layers(scene, fused)
    assert (visible_composite(found) - fused.result).abs().max() <= 2/255 and patched_fraction(found, scene) > .5

FUSED = {
    'missing': lambda f: f('fused.png').unlink(),
    'not a PNG': lambda f: f('fused.png').write_bytes(b'x'),
    'the scene is': lambda f: save(f('fused.png'), noise(9, 9, 3)),
    'damaged': lambda f: f('weights.npz').write_bytes(b'PK\3\4'),
    'not what amodal fuse': lambda f: np.savez(f('weights.npz'), other=1),
    'or damaged': lambda f: np.savez(f('weights.npz'), weights=np.array([{}], object), slots=np.array(['comp1'])), # a pickle
    'is not what': lambda f: np.savez_compressed(f('weights.npz'), weights=np.zeros((40, 1024, 1024), np.float16), slots=np.array(['comp1'])), # large
    'not weights of': lambda f: np.savez(f('weights.npz'), weights=np.zeros((2, 3, 3)), slots=np.array(['comp1', 'comp2'])),
    'are not weights': lambda f: np.savez(f('weights.npz'), **(dict(np.load(f('weights.npz'))) | {'weights': np.load(f('weights.npz'))['weights']*np.nan})),
    'does not have the form': lambda f: edit(f('order.json'), ('order', 0), 99),
    'have the form': lambda f: edit(f('order.json'), ('pairs', 0, 'p_a_front'), 7),
    'not JSON': lambda f: f('order.json').write_text('{'),
}

@pytest.mark.parametrize('reason', FUSED)
def test_a_fusion_that_cannot_be_used_is_named_and_the_others_are_exported(exported, tmp_path, reason):
    shutil.copytree(exported/'fused', tmp_path/'fused')
    FUSED[reason](lambda name: tmp_path/'fused'/'sample3'/f'sample3_{name}')
    assert amodal('export', 'ora', exported/'root', '--out', tmp_path/'out', '--fused', tmp_path/'fused') == 1
    report = json.loads((tmp_path/'out'/'report.json').read_text())
    assert report['done'] == ['sample6'] and report['failed'][0]['id'] == 'sample3' and reason in report['failed'][0]['reason']
    assert {p.name for p in (tmp_path/'out').iterdir()} == {'sample6.ora', 'report.json'}

def test_a_full_disk_leaves_no_half_file(exported, tmp_path, monkeypatch):
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(zipfile.ZipFile, 'writestr', full)
    assert amodal('export', 'ora', exported/'root', '--out', tmp_path, '--fused', exported/'fused') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['report.json']

def test_scenes_are_not_exported_onto_themselves(exported, tmp_path):
    shutil.copytree(exported/'root', tmp_path/'root')
    assert amodal('export', 'scenes', tmp_path/'root', '--out', tmp_path/'root', '--fused', exported/'fused') == 1
    assert 'the scene itself' in json.loads((tmp_path/'root'/'report.json').read_text())['failed'][0]['reason']

@pytest.mark.parametrize('format, module', [('psd', 'psd_tools'), ('coco', 'pycocotools')])
def test_a_missing_extra_is_one_line_when_exporting(exported, forks, tmp_path, format, module):
    code = f'import sys; sys.modules["{module}"] = None; from amodal_nb.app.cli import main; main(sys.argv[1:])'
    done = forks(code, 'export', format, exported/'root', '--out', tmp_path/'out')
    assert done.returncode == 1 and "pip install 'amodal_nb[formats]'" in done.stderr and len(done.stderr.splitlines()) == 1

# Shards

def unpack(path, folder):
    "Unpack a shard; Python before 3.11.4, as Debian 12 has it, knows no filters."
    safely = {'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}
    with tarfile.open(path) as tar: tar.extractall(folder, **safely)

def test_exported_shards_hold_the_scenes(exported, tmp_path):
    import webdataset
    from amodal_nb.scenes.shards import webdataset_key
    unpack(exported/'shards'/'000000.tar', tmp_path)
    for name in 'sample3', 'sample6':
        a, b = read_scene(exported/'scenes'/name), read_scene(tmp_path/name)
        assert a.pairs == b.pairs and (a.alphas == b.alphas).all() and (a.completions == b.completions).all()
    samples = list(webdataset.WebDataset(str(exported/'shards'/'000000.tar'), rename_files=webdataset_key, shardshuffle=False))
    assert len(samples) == 2 and all({'mask.png', 'comp1.png', 'scene.json'} <= set(s) for s in samples)

def test_converting_into_shards(tmp_path):
    src, _ = layers(tmp_path)
    assert amodal('convert', 'rgba-stack', src, tmp_path/'deep'/'shards', '--shards') == 0
    assert {p.name for p in (tmp_path/'deep'/'shards').iterdir()} == {'000000.tar', '000000.tar.json', 'report.json'}
    unpack(tmp_path/'deep'/'shards'/'000000.tar', tmp_path/'unpacked')
    upper, lower = (shuffled_order('shot', 2).index(k) + 1 for k in (1, 0))
    assert read_scene(tmp_path/'unpacked'/'shot').pairs == [(upper, lower)]

@pytest.mark.parametrize('command', [['convert', 'rgba-stack', 'SRC', 'OUT', '--shards'], ['export', 'shards', 'SCENES', '--out', 'OUT']])
def test_shards_are_never_written_over_anything(command, tmp_path, capsys):
    src, _ = layers(tmp_path)
    (tmp_path/'out').mkdir()
    (tmp_path/'out'/'mine.txt').write_text('mine')
    names = {'SRC': src, 'OUT': tmp_path/'out', 'SCENES': assets()/'scenes'}
    assert amodal(*[names.get(o, o) for o in command]) == 1
    assert 'is there already' in capsys.readouterr().err and [p.name for p in (tmp_path/'out').iterdir()] == ['mine.txt']

def test_shards_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    stack_of(opaque, block(0), block(1))(tmp_path/'src')
    for name in 'a', 'b': shutil.copytree(tmp_path/'src'/'shot', tmp_path/'src'/name)
    add, count = tarfile.TarFile.addfile, []
    def full(self, *args):
        count.append(args)
        if len(count) == 8: raise OSError(28, 'No space left on device')
        add(self, *args)
    monkeypatch.setattr(tarfile.TarFile, 'addfile', full)
    assert amodal('convert', 'rgba-stack', tmp_path/'src', tmp_path/'out', '--shards') == 1
    assert [p.name for p in (tmp_path/'out').iterdir()] == ['report.json'] and json.loads((tmp_path/'out'/'report.json').read_text())['done'] == []

def test_nothing_to_convert_makes_no_shards(tmp_path):
    (tmp_path/'src'/'a').mkdir(parents=True)
    assert amodal('convert', 'rgba-stack', tmp_path/'src', tmp_path/'out', '--shards') == 1
    assert [p.name for p in (tmp_path/'out').iterdir()] == ['report.json']
