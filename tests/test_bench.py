"`amodal bench` on a small root that holds completions and labels: what it prints and writes, and what a bad file does to it."
import io, json, shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from html.parser import HTMLParser
import numpy as np, pytest, torch
from amodal_nb.app.cli import main
from amodal_nb.core.pictures import write_picture
from amodal_nb.evaluation.pair_records import true_sequence
from amodal_nb.formats.benchmarks import find_benchmarks, hide_share, scale_scene
from amodal_nb.synthesis.composer import Composer

SIDE = 80

def write_completions(root, scene):
    "As the deocclusion demo writes its results: the front object is number 0."
    folder = root/scene.id
    write_picture(root/f'{scene.id}.png', scene.image)
    write_picture(folder/'bkg.png', scene.background)
    for k, number in enumerate(true_sequence(scene)):
        write_picture(folder/f'obj_{k:03}.png', torch.cat([scene.completions[number-1], scene.alphas[number-1]]))

def box(x, y, w, h): return [x, y, x+w, y, x+w, y+h, x, y+h]

def write_labels(root, pictures):
    "As COCOA: two boxes a picture, the first in front."
    regions = [{'segmentation': box(15, 20, 30, 35), 'order': 1}, {'segmentation': box(30, 30, 40, 40), 'order': 2}]
    images = [{'id': k, 'file_name': f'{name}.png', 'width': SIDE, 'height': SIDE} for k, name in enumerate(pictures)]
    for name, picture in pictures.items(): write_picture(root/'val2014'/f'{name}.png', picture)
    file = root/'annotations'/'COCO_amodal_val2014.json'
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({'images': images, 'annotations': [{'image_id': k, 'regions': regions} for k in range(len(images))]}))
    return file

def write_kins(root, name, picture):
    "As KINS: two objects of one cluster, the second in front; the third in another cluster."
    write_picture(root/'image_2'/f'{name}.png', picture)
    labels = [(box(15, 20, 30, 35), 1, 2), (box(30, 30, 40, 40), 1, 1), (box(2, 2, 10, 10), 2, 1)]
    objects = [{'id': k, 'image_id': 7, 'category_id': 4, 'a_segm': [p], 'i_segm': [p], 'oco_id': c, 'ico_id': r} for k, (p, c, r) in enumerate(labels)]
    images = [{'id': 7, 'file_name': f'{name}.png', 'width': SIDE, 'height': SIDE}]
    (root/'update_test_2020.json').write_text(json.dumps({'images': images, 'annotations': objects, 'categories': [{'id': 4, 'name': 'car'}]}))

def write_instaorder(root, name, picture):
    "As InstaOrder: COCO's masks of visible parts, which touch; three objects, of which two are equally far."
    write_picture(root/'val2017'/f'{name}.png', picture)
    parts = [box(10, 10, 25, 30), box(35, 10, 25, 30), box(10, 40, 50, 20)]
    images = [{'id': 1, 'file_name': f'{name}.png', 'width': SIDE, 'height': SIDE}]
    instances = [{'id': 11+k, 'image_id': 1, 'segmentation': [p], 'iscrowd': 0} for k, p in enumerate(parts)]
    depth = [{'order': '2<0', 'overlap': False, 'count': 2}, {'order': '2<1', 'overlap': True, 'count': 4}, {'order': '0=1', 'overlap': True, 'count': 2}]
    label = {'image_id': 1, 'instance_ids': [11, 12, 13], 'occlusion': [{'order': '2<0'}, {'order': '2<1'}], 'depth': depth}
    (root/'InstaOrder_val2017.json').write_text(json.dumps({'annotations': [label]}))
    (root/'instances_val2017.json').write_text(json.dumps({'images': images, 'annotations': instances}))

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    "A root with two sets; the name of a picture needs escaping everywhere."
    root = tmp_path_factory.mktemp('data')/'root'
    composer = Composer('cc0', size=SIDE, n_objects=4, seed=5)
    scenes = [replace(composer[k], id=id) for k, id in enumerate(('first', 'a&b_50%', 'third'))]
    for scene in scenes: write_completions(root/'results', scene)
    write_labels(root/'coco', {s.id: s.image for s in scenes[:2]})
    return root

def run(capsys, *args):
    "Run `amodal bench`; return (status, stdout, stderr)."
    status = 0
    try: main(['bench', *map(str, args)])
    except SystemExit as e: status = e.code or 0
    out, err = capsys.readouterr()
    return status, out, err

METHODS = ['area', 'vote', 'order', 'order, harmonised', 'order, harmonised, natural prior']
OPTIONS = '--seeds', '0,1', '--hide', '0.6,1', '--size', SIDE

@pytest.fixture(scope='module')
def report(data, tmp_path_factory):
    "The report on this root: the folder, stdout, and the lines of pairs."
    out = tmp_path_factory.mktemp('out')
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        try: main(['bench', str(data), '--out', str(out/'bench'), '--json', str(out/'pairs.jsonl'), *map(str, OPTIONS)])
        except SystemExit as e: assert not e.code, stderr.getvalue()
    lines = [json.loads(line) for line in (out/'pairs.jsonl').read_text().splitlines()]
    return out/'bench', stdout.getvalue(), lines

def markdown_rows(text, title):
    "The rows of a Markdown table below a heading, as dicts by its head."
    lines = text.partition(f'## {title}\n')[2].strip().splitlines()
    cells = [[c.strip() for c in line.strip('|').split('|')] for line in lines[:lines.index('')]]
    return [dict(zip(cells[0], row)) for row in cells[2:]]

def test_the_table_follows_from_the_lines_of_pairs(report):
    _, stdout, lines = report
    tables = {name: markdown_rows(stdout, f'Pairs in the right order: {name}') for name in ('deocclusion', 'cocoa')}
    for rows in tables.values(): assert [r['method'] for r in rows] == METHODS*2
    for name, row in ((name, row) for name, rows in tables.items() for row in rows):
        chosen = [l for l in lines if (l['set'], l['hide'], l['method']) == (name, float(row['hidden share']), row['method'])]
        for kind, wanted in {'all pairs': (True, False), 'shown': (True,), 'hidden': (False,)}.items():
            points = [l['correct'] for l in chosen if l['identifiable'] in wanted]
            assert row[kind].split()[0] == (f'{np.mean(points):.3f}' if points else '–')
        if row['all pairs'] != '–':
            value, low, high = (float(v.strip('[],')) for v in row['all pairs'].split())
            assert low <= value <= high

def test_completions_are_ordered_by_what_they_show_and_labels_are_not(report):
    _, _, lines = report
    def right(set, hide, method): return np.mean([l['correct'] for l in lines if (l['set'], l['hide'], l['method'], l['identifiable']) == (set, hide, method, hide < 1)])
    assert right('deocclusion', .6, 'order') == 1 and right('deocclusion', .6, 'vote') == 1 # composed without any degradation
    assert right('deocclusion', 1., 'vote') == .5
    assert right('cocoa', .6, 'vote') == .5                 # both of a pair show the same pixels

def test_the_prior_decides_only_what_leaves_no_trace(report):
    def records(method): return {(l['picture'], l['hide'], l['seed'], l['a'], l['b']): l for l in report[2] if l['set'] == 'deocclusion' and l['method'] == method}
    without, with_prior = records('order, harmonised'), records('order, harmonised, natural prior')
    shown = [k for k, l in without.items() if l['identifiable']]
    assert shown and all(with_prior[k]['correct'] == without[k]['correct'] for k in shown)
    assert any(with_prior[k]['p_a_front'] != without[k]['p_a_front'] for k in without if k not in shown)

def test_lines_name_the_pair_and_the_mask(report):
    line = next(l for l in report[2] if l['set'] == 'deocclusion')
    assert {'set', 'picture', 'hide', 'seed', 'method', 'a', 'b', 'a_name', 'b_name', 'a_in_front', 'p_a_front', 'overlap_px', 'identifiable', 'correct'} == {*line}
    for l in report[2]:
        if l['set'] == 'deocclusion': assert l['a_in_front'] == (l['a_name'] < l['b_name']) # obj_000 is in front
    assert {l['seed'] for l in report[2] if l['hide'] == .6} == {0, 1}

def test_repaint_error_is_smallest_in_the_own_order(report):
    rows = {(r['hidden share'], r['order']): float(r['L1'].split()[0]) for r in markdown_rows(report[1], 'Repaint error: deocclusion')}
    own, reverse = rows['–', "the stack's own"], rows['–', 'reversed']
    assert own < .005 < reverse
    assert all(own <= error <= reverse for error in rows.values())
    assert 'The own order is closer than its reverse in 3 of 3 pictures.' in report[1]
    assert 'Repaint error: cocoa' not in report[1]          # labels have no background

class Page(HTMLParser):
    "What a page shows, and what it refers to."
    def __init__(self, text):
        super().__init__()
        self.text, self.refers, self.open = '', [], []
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        if tag not in ('meta', 'img'): self.open.append(tag)
        self.refers += [v for k, v in attrs if k in ('src', 'href')]
    def handle_endtag(self, tag): assert self.open.pop() == tag
    def handle_data(self, data): self.text += data

def test_kins_instaorder_and_samples_go_through_the_command(data, tmp_path, capsys):
    "Composed stand-ins in the published layouts: no file of either data set is here."
    picture = Composer('cc0', size=SIDE, n_objects=3, seed=5)[0].image
    write_kins(tmp_path/'in'/'kins', '000007', picture)
    write_instaorder(tmp_path/'in'/'coco', '000000000001', picture)
    for noise in 'clean', 'noisy': write_completions(tmp_path/'in'/noise, replace(Composer('cc0', size=SIDE, n_objects=3, seed=5, noise=noise)[0], id='one'))
    status, out, err = run(capsys, tmp_path/'in', '--out', tmp_path/'out', '--hide', 1, '--seeds', 0, '--size', SIDE)
    assert status == 0, err
    tables = {name: markdown_rows(out, f'Pairs in the right order: {name}') for name in ('kins', 'instaorder', 'deocclusion clean', 'deocclusion noisy')}
    for rows in tables.values(): assert [r['method'] for r in rows] == METHODS and all(0 <= float(r['visible IoU'].split()[0]) <= 1 for r in rows)
    depth = {r['method']: r for r in markdown_rows(out, 'Depth order: instaorder')}
    assert float(depth['area']['distinct']) in (0, 1)       # of one pair: 2 in front of 0
    for r in depth.values():                                # weights 1, 1/2 and 1; a sequence contradicts the pair of equal depth
        wrong = float(r['distinct']) + .5*(r['overlapping'] == '1.000') + 1
        assert float(r['all']) == pytest.approx(wrong/2.5, abs=6e-4) and r['overlapping'] in ('0.667', '1.000')
    one, two = markdown_rows(out, 'Best of k samples')
    assert float(two['own repaint']) < float(one['own repaint']) and float(two['visible IoU']) >= float(one['visible IoU'])

def test_the_page_is_one_file_with_the_pictures_and_the_wrong_pairs(report):
    text = (report[0]/'bench.html').read_text()
    page = Page(text)
    assert page.open == [] and all(r.startswith('data:image/jpeg;base64,') for r in page.refers)
    assert len(page.refers) == 5*3                          # five pictures: as it is, and a mask of each share
    assert 'prefers-color-scheme: dark' in text and 'http' not in text and '<script' not in text
    assert 'deocclusion: a&b_50%' in page.text and 'Pairs that a method got wrong' in page.text
    wrong = next(l for l in report[2] if l['correct'] == 0)
    front, back = ('a', 'b') if wrong['a_in_front'] else ('b', 'a')
    assert f"{wrong[front + '_name']} ({wrong[front]}) over {wrong[back + '_name']} ({wrong[back]})" in page.text

def test_latex_is_escaped_ascii_with_as_many_cells_as_columns(report):
    text = (report[0]/'bench.tex').read_text(encoding='ascii')
    assert text.count(r'\begin{tabular}') == text.count(r'\end{tabular}') == 3 + 2
    assert r'a\&b\_50\%' in text and 'a&b' not in text
    for part in text.split(r'\begin{tabular}')[1:]:
        columns, body = part.partition('}')[0].strip('{'), part.partition(r'\toprule')[2].partition(r'\bottomrule')[0]
        rows = [row.replace(r'\&', '') for row in body.split(' \\\\\n') if row.strip() not in ('', r'\midrule')]
        assert {row.count('&') + 1 for row in rows} == {len(columns)}

def test_markdown_and_json_say_what_was_measured(report):
    text = (report[0]/'bench.md').read_text()
    for part in '5 pictures of root', f'at most {SIDE} px', 'seeds 0, 1', '## Each picture: cocoa', 'a&b_50%': assert part in text
    summary = json.loads((report[0]/'bench.json').read_text())
    assert summary['settings'] == {'hide': [.6, 1.], 'seeds': [0, 1], 'side': SIDE, 'prior': 'natural', 'methods': METHODS}
    assert summary['failed'] == [] and len(summary['repaint']) == 3

def test_the_same_twice(data, report, tmp_path, capsys):
    status, stdout, _ = run(capsys, data, '--out', tmp_path/'again', '--json', tmp_path/'pairs.jsonl', *OPTIONS)
    assert status == 0
    assert (tmp_path/'pairs.jsonl').read_bytes() == (report[0].parent/'pairs.jsonl').read_bytes()
    for name in 'bench.md', 'bench.tex', 'bench.html', 'bench.json':
        assert (tmp_path/'again'/name).read_bytes() == (report[0]/name).read_bytes(), name

def test_a_bad_picture_does_not_stop_the_others(data, tmp_path, capsys):
    root = shutil.copytree(data, tmp_path/'root')
    (root/'results'/'first'/'obj_001.png').write_bytes(b'no picture')
    (root/'results'/'third.png').unlink()
    (root/'coco'/'val2014'/'first.png').write_bytes(b'')
    status, stdout, stderr = run(capsys, root, '--out', tmp_path/'out', '--seeds', 0, '--hide', 1, '--size', SIDE)
    assert status == 1
    assert [sum(name in line for line in stderr.splitlines()) for name in ('obj_001.png', 'third', 'first.png')] == [1, 1, 1]
    failed = json.loads((tmp_path/'out'/'bench.json').read_text())['failed']
    assert [(f['set'], f['id']) for f in failed] == [('deocclusion', 'first'), ('deocclusion', 'third'), ('cocoa', 'first')]
    for name in 'bench.md', 'bench.html': assert 'obj_001.png' in (tmp_path/'out'/name).read_text()
    assert [{r['picture'] for r in markdown_rows(stdout, f'Each picture: {name}')} for name in ('deocclusion', 'cocoa')] == [{'a&b_50%'}]*2

def test_a_damaged_label_file_is_named(data, tmp_path, capsys):
    root = shutil.copytree(data, tmp_path/'root')
    file = root/'coco'/'annotations'/'COCO_amodal_val2014.json'
    file.write_text(file.read_text()[:-20])
    status, stdout, stderr = run(capsys, root, '--out', tmp_path/'out', '--seeds', 0, '--hide', 1, '--size', SIDE)
    assert status == 1 and file.name in stderr and len(stderr.splitlines()) == 1
    assert 'Each picture: deocclusion' in stdout and 'Each picture: cocoa' not in stdout

@pytest.mark.parametrize('args, part', [
    ([], 'holds no completions'), (['--hide', '0'], 'hide'), (['--hide', 'all'], 'join them by commas'), (['--seeds', '-1'], 'seeds'),
    (['--size', '1'], 'size'), (['--prior', 'x'], 'prior'), (['--model', 'no_such'], 'no such model')])
def test_nothing_to_measure_is_one_line(tmp_path, capsys, args, part):
    (tmp_path/'root').mkdir()
    (tmp_path/'root'/'notes.json').write_text('{"regions": 1}' if '--model' in args else '{}')
    status, stdout, stderr = run(capsys, tmp_path/'root', '--out', tmp_path/'out', *args)
    assert (status, stdout, len(stderr.splitlines())) == (1, '', 1) and part in stderr
    assert not (tmp_path/'out').exists()

def test_what_is_read_is_not_replaced(data, tmp_path, capsys):
    labels = data/'coco'/'annotations'/'COCO_amodal_val2014.json'
    before = labels.read_bytes()
    status, _, stderr = run(capsys, data, '--out', tmp_path/'out', '--json', labels)
    assert status == 1 and 'only read' in stderr and labels.read_bytes() == before
    (tmp_path/'mine').mkdir()
    (tmp_path/'mine'/'bench.md').write_text('mine')
    status, _, stderr = run(capsys, data, '--out', tmp_path/'mine')
    assert status == 1 and 'choose another folder' in stderr and (tmp_path/'mine'/'bench.md').read_text() == 'mine'

def test_a_labelled_object_shows_the_picture_after_scaling(data):
    labels = find_benchmarks(data)[-1]
    for scene in labels.scenes():
        small = scale_scene(scene, 48, labels.is_labels)
        assert small.size == (48, 48) and torch.equal(small.completions, small.image*small.alphas)

def test_a_mask_hides_the_share_that_it_states(data):
    for scene in find_benchmarks(data)[0].scenes():
        overlap = (scene.alphas > .5).sum(0) > 1
        for share in .3, .6, 1.:
            masked = hide_share(scene, share, 7)
            assert abs((masked.mask[0][overlap[0]]).mean().item() - share) < .02
            assert torch.equal(masked.partial, scene.image*(1 - masked.mask))

def test_real_completions(root, tmp_path, capsys):
    "On the pictures of ../shared/real: pairs that show are ordered, and the stacks lie front first."
    real = root.parent/'shared'/'real'
    if not real.is_dir(): pytest.skip('needs ../shared, which is not part of the project')
    status, stdout, _ = run(capsys, real/'deocclusion', '--out', tmp_path/'out', '--seeds', 0, '--hide', 0.6, '--size', 192)
    assert status == 0
    order = next(r for r in markdown_rows(stdout, 'Pairs in the right order: deocclusion') if r['method'] == 'order')
    assert float(order['shown'].split()[0]) == 1 and float(order['all pairs'].split()[0]) > .6
    assert 'The own order is closer than its reverse in 4 of 4 pictures.' in stdout
