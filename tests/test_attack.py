"Damaged and odd inputs of every command: a short run of the attacks at random, and those that need a case of their own."
import http.server, json, os, threading, zipfile
from functools import partial
import pytest
from amodal_nb.core.errors import AmodalError
from amodal_nb.formats.benchmarks import label_format
from amodal_nb.formats.convert import convert
from amodal_nb.formats.export import _read_weights, export, read_fused
from amodal_nb.formats.manifest import from_manifest
from amodal_nb.fusion.bulk import fuse_folder
from amodal_nb.models.checkpoint import build_model, save_checkpoint
from amodal_nb.scenes import shards as shards_module
from amodal_nb.scenes.folders import MAX_RECORD_BYTES, read_scene
from amodal_nb.scenes.shards import index_path, read_bytes, read_index, shard_scenes, write_shards
from attack import attack, kills
from mutants import all_mutants, bound, code_of, mutate
from test_bad_input import empty, good_scene, here, refused
from test_formats import block, picture, save

def test_random_damage_loses_nothing_and_passes_nothing():
    "Seed 1; `python tests/attack.py --n 1000` for more."
    results = attack(24, seed=1)
    assert [r for r in results if r[4]] == [] and len(results) == 24

def test_a_run_one_of_whose_files_is_damaged_is_refused_or_ends_the_same():
    "Seed 3: each of two checkpoints with other bytes or a bit of another value; `python tests/attack.py --only 'train --resume'` for more."
    results = attack(4, seed=3, only='two checkpoints')
    assert [r for r in results if r[4]] == [] and len(results) == 4

def test_what_is_killed_is_not_half_and_the_next_run_ends_the_same():
    "Seed 0; `python tests/attack.py --kills 300` for more."
    results = kills(4, seed=0)
    assert [r for r in results if r[4]] == [] and len(results) == 4

MUTATED = """
class A:
    def f(self, x):
        'Not changed, nor is the message.'
        if not x: raise ValueError('no x')
        return x + 1
"""

def test_each_mutant_gives_another_result():
    def results(f):
        for x in 0, 1:
            try: yield f(None, x)
            except ValueError as e: yield str(e)
    names, seen = {}, []
    exec(MUTATED, names)
    f = bound(names, 'A.f')
    whole = [*results(f)]
    for mutant in all_mutants(MUTATED):
        function, tree, line = mutate(MUTATED, mutant)
        f.__code__ = code_of(compile(tree, 'A', 'exec'), function)
        seen.append([*results(f)])
    assert len(seen) == 6 and whole not in seen

# Standard streams

STREAMS = """
import os, sys
how, args = sys.argv[1], sys.argv[2:]
for number in 1, 2:
    os.close(number)
    if how == 'full': os.open('/dev/full', os.O_WRONLY)
if how == 'closed': sys.stdout = sys.stderr = None
from amodal_nb.app.cli import main
main(args)
"""

@pytest.mark.parametrize('how', ['closed', 'full'])
@pytest.mark.parametrize('command', ['fuse', 'convert'])
def test_a_stream_that_is_closed_or_full_ends_no_batch(command, how, tmp_path, forks):
    for name in 'ab': good_scene(tmp_path/'in'/name, 16)
    empty('mask.png')(good_scene(tmp_path/'in'/'0', 16))
    records = [{'id': '0'}, *({'id': k, 'image': f'in/{k}/{k}_image.png', 'completions': [f'in/{k}/{k}_comp1.png']} for k in 'ab')]
    (tmp_path/'set.json').write_text(json.dumps(records))
    args = {'fuse': ['fuse', tmp_path/'in', '--model', 'vote', '--out', tmp_path/'out'], 'convert': ['convert', 'manifest', tmp_path/'set.json', tmp_path/'out']}[command]
    assert forks(STREAMS, how, *args).returncode == 1
    report = json.loads((tmp_path/'out'/'report.json').read_text())
    assert report['done'] == ['a', 'b'] and [f['id'] for f in report['failed']] == ['0']

def test_a_folder_whose_name_is_not_utf8_gets_results(tmp_path, capfd):
    good_scene(tmp_path/'in'/'a', 16)
    out = tmp_path/os.fsdecode(b'\xff\xfe')
    for args in ['fuse', tmp_path/'in', '--out', out/'f', '--model', 'vote'], ['export', 'shards', tmp_path/'in', '--out', out/'e', '--model', 'vote']:
        assert here(capfd, *args) == (0, [])
    assert (out/'f'/'a'/'a_fused.png').is_file() and [s.name for s in shard_scenes(str(out/'e'/'000000.tar'))] == ['a']

def test_a_scene_whose_name_is_not_utf8_is_read_from_a_shard(tmp_path):
    name = os.fsdecode(b'a\xff')
    folder = good_scene(tmp_path/'in'/name, 16).folder
    shard, = write_shards([folder], tmp_path/'shards')
    scene, = shard_scenes(str(shard))
    assert scene.name == name and read_scene(scene).n == 2

# Names

def test_convert_keeps_its_report_from_a_scene_of_that_name(tmp_path):
    save(tmp_path/'p.png', picture())
    save(tmp_path/'c.png', block(0))
    (tmp_path/'set.json').write_text(json.dumps([{'id': k, 'image': 'p.png', 'completions': ['c.png']} for k in ('report.json', 'b')]))
    lines = []
    report = convert('manifest', tmp_path/'set.json', tmp_path/'out', report_line=lines.append)
    assert report['done'] == ['b'] and 'name of the report' in lines[0] and (tmp_path/'out'/'report.json').is_file()

def test_a_damaged_scene_leaves_its_name_to_another(tmp_path):
    empty('mask.png')(good_scene(tmp_path/'in'/'train'/'a', 16))
    good_scene(tmp_path/'in'/'val'/'a', 16)
    report = export('scenes', tmp_path/'in', tmp_path/'out', model='vote', report_line=lambda line: None)
    assert report['done'] == ['a'] and len(report['failed']) == 1

def test_a_damaged_scene_leaves_its_name_to_another_in_fuse(tmp_path):
    "Also in the next run, whose first scene of the name fails again; a third one has no place."
    empty('mask.png')(good_scene(tmp_path/'in'/'test'/'a', 16))
    for part in 'train', 'val': good_scene(tmp_path/'in'/part/'a', 16)
    reports, lines = [], []
    for _ in range(2):
        reports.append(fuse_folder(tmp_path/'in', tmp_path/'out', 'vote', report_line=lines.append))
        assert len(read_fused(read_scene(tmp_path/'in'/'val'/'a'), tmp_path/'out').pairs) == 1
    assert reports[0] == reports[1] and reports[0]['done'] == ['a'] and len(reports[0]['failed']) == 2
    assert len(lines) == 4 and lines[:2] == lines[2:] and 'same name as ' + str(tmp_path/'in'/'train'/'a') in lines[1]

def test_lone_surrogates_are_no_part_of_a_name(tmp_path):
    save(tmp_path/'p.png', picture())
    save(tmp_path/'c.png', block(0))
    (tmp_path/'set.json').write_text(json.dumps([{'id': id, 'image': 'p.png', 'completions': ['c.png']} for id in ('\ud800x', 'b')]))
    assert convert('manifest', tmp_path/'set.json', tmp_path/'out')['done'] == ['_x', 'b']

def test_a_key_that_stands_twice_is_refused(tmp_path):
    s = good_scene(tmp_path/'a', 16)
    s('scene.json').write_text('{"version": 1, "pairs": [], "pairs": [{"front": 1, "back": 2}]}')
    with pytest.raises(AmodalError, match='twice'): read_scene(s.folder)

# Sources that hold nothing, or never end

@pytest.mark.parametrize('name, content', [('set.csv', ''), ('set.csv', 'id,image,comp1\n'), ('set.json', '[]'), ('labels.json', '{"images": [], "annotations": []}')])
def test_a_source_without_scenes_is_one_line(name, content, tmp_path, capfd):
    (tmp_path/name).write_text(content)
    format = 'cocoa' if name == 'labels.json' else 'manifest'
    assert name in refused(capfd, 'convert', format, tmp_path/name, tmp_path/'out')

def test_a_pipe_is_no_source(tmp_path):
    "Nobody writes to it, so that opening it would wait without end."
    for name in 'a', 'b': (tmp_path/name).mkdir()
    for name in 'set.csv', 'set.json', '000000.tar', 'a/a_weights.npz', 'b/b_weights.png': os.mkfifo(tmp_path/name)
    tries = [partial(from_manifest, tmp_path/'set.csv'), partial(from_manifest, tmp_path/'set.json'), partial(shard_scenes, str(tmp_path/'000000.tar')),
             *(partial(_read_weights, tmp_path/name, ['comp1'], (2, 2)) for name in 'ab')]
    for read in tries:
        with pytest.raises(AmodalError, match='no regular file|neither a file'): read()
    assert label_format(tmp_path/'set.json') is None

# Limits before work

def test_masks_of_labels_are_counted_before_one_is_decoded(tmp_path, monkeypatch):
    from amodal_nb.formats import labels
    monkeypatch.setattr(labels, 'MAX_SCENE_PIXELS', 10*32*40)
    monkeypatch.setattr(labels, 'label_mask', None)
    save(tmp_path/'pictures'/'p.png', picture())
    mask = [1, 1, 9, 1, 9, 9]
    cocoa = {'images': [{'id': 1, 'file_name': 'p.png'}], 'annotations': [{'image_id': 1, 'regions': [{'segmentation': mask, 'order': k} for k in range(11)]}]}
    kins = cocoa | {'annotations': [{'id': k, 'image_id': 1, 'a_segm': [mask], 'i_segm': [mask], 'oco_id': 1, 'ico_id': k} for k in range(11)]}
    visible = cocoa | {'annotations': [{'id': k, 'image_id': 1, 'segmentation': [mask], 'visible_mask': [mask]} for k in range(11)]}
    for format, content in ('cocoa', cocoa), ('kins', kins), ('kins', visible):
        (tmp_path/'labels.json').write_text(json.dumps(content))
        lines = []
        convert(format, tmp_path/'labels.json', tmp_path/'out', tmp_path/'pictures', report_line=lines.append)
        assert len(lines) == 1 and '11 objects' in lines[0] and 'over the limit' in lines[0]

def test_records_and_indices_have_a_limit(tmp_path):
    s = good_scene(tmp_path/'in'/'a', 16)
    shard, = write_shards([s.folder], tmp_path/'shards')
    with open(index_path(shard), 'a') as f: f.write(' '*shard.stat().st_size)
    with pytest.raises(AmodalError, match='does not fit'): read_index(str(shard))
    assert [scene.name for scene in shard_scenes(str(shard))] == ['a'] # by looking through it
    s('scene.json').write_text('{"version": 1, "pairs": []' + ' '*MAX_RECORD_BYTES + '}')
    with pytest.raises(AmodalError, match='larger than'): read_scene(s.folder)

def test_a_deep_archive_leaves_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    import tempfile
    (tmp_path/'tmp').mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path/'tmp'))
    for k in 0, 1: save(tmp_path/f'layer_{k}.png', block(k))
    with zipfile.ZipFile(tmp_path/'a.zip', 'w') as z:
        for k in 0, 1: z.write(tmp_path/f'layer_{k}.png', f'layer_{k}.png')
        z.writestr('d/'*1500 + 'layer_2.png', b'')
    lines = []
    report = convert('rgba-stack', tmp_path/'a.zip', tmp_path/'out', report_line=lines.append)
    assert report['done'] == ['a'] and len(lines) == 1 and 'folders deep' in lines[0] and not list((tmp_path/'tmp').iterdir())

# Models and servers

def test_huge_weights_are_one_line(tmp_path, capfd):
    good_scene(tmp_path/'in'/'a', 16)
    info = {'model': 'unet', 'args': {'width': 8, 'n_completions': 5}}
    state = {f'model.{k}': v*1e38 + 1e37 if v.is_floating_point() else v for k, v in build_model('unet', info['args']).state_dict().items()}
    assert all(v.isfinite().all() for v in state.values())
    save_checkpoint(tmp_path/'huge.safetensors', state, info)
    assert 'no numbers' in refused(capfd, 'fuse', tmp_path/'in', '--out', tmp_path/'out', '--model', tmp_path/'huge.safetensors')

class Refusing(http.server.BaseHTTPRequestHandler):
    "Answers with the status that the path names."
    def do_GET(self):
        self.send_response(int(self.path[1:4]))
        self.send_header('Content-Length', '0')
        self.end_headers()
    do_HEAD = do_GET
    def log_message(self, *args): pass

def test_what_a_server_said_is_named(monkeypatch):
    monkeypatch.setattr(shards_module.time, 'sleep', lambda s: None)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_address[1]}'
        for status in 403, 500:
            with pytest.raises(AmodalError, match=f'HTTP {status}'): shard_scenes(f'{address}/{status}.tar')
        with pytest.raises(AmodalError, match='no such file|HTTP 404'): read_bytes(f'{address}/404.tar')
        server.shutdown()
    with pytest.raises(AmodalError, match='onnect'): read_bytes(f'{address}/200.tar')
