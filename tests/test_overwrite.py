"What is kept: no command removes or replaces what it reads, or what somebody else put where it writes; a replacement that is interrupted loses nothing."
import json, os, shutil
from dataclasses import replace
from pathlib import Path
import pytest, torch
from amodal_nb.scenes import folders as folders_module
from amodal_nb.formats import share as share_module
from amodal_nb.app.cli import main
from amodal_nb.formats.export import export
from amodal_nb.app.demo import demo
from amodal_nb.fusion.bulk import fuse_folder
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.pictures import write_picture
from amodal_nb.scenes.folders import (check_file_target, find_scenes, read_scene, remove_dead_temporaries, temporary_beside,
                                      write_scene)
from amodal_nb.scenes.scene import make_scene
from amodal_nb.formats.share import share
from amodal_nb.scenes.shards import atomic_folder, scenes_folder_or_shards

SIDE = 16 # px

def scene(id='a', n=2, seed=0):
    "Completions that overlap in the middle."
    g = torch.Generator().manual_seed(seed)
    def random(channels): return .2 + .6*torch.rand(channels, SIDE, SIDE, generator=g)
    alphas = torch.zeros(n, 1, SIDE, SIDE)
    for k in range(n): alphas[k, :, :, 2+k:10+k] = 1
    completions = [torch.cat([random(3)*a, a]) for a in alphas]
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, 4:12, 4:12] = 1
    return make_scene(random(3), mask, completions, random(3), [(2, 1)], id=id)

def stack(folder, seed=0):
    "A source for `convert rgba-stack`, whose scene has the folder's name."
    s = scene(seed=seed)
    for k, c in enumerate(s.completions): write_picture(folder/f'layer_{k}.png', torch.cat([c, s.alphas[k]]))
    return folder

def contents(folder):
    "Everything below a folder: path -> bytes of a file, target of a link, None for a folder."
    def what_is(p): return os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None
    return {p.relative_to(folder).as_posix(): what_is(p) for p in sorted(folder.rglob('*')) if p.name != 'report.json'}

def amodal(*args):
    "The command's exit status."
    try: main([str(a) for a in args])
    except SystemExit as e: return e.code or 0
    return 0

def reason(report, id='a'):
    "Why the one scene failed."
    failed, = report['failed']
    assert failed['id'] == id and not report['done'] and '\n' not in failed['reason']
    return failed['reason']

def quiet(line): pass

def export_scenes(root, out, fused=None, overwrite=True): return export('scenes', root, out, fused, 'vote', quiet, overwrite)

# Somebody's own things

def a_file_more(d): (d/'a_mask.png').touch(); (d/'notes.txt').write_text('mine')
def a_folder_in_it(d): (d/'a_mask.png').touch(); (d/'raw').mkdir(); (d/'raw'/'a_comp1.png').touch()
def a_folder_of_a_scenes_name(d): (d/'a_mask.png').mkdir()
def a_link_in_it(d): (d.parent/'elsewhere.png').touch(); (d/'a_mask.png').symlink_to(d.parent/'elsewhere.png')
def a_dead_link_in_it(d): (d/'a_mask.png').symlink_to('nowhere')
def another_scenes_file(d): (d/'b_mask.png').touch()
def names_that_only_look_like_it(d): (d/'a_comp0.png').touch(); (d/'a_comp1.jpg').touch()
def a_fusion(d): (d/'a_fused.png').touch()
def a_link_to_a_scene(d): shutil.rmtree(d); d.symlink_to(write_scene(scene(), d.parent.parent/'theirs'))
def a_dead_link(d): shutil.rmtree(d); d.symlink_to('nowhere')
def a_file(d): shutil.rmtree(d); d.write_text('mine')

OWN = [a_file_more, a_folder_in_it, a_folder_of_a_scenes_name, a_link_in_it, a_dead_link_in_it, another_scenes_file, names_that_only_look_like_it,
       a_fusion, a_link_to_a_scene, a_dead_link, a_file]

@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('own', OWN)
def test_somebodys_own_folder_is_kept(own, overwrite, tmp_path):
    (tmp_path/'out'/'a').mkdir(parents=True)
    own(tmp_path/'out'/'a')
    before = contents(tmp_path)
    with pytest.raises(AmodalError, match='is there already'): write_scene(scene(), tmp_path/'out', overwrite)
    assert contents(tmp_path) == before

def test_corrections_are_kept_beside_the_scene_that_replaces_theirs(tmp_path):
    folder, own = write_scene(scene(), tmp_path), '{"version": 1, "corrections": [{"front": 2, "back": 1}]}'
    for name, text in ('a_scene.json.1', ''), ('a_scene.json', own): (folder/name).write_text(text)
    before = contents(tmp_path)
    with pytest.raises(AmodalError, match='is there already'): write_scene(scene(), tmp_path)
    assert contents(tmp_path) == before
    write_scene(scene(), tmp_path, overwrite=True)
    assert [(folder/f'a_scene.json.{k}').read_text() for k in (1, 2)] == ['', own]

@pytest.mark.parametrize('overwrite', [[], ['--overwrite']])
def test_both_commands_keep_somebodys_own_folder(overwrite, tmp_path, capsys):
    write_scene(scene(), tmp_path/'scenes')
    stack(tmp_path/'src'/'a')
    (tmp_path/'out'/'a').mkdir(parents=True)
    (tmp_path/'out'/'a'/'thesis.tex').write_text('mine')
    before = contents(tmp_path)
    assert amodal('export', 'scenes', tmp_path/'scenes', '--out', tmp_path/'out', '--model', 'vote', *overwrite) == 1
    assert amodal('convert', 'rgba-stack', tmp_path/'src'/'a', tmp_path/'out', *overwrite) == 1
    assert contents(tmp_path) == before and capsys.readouterr().err.count('is there already and holds') == 2

def test_a_scene_is_replaced_only_if_asked(tmp_path, capsys):
    write_scene(scene(), tmp_path/'scenes')
    write_scene(scene(n=3, seed=1), tmp_path/'out')
    before, args = contents(tmp_path), ['export', 'scenes', tmp_path/'scenes', '--out', tmp_path/'out', '--model', 'vote']
    assert amodal(*args) == 1 and contents(tmp_path) == before and 'is there already: add --overwrite' in capsys.readouterr().err
    assert amodal(*args, '--overwrite') == 0
    assert contents(tmp_path/'out') == contents(tmp_path/'scenes')

def test_a_replaced_scene_equals_a_fresh_one(tmp_path):
    write_scene(scene(n=3, seed=1), tmp_path/'out')
    write_scene(scene(), tmp_path/'out', overwrite=True)
    write_scene(scene(), tmp_path/'fresh')
    assert contents(tmp_path/'out') == contents(tmp_path/'fresh')
    modes = [[oct(p.stat().st_mode) for p in sorted((tmp_path/d).rglob('*'))] for d in ('out', 'fresh')]
    assert modes[0] == modes[1]

def test_an_incomplete_scene_and_an_empty_folder_are_replaced(tmp_path):
    folder = write_scene(scene(), tmp_path/'out')
    (folder/'a_mask.png').unlink()
    write_scene(scene(), tmp_path/'out', overwrite=True)
    for p in folder.iterdir(): p.unlink()
    write_scene(scene(), tmp_path/'out', overwrite=True)
    assert read_scene(folder).n == 2

@pytest.mark.parametrize('id', ['', '.', '..', '../b', '/b', 'b/a', 'b\0'])
def test_a_scenes_id_leads_nowhere_else(id, tmp_path):
    write_scene(scene('b'), tmp_path)
    (tmp_path/'out').mkdir()
    before = contents(tmp_path)
    with pytest.raises(AmodalError, match='no name of a folder'): write_scene(replace(scene(), id=id), tmp_path/'out', overwrite=True)
    assert contents(tmp_path) == before

# Sources

def same(d): return d/'in', d/'in'
def the_scene_itself(d): return d/'in'/'a', d/'in'
def by_dots(d): (d/'x').mkdir(); return d/'in', d/'x'/'..'/'in'
def by_a_link(d): (d/'link').symlink_to(d/'in'); return d/'in', d/'link'
def from_a_link(d): (d/'link').symlink_to(d/'in'); return d/'link', d/'in'
def scene_by_a_link(d): (d/'links').mkdir(); (d/'links'/'a').symlink_to(d/'in'/'a'); return d/'links', d/'in'
def files_by_links(d):
    (d/'links'/'a').mkdir(parents=True)
    for p in (d/'in'/'a').iterdir(): (d/'links'/'a'/p.name).symlink_to(p)
    return d/'links', d/'in'
def above(d): (d/'top').mkdir(); (d/'in').rename(d/'top'/'a'); return d/'top'/'a', d/'top'
def above_a_split(d): (d/'top').mkdir(); (d/'in').rename(d/'top'/'train'); return d/'top', d/'top'/'train'
def within(d): write_scene(scene(seed=1), d/'in'/'val'/'out'); return d/'in', d/'in'/'val'/'out'
def by_another_case(d):
    if not (d/'IN').exists(): pytest.skip('names differ by case on this file system')
    return d/'in', d/'IN'

PLACES = [same, the_scene_itself, by_dots, by_a_link, from_a_link, scene_by_a_link, files_by_links, above, above_a_split, within, by_another_case]

@pytest.mark.parametrize('overwrite', [False, True])
@pytest.mark.parametrize('place', PLACES)
def test_export_keeps_its_source(place, overwrite, tmp_path):
    write_scene(scene(), tmp_path/'in')
    root, out = place(tmp_path)
    before = contents(tmp_path)
    report = export_scenes(root, out, overwrite=overwrite)
    assert contents(tmp_path) == before and 'folder' in reason(report)

@pytest.mark.parametrize('place', PLACES)
def test_no_writer_replaces_its_sources(place, tmp_path):
    "The rule itself, without a command that looks at its own source first."
    write_scene(scene(), tmp_path/'in')
    root, out = place(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(AmodalError): write_scene(scene(seed=2), out, True, folders_module.Sources([root]))
    assert contents(tmp_path) == before

@pytest.mark.parametrize('out', ['src', 'src/a', '.', 'link'])
def test_converting_a_folder_into_itself_keeps_it(out, tmp_path):
    stack(tmp_path/'src'/'a')
    (tmp_path/'link').symlink_to(tmp_path/'src')
    before = {k: v for k, v in contents(tmp_path/'src').items()}
    for _ in range(2): amodal('convert', 'rgba-stack', tmp_path/'src'/'a', tmp_path/out, '--overwrite')
    assert before.items() <= contents(tmp_path/'src').items()

@pytest.mark.parametrize('option', ['image', 'mask'])
def test_convert_keeps_pictures_and_masks(option, tmp_path):
    "The picture is a file of a scene folder where the scene would go."
    folder = write_scene(scene(), tmp_path/'out')
    given = folder/('a_image.png' if option == 'image' else 'a_mask.png')
    before = contents(tmp_path/'out')
    assert amodal('convert', 'rgba-stack', stack(tmp_path/'src'/'a'), tmp_path/'out', f'--{option}', given, '--overwrite') == 1
    assert contents(tmp_path/'out') == before and 'is read here' in reason(json.loads((tmp_path/'out'/'report.json').read_text()))

@pytest.mark.parametrize('suffix', ['csv', 'json'])
def test_convert_keeps_what_a_manifest_names(suffix, tmp_path):
    "Two scenes, each made of the other's files: the first must not replace what the second is read from."
    for id in 'a', 'b': write_scene(scene(id), tmp_path)
    other = {'a': 'b', 'b': 'a'}
    records = [{'id': k, 'image': f'{v}/{v}_image.png', 'mask': f'{v}/{v}_mask.png', 'completions': [f'{v}/{v}_comp1.png', f'{v}/{v}_comp2.png']} for k, v in other.items()]
    rows = [','.join([r['id'], r['image'], r['mask'], *r['completions']]) for r in records]
    (tmp_path/'set.json').write_text(json.dumps(records))
    (tmp_path/'set.csv').write_text('\n'.join(['id,image,mask,comp1,comp2', *rows]))
    before = contents(tmp_path)
    assert amodal('convert', 'manifest', tmp_path/f'set.{suffix}', tmp_path, '--overwrite') == 1
    assert contents(tmp_path) == before
    for _ in range(2): assert amodal('convert', 'manifest', tmp_path/f'set.{suffix}', tmp_path/'out', '--overwrite') == 0 # elsewhere it may be done twice

def test_convert_keeps_folders_in_which_pictures_are_searched(tmp_path):
    "The label file names a picture that is a file of a scene folder beside it."
    folder = write_scene(scene('a_image'), tmp_path)
    write_scene(scene('a_image_image'), tmp_path)
    regions = [{'segmentation': [x, 2, x+8, 2, x+8, 14, x, 14], 'order': k} for k, x in enumerate((2, 5), 1)]
    images = [{'id': 1, 'file_name': 'a_image_image.png'}]
    (tmp_path/'labels.json').write_text(json.dumps({'images': images, 'annotations': [{'image_id': 1, 'regions': regions}]}))
    before = contents(tmp_path)
    assert (folder/'a_image_image.png').exists()
    assert amodal('convert', 'cocoa', tmp_path/'labels.json', tmp_path, '--overwrite') == 1
    assert contents(tmp_path) == before
    for _ in range(2): assert amodal('convert', 'cocoa', tmp_path/'labels.json', tmp_path/'scenes', '--overwrite') == 0

@pytest.fixture
def fused(tmp_path):
    "Scenes in `in`, their fusions in `fused`."
    write_scene(scene(), tmp_path/'in')
    assert fuse_folder(tmp_path/'in', tmp_path/'fused', 'vote', harmonise=False)['done'] == ['a']
    return tmp_path

@pytest.mark.parametrize('format', ['ora', 'scenes', 'shards'])
def test_nothing_is_exported_into_the_folder_of_fusions(format, fused):
    (fused/'link').symlink_to(fused/'fused')
    before = contents(fused)
    report = (fused/'fused'/'report.json').read_bytes()
    for out in 'fused', 'link':
        with pytest.raises(AmodalError, match='folder of --fused'): export(format, fused/'in', fused/out, fused/'fused', report_line=quiet, overwrite=True)
    assert contents(fused) == before and (fused/'fused'/'report.json').read_bytes() == report

def test_a_folder_of_fusions_is_not_replaced(fused):
    "Not if it has the name of a scene, nor what is in it, be it scenes."
    (fused/'top').mkdir()
    (fused/'fused').rename(fused/'top'/'a')
    write_scene(scene(seed=1), fused/'top'/'a'/'more')
    before = contents(fused)
    for out in 'top', 'top/a/more': assert 'is read here' in reason(export_scenes(fused/'in', fused/out, fused/'top'/'a'))
    assert contents(fused) == before

# Interrupted

def failing_at(steps, error):
    "A `Path.rename` that fails at some of its calls."
    rename, calls = Path.rename, []
    def failing(self, target):
        calls.append((self, target))
        if len(calls) in steps: raise error
        return rename(self, target)
    return failing

OLD, NEW = dict(n=3, seed=1), dict(n=2, seed=0)

def whole(folder):
    "Which of both scenes a folder is, wherever it lies."
    d = folder.parent/'.check'
    shutil.copytree(folder, d/'a')
    found = contents(d)
    shutil.rmtree(d)
    for name, how in ('old', OLD), ('new', NEW):
        write_scene(scene(**how), d)
        want = contents(d)
        shutil.rmtree(d)
        if found == want: return name

FAILING = [([1], {'a': 'old'}), ([2], {'a': 'old'}), ([2, 3], {'a.replaced': 'old'}), ([3], {'a': 'new', 'a.replaced': 'old'})]

@pytest.mark.parametrize('steps, left', FAILING)
@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_a_replacement_that_fails_loses_nothing(steps, left, error, tmp_path, monkeypatch):
    write_scene(scene(**OLD), tmp_path)
    with monkeypatch.context() as m:
        m.setattr(Path, 'rename', failing_at(steps, error))
        with pytest.raises(type(error)): write_scene(scene(**NEW), tmp_path, overwrite=True)
    assert {p.name: whole(p) for p in tmp_path.iterdir()} == left

KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_overwrite import NEW, scene, write_scene
step, rename, calls = int(sys.argv[3]), Path.rename, []
def rename_or_die(self, target):
    calls.append(target)
    if len(calls) == step: os._exit(9)
    return rename(self, target)
Path.rename = rename_or_die
write_scene(scene(**NEW), sys.argv[2], overwrite=True)
"""

@pytest.mark.parametrize('step, left', [(1, {'a': 'old'}), (2, {'a.replaced': 'old'}), (3, {'a': 'new', 'a.replaced': 'old'})])
def test_a_replacement_that_is_killed_loses_nothing(step, left, tmp_path, caplog, forks):
    "In a process of its own, which ends before its first, second or third rename."
    out = tmp_path/f'killed{step}' # a name of its own, as a line is printed once in a process
    write_scene(scene(**OLD), out)
    assert forks(KILLED, Path(__file__).parent, out, step).returncode == 9
    assert {p.name: whole(p) for p in out.iterdir() if not p.name.startswith('.')} == left
    assert all(p.name.endswith('.tmp') for p in out.iterdir() if p.name.startswith('.'))
    remove_dead_temporaries(out) # as the next command does
    assert {p.name for p in out.iterdir()} == set(left)
    if step == 2: # nothing reads it, but it is named
        write_scene(scene('b'), out)
        assert [p.name for p in find_scenes(out)] == ['b']
        line, = caplog.messages
        assert 'a.replaced: ' in line and 'rename it to a' in line
    if step < 3:
        with pytest.raises(AmodalError, match='is there already'): write_scene(scene(**NEW), out)
        assert whole(out/'a') == 'old' and not (out/'a.replaced').exists()
    else: # both are there, and which one to keep is not for a program to decide
        with pytest.raises(AmodalError, match='a.replaced: is there already'): write_scene(scene(**OLD), out, overwrite=True)
        write_scene(scene(**NEW), out, overwrite=True) # is done, and the other one is named
        assert {k: whole(out/k) for k in left} == left and 'a.replaced: was replaced by a' in caplog.messages[-1]
        shutil.rmtree(out/'a.replaced')
    write_scene(scene(**NEW), out, overwrite=True)
    assert whole(out/'a') == 'new'

def test_what_fails_while_it_is_written_leaves_the_old_scene(tmp_path, monkeypatch):
    write_scene(scene(**OLD), tmp_path)
    def full(path, *args): raise OSError(28, 'No space left on device', str(path))
    monkeypatch.setattr(folders_module, 'write_picture', full)
    with pytest.raises(OSError): write_scene(scene(**NEW), tmp_path, overwrite=True)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ['a'] and whole(tmp_path/'a') == 'old'

def test_what_comes_while_the_scene_is_written_is_kept(tmp_path, monkeypatch):
    write_scene(scene(**OLD), tmp_path)
    write = write_picture
    def meanwhile(path, *args):
        write(path, *args)
        (tmp_path/'a'/'notes.txt').write_text('mine')
    monkeypatch.setattr(folders_module, 'write_picture', meanwhile)
    with pytest.raises(AmodalError, match='notes.txt'): write_scene(scene(**NEW), tmp_path, overwrite=True)
    assert (tmp_path/'a'/'notes.txt').read_text() == 'mine' and [p.name for p in tmp_path.iterdir()] == ['a']

def test_somebodys_folder_of_the_name_for_setting_aside_is_kept(tmp_path):
    (tmp_path/'a.replaced').mkdir()
    (tmp_path/'a.replaced'/'notes.txt').write_text('mine')
    write_scene(scene(**OLD), tmp_path)
    with pytest.raises(AmodalError, match='a.replaced: is there already'): write_scene(scene(**NEW), tmp_path, overwrite=True)
    assert whole(tmp_path/'a') == 'old' and (tmp_path/'a.replaced'/'notes.txt').read_text() == 'mine'
    assert {p.name for p in tmp_path.iterdir()} == {'a', 'a.replaced'}

@pytest.mark.parametrize('write', ['scene', 'folder', 'packed'])
def test_a_temporary_folder_that_somebody_else_made_is_kept(write, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'urandom', lambda n: bytes(n))
    name = temporary_beside(tmp_path/'a', '.scenes' if write == 'packed' else '.tmp').name
    (tmp_path/name).mkdir()
    (tmp_path/name/'notes.txt').touch()
    with pytest.raises(FileExistsError):
        if write == 'scene': write_scene(scene(), tmp_path)
        else:
            with atomic_folder(tmp_path/'a') if write == 'folder' else scenes_folder_or_shards(tmp_path/'a', 1): pass
    assert set(contents(tmp_path)) == {name, f'{name}/notes.txt'}

# Files

@pytest.mark.parametrize('format, file', [('ora', 'a.ora'), ('psd', 'a.psd'), ('coco', 'images/a.png')])
def test_exported_files_are_replaced_only_if_asked(format, file, fused):
    def once(overwrite): return export(format, fused/'in', fused/'out', fused/'fused', report_line=quiet, overwrite=overwrite)
    (fused/'out'/file).parent.mkdir(parents=True)
    (fused/'out'/file).write_text('painted on')
    assert 'is there already: add --overwrite' in reason(once(False)) and (fused/'out'/file).read_text() == 'painted on'
    if format == 'coco': (fused/'out'/'annotations.json').unlink()
    assert once(True)['done'] == ['a'] and (fused/'out'/file).read_bytes() != b'painted on'

def test_labels_are_replaced_only_if_asked_and_not_by_nothing(fused):
    (fused/'out').mkdir()
    (fused/'out'/'annotations.json').write_text('mine')
    with pytest.raises(AmodalError, match='annotations.json: is there already'): export('coco', fused/'in', fused/'out', fused/'fused', report_line=quiet)
    shutil.rmtree(fused/'fused'/'a')
    assert export('coco', fused/'in', fused/'out', fused/'fused', report_line=quiet, overwrite=True)['failed'] # nothing could be exported
    assert (fused/'out'/'annotations.json').read_text() == 'mine'

def test_a_picture_of_labels_does_not_replace_a_scenes_file(tmp_path):
    "A scene named `images`, and one whose name makes a file of it."
    for id in 'images', 'images_mask': write_scene(scene(id), tmp_path)
    before = contents(tmp_path)
    report = export('coco', tmp_path, tmp_path, None, 'vote', quiet, overwrite=True)
    assert before.items() <= contents(tmp_path).items() and len(report['failed']) == 2

THEIRS = ['{"results": [1, 2]}', '{"done": 7, "failed": []}', '[]', '', '{"done": [], "failed": [], "mine": []}', '['*100_000]

@pytest.mark.parametrize('text', THEIRS)
def test_somebodys_report_is_kept(text, fused):
    (fused/'out').mkdir()
    (fused/'out'/'report.json').write_text(text)
    stack(fused/'src'/'a')
    for write in (lambda: fuse_folder(fused/'in', fused/'out', 'vote', 'error', quiet), lambda: export_scenes(fused/'in', fused/'out')):
        with pytest.raises(AmodalError, match='no report of amodal'): write()
    assert amodal('convert', 'rgba-stack', fused/'src'/'a', fused/'out', '--overwrite') == 1
    assert [p.name for p in (fused/'out').iterdir()] == ['report.json'] and (fused/'out'/'report.json').read_text() == text

def test_our_own_reports_are_replaced(fused):
    for _ in range(2): fuse_folder(fused/'in', fused/'out', 'vote', 'error', quiet, harmonise=False)
    for _ in range(2): assert export('ora', fused/'in', fused/'layers', fused/'fused', report_line=quiet, overwrite=True)['done']
    for _ in range(2): assert amodal('convert', 'rgba-stack', stack(fused/'src'/'a'), fused/'converted', '--overwrite') == 0

def test_fusing_into_the_scenes_themselves_keeps_them(tmp_path):
    folder = write_scene(scene(), tmp_path)
    before = contents(tmp_path)
    for _ in range(2): assert fuse_folder(tmp_path, tmp_path, 'vote', harmonise=False)['done'] == ['a']
    assert before.items() <= contents(tmp_path).items() and len(list(folder.glob('a_fused.png'))) == 1

@pytest.mark.parametrize('name', ['README.md', 'config.json', 'model.safetensors'])
def test_a_shared_model_replaces_no_file_unasked(name, tmp_path, capsys):
    (tmp_path/name).write_text('mine')
    assert amodal('share', '--out', tmp_path) == 1
    assert contents(tmp_path) == {name: b'mine'} and 'is there already' in capsys.readouterr().err
    assert amodal('share', '--out', tmp_path, '--overwrite') == 0 and (tmp_path/name).read_bytes() != b'mine'
    before = contents(tmp_path)
    assert amodal('share', tmp_path, '--out', tmp_path, '--overwrite') == 1 # the model itself
    assert contents(tmp_path) == before

def test_a_program_that_differs_leaves_the_earlier_one(tmp_path, monkeypatch):
    (tmp_path/'model.pt2').write_text('the earlier one')
    monkeypatch.setattr(share_module, 'export_torch', lambda model, path: Path(path).write_text('another'))
    monkeypatch.setattr(share_module, 'torch_runner', lambda path: None)
    monkeypatch.setattr(share_module, 'max_difference', lambda *args: 1.)
    with pytest.raises(AmodalError, match='was not kept'): share('order', tmp_path, 'torch', overwrite=True)
    assert contents(tmp_path) == {'model.pt2': b'the earlier one'}

@pytest.mark.parametrize('name', ['table.md', 'sheet.png', 'fused'])
def test_the_demo_replaces_nothing_but_a_demo(name, tmp_path):
    if name == 'fused': (tmp_path/name).mkdir()
    else: (tmp_path/name).write_text('mine')
    (tmp_path/'notes.txt').write_text('mine')
    before = contents(tmp_path)
    with pytest.raises(AmodalError, match='no folder of an earlier demo'): demo(tmp_path, quiet)
    assert contents(tmp_path) == before

def test_a_link_to_a_file_is_not_replaced(tmp_path):
    (tmp_path/'a').write_text('kept')
    (tmp_path/'b').symlink_to('a')
    check_file_target(tmp_path/'a', True)
    with pytest.raises(AmodalError, match='no regular file'): check_file_target(tmp_path/'b', True)
