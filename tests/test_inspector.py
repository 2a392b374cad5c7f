"The inspector as people use it: a real JupyterLab, a real browser, real clicks."
import http.client, json, os, re, shutil, signal, socket, subprocess, sys, time, urllib.error, urllib.request
from dataclasses import replace
from pathlib import Path
import numpy as np, pytest, torch
from PIL import Image
from amodal_nb.fusion.predict import apply_order_corrections, fuse_scene
from amodal_nb.fusion.refit import refit_scene
from amodal_nb.formats.refit_files import read_refit, write_refit
from amodal_nb.core.files import assets, write_json
from amodal_nb.core.pictures import to_uint8
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.scenes.scene import Scene
from amodal_nb.synthesis.composer import Composer
from browser import NO_AXE, WAIT, Inspector, Server, axe_path, browser, end, page_of, chromium, violations
from editor_page import EditorPage

@pytest.fixture(scope='module')
def chrome():
    with browser() as b: yield b

@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    chromium()
    with Server(tmp_path_factory.mktemp('lab')) as s: yield s

@pytest.fixture(scope='module')
def tab(chrome):
    with page_of(chrome) as p: yield p

@pytest.fixture
def page(tab, request):
    "A page that tests share, so that JupyterLab is loaded once. After a failure it is loaded anew."
    failures = request.session.testsfailed
    tab.mouse.move(0, 0)
    yield tab
    if request.session.testsfailed > failures: tab.goto('about:blank')

@pytest.fixture
def run(lab, page):
    "run(name, *cells): a notebook of these cells, run in a kernel that tests share."
    def run_cells(name, *cells, **how): lab.run(page, lab.write(name, *cells), share_kernel=True, **how)
    return run_cells

def sample(lab, name='sample2', id=None):
    "A copy of a sample scene in the server's folder."
    scene = replace(read_scene(assets()/'scenes'/name), id=id or name)
    shutil.rmtree(lab.folder/scene.id, ignore_errors=True) # with what another test has saved
    write_scene(scene, lab.folder)
    return scene

IMPORTS = 'from amodal_nb.app.inspector import WeightInspector, compare_models\nfrom amodal_nb.scenes.folders import read_scene\n'

def both_cover(scene, i, j, share=.5):
    "A masked pixel (x, y) that both completions cover and no other."
    covers = (scene.alphas[:, 0] == 1) & (scene.mask > 0)
    only = covers[i-1] & covers[j-1] & (covers.sum(0) == 2)
    y, x = only.nonzero()[int(share*int(only.sum()))].tolist()
    return x, y

def test_the_tutorial_runs_and_its_inspector_can_be_used(lab, page, root):
    "Sliders, hovering, dragging, saving and undoing, in the tutorial itself."
    shutil.copy(root/'nbs'/'tutorials'/'read_a_weight_map.ipynb', lab.folder)
    lab.run(page, 'read_a_weight_map.ipynb')
    page.locator('.amodal-gallery .ag-card img').first.wait_for()  # the last cell
    assert Inspector(page).corrections() == [] # what the text beside it describes: nothing corrected yet
    i = Inspector(page, 1)
    scene = read_scene(assets()/'scenes'/'sample2')
    fused = apply_order_corrections(scene, fuse_scene(scene), made := [(5, 4), (5, 2), (5, 3), (4, 2), (2, 3)])
    assert i.corrections() == made and i.stack() == fused.order
    assert np.abs(i.result().astype(int) - to_uint8(fused.result)).max() <= 1

    x, y = both_cover(scene, 2, 3)
    i.hover(x, y)
    assert i.shown_weights() == fused.weights[:, y, x].half().tolist()
    assert re.sub(r'\s+', ' ', i.box.locator('.ai-why').inner_text()) == 'Decided by 2 in front of 3 · your correction'
    page.mouse.click(*i.place(x, y))
    page.mouse.move(5, 5)
    i.wait('i => i.place.textContent.includes("pinned")')

    i.box.locator('[data-key=marks]').uncheck()
    box = i.box.locator('[data-key=overlay_on]')
    assert not box.is_checked()
    x, y = (scene.alphas[0, 0] == 1).nonzero()[800].tolist()[::-1]
    plain = i.pixel(x, y)
    assert plain == to_uint8(fused.result)[y, x].tolist()
    box.check()
    colour = np.array([0, 0x72, 0xb2])  # of completion 1
    slider = i.box.locator('[data-key=opacity]')
    for opacity in .8, .2:
        slider.fill(str(opacity))
        assert np.abs(np.array(i.pixel(x, y)) - ((1-opacity)*np.array(plain) + opacity*colour)).max() <= 2, opacity
    box.uncheck()

    x, y = both_cover(scene, 2, 3, .1)  # not under the pin
    assert i.pixel(x, y) == to_uint8(fused.result)[y, x].tolist()
    i.drag(3, 0)
    i.wait('i => i.sequence[0] === 2')
    now = apply_order_corrections(scene, fuse_scene(scene), i.corrections(), i.js('i => i.get("stack")'))
    assert i.stack() == now.order and {(3, 2), (3, 5)} <= set(i.corrections()) and (2, 3) not in i.corrections()
    assert np.abs(i.result().astype(int) - to_uint8(now.result)).max() <= 1
    assert i.pixel(x, y) == i.result()[y, x].tolist() != to_uint8(fused.result)[y, x].tolist()

    i.box.get_by_role('button', name='Write the corrections').click()
    file = Path(re.search(r'written to (.*)', i.notice('Saved: amodal fuse follows it'))[1])
    def recorded(pairs): return {'version': 1, 'origin': 'composed', 'corrections': [{'front': f, 'back': b} for f, b in pairs]}
    assert json.loads(file.read_text()) == recorded(i.corrections())
    save = i.box.locator('.ai-primary')
    i.wait(f'i => i.count.textContent === "your order: {len(i.corrections())} corrections, saved"')
    assert save.inner_text() == 'Saved' and save.is_disabled()
    i.box.get_by_role('button', name='Undo saving').click()
    i.notice('is as it was')
    assert json.loads(file.read_text()) == recorded(made)
    i.wait('i => i.count.textContent.endsWith("corrections, not saved")')
    assert save.inner_text() == 'Save order' and save.is_enabled()
    i.box.get_by_role('button', name='Undo the last correction').click()
    i.wait(f'i => JSON.stringify(i.get("corrections")) === "{json.dumps([list(p) for p in made], separators=(",", ":"))}"')
    page.screenshot(path=lab.folder/'tutorial.png')
    assert page.errors == []

def test_linked_inspectors_move_together(lab, page, run):
    sample(lab)
    run('compare.ipynb', IMPORTS + 'compare_models("sample2", ["order", "area"])')
    page.locator('.ai-canvas').nth(1).wait_for()
    bar, one, other = page.locator('.ai-compare'), Inspector(page, 1), Inspector(page, 2)
    bar.get_by_role('button', name='Topmost').click()
    other.wait('i => i.get("view") === "top"')
    other.hover(100, 150)
    one.wait('i => i.place.textContent.startsWith("x 100, y 150")')
    one.js('i => i.zoom(2)')
    other.wait('i => Math.abs(i.camera.scale/i.fitScale - 2) < .01')
    assert page.errors == []

def test_the_inspector_shows_completions_before_and_after_harmonising(lab, page, run):
    "What was fused and what was given, and a correction, which paints with what was fused."
    scene = replace(Composer('cc0', size=128, n_objects=4, noise='noisy', seed=2)[0], id='noisy')
    write_scene(scene, lab.folder, overwrite=True)
    run('noisy.ipynb', IMPORTS + 'WeightInspector("noisy", marks=False)')
    i = Inspector(page)
    scene = read_scene(lab.folder/'noisy')
    fused = fuse_scene(scene)
    assert np.abs(i.result().astype(int) - to_uint8(fused.result)).max() <= 1
    k = 1 + max(range(scene.n), key=lambda k: (fused.scene.completions[k] - scene.completions[k]).abs().sum())
    seen = (scene.alphas[k-1, 0] == 1) & (fused.scene.alphas[k-1, 0] == 1)
    far = (fused.scene.completions[k-1] - scene.completions[k-1]).abs().sum(0)*seen
    y, x = divmod(int(far.argmax()), scene.size[1])
    i.js('(i, k) => i.set({slot: k})', k)
    i.canvas.focus()
    for key, view, shown in ('4', 'completion', fused.scene), ('g', 'original', scene):
        page.keyboard.press(key)
        i.wait(f'i => i.get("view") === "{view}"')
        assert i.pixel(x, y) == to_uint8(shown.completions[k-1])[y, x].tolist()
        assert re.search(rf'Completion {k}, harmonised by \d+ px that are seen: .*light × ', i.box.locator('.ai-legend').inner_text())
    assert 'turned' not in i.js('(i, k) => i.describeHarmonising(k)', k-1)
    i.js('(i, k) => { i.meta.done[k].affine = [[.998, -.05], [.05, .998]]; }', k-1) # of (y, x)
    assert 'turned 2.9° counter-clockwise, stretched × 1.00 across and × 1.00 down' in i.js('(i, k) => i.describeHarmonising(k)', k-1)
    i.box.get_by_label('Compare with').select_option('completion')
    page.screenshot(path=lab.folder/'before_and_after.png')
    a, b = max(fused.pairs, key=lambda o: o['overlap_px'])['a'], max(fused.pairs, key=lambda o: o['overlap_px'])['b']
    for pair in (a, b), (b, a): i.js('(i, p) => i.putInFront([p])', list(pair))
    now = apply_order_corrections(scene, fused, i.corrections(), i.js('i => i.get("stack")'))
    assert np.abs(i.result().astype(int) - to_uint8(now.result)).max() <= 1
    assert page.errors == []

def test_the_inspector_can_be_used_by_keys_alone(lab, page, run):
    "Everything by keys; every control has a name; JupyterLab takes none of the keys."
    scene = sample(lab)
    run('keys.ipynb', IMPORTS + 'w = WeightInspector("sample2")\nw')
    i = Inspector(page)
    i.box.locator('.ai-view').first.focus()
    i.js('i => i.set({overlay_on: true})')
    reached = []
    while page.evaluate('document.activeElement.closest(".amodal-inspector") !== null') and len(reached) < 100:
        reached.append(page.evaluate('document.activeElement.className || document.activeElement.dataset.key || document.activeElement.tagName'))
        page.keyboard.press('Tab')
    kinds = {word for o in reached for word in o.split()}
    assert {'ai-view', 'overlay_on', 'overlay', 'opacity', 'marks', 'against', 'ai-slot', 'ai-canvas', 'ai-tool', 'ai-card'} <= kinds, kinds
    unnamed = i.box.evaluate("""e => [...e.querySelectorAll('button, input, select, canvas[tabindex], [tabindex="0"]')].filter(o => !(o.getAttribute('aria-label')
        || o.labels?.length || o.textContent.trim())).map(o => o.outerHTML)""")
    assert unnamed == []
    cells = page.locator('.jp-Notebook .jp-Cell').count()
    page.mouse.move(2, 500)  # away from the picture
    i.js('i => i.set({slot: 1})')  # a card that has the focus is the chosen slot
    i.canvas.focus()
    for key, is_so in (('g', 'i.get("view") === "original"'), ('5', 'i.get("view") === "weight"'), ('ArrowRight', 'i.get("slot") === 2'), ('ArrowLeft', 'i.get("slot") === 1'), ('ArrowLeft', 'i.get("slot") === 6'),
                       (' ', '!i.get("overlay_on")'), ('Shift+ArrowRight', 'i.place.textContent.startsWith("x 129, y 128")'), ('Enter', 'i.get("pin")[0] === 129'),
                       ('Escape', 'i.get("pin").length === 0'), ('+', 'i.camera.scale > i.fitScale'), ('0', 'i.camera.scale === i.fitScale')):
        page.keyboard.press(key)
        i.wait(f'i => {is_so}')
    for key in 'a', 'x', 'z':  # in JupyterLab: a cell more, a cell less, undone
        page.keyboard.press(key)
        assert page.locator('.jp-Notebook .jp-Cell').count() == cells, key
    assert i.js('i => document.activeElement === i.canvas')
    i.box.locator('.ai-card').nth(2).focus()
    before = i.stack()
    page.keyboard.press('Alt+ArrowUp')
    i.wait(f'i => i.sequence[1] === {before[2]-1}')
    assert page.evaluate('document.activeElement.dataset.slot') == str(before[2])
    page.keyboard.press('Control+z')
    i.wait(f'i => i.sequence[2] === {before[2]-1}')
    assert page.locator('.jp-Notebook .jp-Cell').count() == cells
    assert page.errors == [] and scene.n == len(before)

def test_corrections_can_be_downloaded_without_kernel_or_disk(lab, page):
    "Corrections are offered as a download, with what the scene knew already; the view stays usable."
    scene = sample(lab, 'sample7')
    full = 'import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY)) # as a disk that has no room\n'
    lab.run(page, lab.write('gone.ipynb', IMPORTS + full + 'WeightInspector("sample7", _patience=1500)'))
    i = Inspector(page)
    file = lab.folder/'sample7'/'sample7_scene.json'
    was = file.read_bytes()
    i.box.locator('[data-pair="4 2"]').click()
    i.wait('i => i.get("corrections").length === 1')
    i.box.get_by_role('button', name='Write the corrections').click()
    i.notice('cannot be written')
    assert file.read_bytes() == was and not list(file.parent.glob('*.tmp'))
    with page.expect_download() as got: i.box.get_by_role('button', name='Download instead').click()
    expected = json.loads(was) | {'corrections': [{'front': 4, 'back': 2}]}
    assert got.value.suggested_filename == 'sample7_scene.json' and json.loads(Path(got.value.path()).read_text()) == expected

    for session in lab.api('GET', 'sessions'):
        if session['path'] == 'gone.ipynb': lab.api('DELETE', f"kernels/{session['kernel']['id']}")
    i.js('i => i.putInFront([[1, 2]])')
    i.notice('The kernel does not answer')
    assert i.corrections() == [(4, 2), (1, 2)]
    now = apply_order_corrections(scene, fuse_scene(scene), i.corrections(), i.js('i => i.get("stack")'))
    assert np.abs(i.result().astype(int) - to_uint8(now.result)).max() <= 1
    with page.expect_download() as got: i.box.locator('.ai-notice').get_by_role('button', name='Download').click()
    assert [(p['front'], p['back']) for p in json.loads(Path(got.value.path()).read_text())['corrections']] == [(4, 2), (1, 2)]
    i.js('i => i.set({view: "top", slot: 3})')
    i.wait('i => i.views[5].classList.contains("ai-is")')

def discs(n, size=96):
    "A scene of n discs in a ring, without target, background and alpha (coverage is judged from the colours)."
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing='ij')
    angle = 2*torch.pi*torch.arange(n)/n
    alphas = torch.stack([((x - size*(.5 + .28*a.cos()))**2 + (y - size*(.5 + .28*a.sin()))**2 < (size/6)**2).float()[None] for a in angle])
    colours = torch.rand(n, 3, 1, 1, generator=torch.Generator().manual_seed(0))*.6 + .3
    mask = (y > size/2).float()[None]
    return Scene(f'discs{n}', mask, .5*torch.ones(3, size, size)*(1-mask), colours*alphas, alphas)

def as_rgb_on_black(folder, scene):
    from amodal_nb.core.pictures import write_picture
    for k, c in enumerate(scene.completions, 1): write_picture(folder/f'{scene.id}_comp{k}.png', c)

def test_the_inspector_shows_scenes_with_little_or_much_in_them(lab, page, run):
    "No target, no background, no alpha; one completion and 32; a picture 2200 px wide, shown smaller, with exact weights from the kernel."
    for scene in discs(1), discs(32): as_rgb_on_black(write_scene(scene, lab.folder, overwrite=True), scene)
    wide = discs(2, 2200)
    wide = Scene('large', *(t[..., 1000:1200, :] for t in (wide.mask, wide.partial, wide.completions, wide.alphas)))
    write_scene(wide, lab.folder, overwrite=True)
    run('few.ipynb', *(f'{IMPORTS}w = WeightInspector("{s}")\nw' for s in ('discs1', 'discs32', 'large')))
    page.locator('.amodal-inspector').nth(2).wait_for()
    one, crowd, big = (Inspector(page, k) for k in range(3))
    assert one.box.get_by_role('button', name='Target').is_disabled() and one.box.get_by_role('button', name='Error').is_disabled()
    one.canvas.focus()
    page.keyboard.press('2')  # nothing to show
    assert one.js('i => i.get("view")') == 'result'
    one.hover(48, 5)
    assert one.shown_weights() == [0] and 'Nothing covers' in one.box.locator('.ai-why').inner_text()
    assert one.box.locator('.ai-card').count() == 1 and 'No two completions overlap' in one.box.locator('.ai-pairs').text_content()

    assert crowd.box.locator('.ai-card').count() == 32
    read = read_scene(lab.folder/'discs32')
    fused = fuse_scene(read)
    crowd.js('i => i.putInFront([[32, 31], [31, 30], [30, 32]])')  # in a ring
    crowd.wait('i => i.cycles.length > 0')
    now = apply_order_corrections(read, fused, crowd.corrections(), crowd.js('i => i.get("stack")'))
    assert np.abs(crowd.result().astype(int) - to_uint8(now.result)).max() <= 1
    assert '⟳ cycle' in crowd.box.locator('.ai-stack').inner_text()

    assert 'Shown at 1/2 of its size, 1100 × 100 px' in big.box.locator('.ai-notice').inner_text()
    scene = read_scene(lab.folder/'large')
    x, y = 1100, 150
    big.hover(x, y)
    assert big.shown_weights() == fuse_scene(scene).weights[:, y, x].tolist()
    assert page.errors == []

LOGGED = """from amodal_nb.app.gallery import Gallery
class Logged(Gallery): # the kernel is shared: nothing of the package may stay changed
    def _prepare(self, folder):
        with open('prepared.txt', 'a') as f: print(folder.name, file=f)
        return super()._prepare(folder)"""

def test_the_gallery_scrolls_through_a_thousand_scenes(lab, page, run):
    "Only what is seen is there, thumbnails come on demand, filter and keys work, a click opens the inspector."
    one = Composer('cc0', size=64, n_objects=3, seed=4)[0]
    folder = write_scene(one, lab.folder)
    root = lab.folder/'thousand'
    root.mkdir()
    files = {p.name.removeprefix(one.id): p for p in folder.iterdir()}
    for k in range(1000):
        (root/f's{k:03}').mkdir()
        for name, p in files.items(): (root/f's{k:03}'/f's{k:03}{name}').hardlink_to(p)
    bad = root/'s007'/'s007_mask.png'
    bad.unlink(); bad.write_bytes(b'')
    run('gallery.ipynb', f'{LOGGED}\ng = Logged("thousand", model="area", sort="name")\ng')
    gallery = page.locator('.amodal-gallery')
    cards = gallery.locator('.ag-card')
    gallery.locator('img').first.wait_for()
    assert 0 < cards.count() < 60
    gallery.locator('.ag-reason').wait_for()
    for share in .2, .5, .95:
        gallery.evaluate('(e, v) => { const s = e.querySelector(".ag-scroll"); s.scrollTop = v*s.scrollHeight; }', share)
        page.wait_for_function('e => { const g = e.gallery, s = g.scroller; return s.scrollTop > 0 && [...g.nodes.values()].every(n => n.querySelector("img")); }', arg=gallery.element_handle())
        assert 0 < cards.count() < 60
    assert gallery.evaluate('e => e.gallery.cards.size') < 700  # it did not have to make all of them
    gallery.get_by_label('Filter').fill('s99')
    page.wait_for_function('e => e.gallery.list.length === 10 && e.gallery.nodes.size === 10', arg=gallery.element_handle())
    cards.first.locator('.ag-open').focus()
    cells = page.locator('.jp-Notebook .jp-Cell').count()
    for key in 'a', 'x', 'z':  # in JupyterLab: a cell more, a cell less, undone
        page.keyboard.press(key)
        assert page.locator('.jp-Notebook .jp-Cell').count() == cells, key
    page.keyboard.press('End')
    assert page.evaluate('document.activeElement.title').startswith('s999')
    page.keyboard.press('Enter')
    i = Inspector(page)
    assert i.js('i => [i.meta.id, i.meta.n]') == ['s999', one.n]
    page.wait_for_function('document.activeElement.textContent.includes("All scenes")')
    prepared = lambda: (lab.folder/'prepared.txt').read_text().split()
    until(lambda: prepared() == ['s999', 's990']) # the next one of the ten, while this one is looked at
    page.get_by_role('button', name='Next').click()
    page.locator('.ai-title', has_text='s990').wait_for()
    until(lambda: prepared() == ['s999', 's990', 's991']) # and not once more
    for id in 's999', 's998':
        page.get_by_role('button', name='Previous').click()
        page.locator('.ai-title', has_text=id).wait_for()
    page.get_by_role('button', name='All scenes').click()
    page.wait_for_function('document.activeElement.title.startsWith("s998")')
    assert page.errors == []

def until(true):
    end = time.monotonic() + WAIT
    while not true():
        assert time.monotonic() < end
        time.sleep(.1)

FAKE_RUN = """
import json, psutil, socket, subprocess, sys
from pathlib import Path
from amodal_nb.training.launch import Launch
folder = Path("run")/"launches"/"one"
folder.mkdir(parents=True)
torchrun = psutil.Process(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE).pid)
record = dict(pid=torchrun.pid, born=torchrun.create_time(), host=socket.gethostname(), started=0, steps=100, nproc_per_node=1)
(folder/"launch.json").write_text(json.dumps(record))
Launch(folder).watch(every=.1)"""

def test_the_training_view_shows_each_state_and_stays_in_the_saved_notebook(lab, page, run):
    """Starting without a picture that is none, training with numbers, curves and weight maps, stopping; the colours are those of the theme. When
    the run has ended, its cell holds a report and no widget."""
    run('watch.ipynb', FAKE_RUN)
    out, view = lab.folder/'run', page.locator('.jp-OutputArea')
    def shows(text): page.wait_for_function('t => [...document.querySelectorAll(".run-head, .amodal-run dl")].some(o => o.innerText.includes(t))', arg=text)
    shows('starting')
    assert view.locator('img').count() == 0
    (out/'ranks').mkdir()
    def report(state, stopping=False, **more):
        rank = dict(rank=0, doing='training', step=40, pid=1, host='here', scenes_per_second=20., memory_bytes=1e9, memory_limit_bytes=8e9, stopping=stopping)
        write_json(out/'ranks'/'0.json', rank | {'updated': time.time()})
        status = dict(state=state, step=40, steps=100, message='', started=1., updated=61., scenes_per_second=20., **more)
        write_json(out/'status.json', status)
    log = [{'step': s, 'loss': 1/s, 'lr': 1e-3} for s in range(1, 41)]
    (out/'log.jsonl').write_text(''.join(json.dumps(o) + '\n' for o in log))
    Image.new('RGB', (300, 60), 'red').save(out/'weights.png')
    report('training', seconds_left=90.)
    for text in 'training', '40 of 100', '40%', '1 min 30 s', '0.025', '1.00e-03', '20.0': shows(text)
    page.wait_for_function('[...document.querySelectorAll(".run-weights img")].some(o => o.naturalWidth === 300)')
    assert view.locator('.run-charts svg').count() == 2 and '1.0 GB of 8.0 GB' in view.inner_text()
    for theme, is_dark in ('JupyterLab Dark', True), ('JupyterLab Light', False):
        page.evaluate('theme => jupyterapp.commands.execute("apputils:change-theme", {theme})', theme)
        page.wait_for_function('dark => document.body.dataset.jpThemeLight === String(!dark)', arg=is_dark)
        ink = view.locator('.run-charts text').first.evaluate('o => getComputedStyle(o).fill.match(/\\d+/g).map(Number)')
        assert (min(ink[:3]) > 128) == is_dark, ink
        page.locator('#jupyterlab-splash').wait_for(state='detached') # JupyterLab removes it twice, an error, if the theme changes again before
    report('training', stopping=True)
    shows('stopping')
    report('stopped')
    os.kill(json.loads((out/'launches'/'one'/'launch.json').read_text())['pid'], signal.SIGKILL)
    shows('stopped')
    view.get_by_role('button', name='Stop').wait_for(state='detached')
    page.keyboard.press('Control+s')
    def kinds(): return {k for cell in json.loads((lab.folder/'watch.ipynb').read_text())['cells'] for o in cell['outputs'] for k in o.get('data', {})}
    until(lambda: kinds() == {'text/plain', 'text/html'})
    assert page.errors == []

def test_the_editor_of_a_refitted_photograph(lab, page, run):
    "Edits of the page arrive in the kernel and are saved, those of the kernel in the page; the gallery opens the editor of such a folder."
    scene = read_scene(assets()/'scenes'/'sample2')
    made = refit_scene(replace(scene, partial=scene.image, mask=torch.zeros_like(scene.mask)), model='vote')
    write_refit(made, lab.folder/'refitted')
    front, second = (layer.name for layer in made.layers[:2])
    run('edit.ipynb', f"""
from amodal_nb.app.editor import edit_widget
w = edit_widget("refitted/sample2")
def react(change):
    if len(w.edits) == 1:
        w.save("edited")
        w.edits = [*w.edits, {{"op": "hide", "layer": {second!r}}}]
w.observe(react, "edits")
w""", 'from amodal_nb.app.gallery import Gallery\nGallery("refitted", model="area")')
    editor = EditorPage(page)
    assert np.array_equal(editor.picture(), to_uint8(made.picture))
    x, y = editor.shown_pixel(front)
    editor.drag((x, y), (x + 30, y - 20))
    editor.wait('e => e.get("edits").length === 2')
    edits = [dict(op='move', layer=front, dx=30, dy=-20), dict(op='hide', layer=second)]
    assert editor.edits() == edits
    assert np.array_equal(editor.picture(), to_uint8(made.edit(edits).picture))
    assert np.array_equal(to_uint8(read_refit(lab.folder/'edited'/'sample2').picture), to_uint8(made.edit(edits[:1]).picture))
    cells = page.locator('.jp-Notebook .jp-Cell').count()
    for key in 'd', 'd', 'x': page.keyboard.press(key) # in JupyterLab: a cell less
    assert len(editor.edits()) == 4 and page.locator('.jp-Notebook .jp-Cell').count() == cells
    page.locator('.amodal-gallery .ag-card img').first.click()
    page.get_by_role('button', name='Edit', exact=True).click()
    opened = EditorPage(page, 1)
    opened.box.locator('.ae-layer').first.focus()
    page.keyboard.press('ArrowUp')
    page.get_by_role('button', name='Inspect', exact=True).click()
    page.locator('.ai-views').first.wait_for()
    page.get_by_role('button', name='Edit', exact=True).click()
    assert EditorPage(page, 1).edits() == [dict(op='move', layer=front, dx=0, dy=-1)]
    assert page.errors == []

def test_the_inspector_works_in_notebook_7(lab, page, run):
    sample(lab)
    run('seven.ipynb', IMPORTS + 'w = WeightInspector("sample2", view="top")\nw', how='notebooks')
    i = Inspector(page)
    i.hover(100, 100)
    assert sum(i.shown_weights()) == 1 and page.errors == []

class App:
    """`amodal inspect`, with temporary files of its own. A context manager: `url` with the token, `port`, `process`, `temp`, `errors()`.

    It is started as the console script is: a file elsewhere, whose folder Python puts on sys.path in place of the current one.
    (`python -m` and `python -c` would put the current folder there, and run what is in it, before this project has a say.)"""
    def __init__(self, folder, *arguments, cwd=None, first='', browser=False, **environment): # `first`: Python that is run before
        pytest.importorskip('voila', reason="needs voila: pip install 'amodal_nb[app]'")
        self.folder, self.temp, self.log = Path(folder), Path(folder)/'temp', Path(folder)/'log'
        self.temp.mkdir()
        script = self.folder/'bin'/'amodal'
        script.parent.mkdir()
        script.write_text(f'{first}\nfrom amodal_nb.app.cli import main\nmain()\n')
        self.command = [sys.executable, str(script), 'inspect', *map(str, arguments), *([] if browser else ['--no-browser'])]
        self.cwd = cwd
        modules = filter(os.path.isabs, os.environ.get('PYTHONPATH', '').split(os.pathsep))
        own = {'XDG_CACHE_HOME': str(self.folder/'cache'), 'TMPDIR': str(self.temp), 'PYTHONUNBUFFERED': '1', 'PYTHONPATH': os.pathsep.join(modules)}
        self.environment = os.environ | own | environment
    def __enter__(self):
        def listens(): # a job in the background of a script ignores SIGINT, one of nohup SIGHUP, and both pass that on
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(self.command, cwd=self.cwd, env=self.environment, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=listens)
        line = self.process.stdout.readline()
        address = re.search(r'http://127\.0\.0\.1:(\d+)/\?token=\S+', line)
        assert address, (line, self.errors())
        self.url, self.port = address[0], int(address[1])
        self.base = self.url.split('?')[0]
        return self # it listens: the address is printed after that
    def __exit__(self, *error):
        end(self.process)
        self.process.stdout.close()
    def errors(self): return self.log.read_text()
    def kernels(self):
        import psutil
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [c for c in children if c.status() != psutil.STATUS_ZOMBIE and 'ipykernel_launcher' in c.cmdline()]
    def wait_for_kernels(self, most):
        "Until there are at most so many."
        until = time.monotonic() + WAIT
        while len(kernels := self.kernels()) > most:
            assert time.monotonic() < until, kernels
            time.sleep(.5)

def app_scenes(folder, *names):
    "Copies of sample scenes. Each kernel fuses all that its page shows."
    for name in names: shutil.copytree(assets()/'scenes'/name, folder/name)
    return folder

def check_end(app, name):
    "A signal ends the app and the kernel that runs, and leaves no file."
    app.wait_for_kernels(1)
    kernels = app.kernels()
    assert len(kernels) == 1 and list(app.temp.iterdir()) != []
    app.process.send_signal(getattr(signal, name))
    assert app.process.wait(WAIT) == 0
    assert not any(k.is_running() for k in kernels) and list(app.temp.iterdir()) == []
    assert 'Traceback' not in app.errors()

COMMAND = 'import sys; from amodal_nb.app.cli import main; main(sys.argv[1:])'

def test_the_app_needs_its_token_listens_here_only_and_follows_relative_paths(tmp_path, chrome, forks):
    """What comes without the token is refused with 403, no traceback and no kernel. With it, the scenes are there, and a model fuses them; both
    paths begin where the app is started."""
    app_scenes(tmp_path/'my scenes', 'sample2', 'sample3')
    (tmp_path/'models').mkdir()
    shutil.copy(assets()/'models'/'order.safetensors', tmp_path/'models'/'mine.safetensors')
    with App(tmp_path, 'my scenes', '--model', 'models/mine.safetensors', cwd=tmp_path) as app:
        answer = urllib.request.urlopen(app.base)
        assert '/login' in answer.geturl() and 'Open the address that <code>amodal inspect</code> has printed' in answer.read().decode()
        import psutil
        listening = [c.laddr for c in psutil.Process(app.process.pid).net_connections('inet') if c.status == psutil.CONN_LISTEN]
        assert {a.ip for a in listening} <= {'127.0.0.1', '::1'} and app.port in {a.port for a in listening}
        check_refused_requests(app)
        with page_of(chrome) as page:
            elsewhere = []
            page.on('request', lambda r: elsewhere.append(r.url) if not re.match(rf'({app.base}|data:|blob:)', r.url) else None)
            page.goto(app.url, wait_until='commit')
            page.locator('#loading li').first.wait_for()
            assert page.locator('#loading li').all_inner_texts()[0] == 'Starting Python' and page.title() == 'my scenes · amodal inspect'
            assert not axe_path() or violations(page, 'body') == []
            page.locator('.ag-card img').first.wait_for()
            assert page.locator('.ag-card').count() == 2 and page.locator('.ag-reason').count() == 0 and 'WARNING' not in app.errors()
            back = lambda: page.locator('.amodal-gallery').evaluate('e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)')
            for scheme, is_dark in ('dark', True), ('light', False): # the system's
                page.emulate_media(color_scheme=scheme)
                assert (max(back()) < 100) == is_dark, back()
            assert not axe_path() or violations(page, 'body') == []
            page.locator('.ag-card', has_text='sample2').locator('.ag-open').click()
            assert Inspector(page).js('i => i.meta.id') == 'sample2'
            assert not axe_path() or violations(page, 'body') == []
            assert page.errors == [] and elsewhere == []
            check_end(app, 'SIGINT')
    missing = forks(COMMAND, 'inspect', 'my scenes', '--no-browser', '--model', 'models/none.safetensors', cwd=tmp_path, TMPDIR=str(app.temp))
    assert missing.returncode == 1 and missing.stderr.count('\n') == 1 and 'models/none.safetensors: no such model' in missing.stderr
    if not axe_path(): pytest.skip(f'{NO_AXE}; all else of this test passed')

def check_refused_requests(app):
    upgrade = {'Connection': 'Upgrade', 'Upgrade': 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': 'x3JJHMbDL1EzLkh9GBhXDw=='}
    kernel = 'api/kernels/00000000-0000-0000-0000-000000000000'
    def ask(method, path, headers):
        connection = http.client.HTTPConnection('127.0.0.1', app.port, timeout=WAIT)
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text
    status, text = ask('GET', f'/{kernel}/channels', upgrade)
    assert status == 403 and 'the token' in text
    for path in f'/{kernel}', '/voila/files/x.py': assert ask('GET', path, {})[0] == 403, path
    for path in '/voila/api/shutdown/x', '/login', '/': assert ask('POST', path, {})[0] == 403, path
    assert ask('DELETE', f'/{kernel}', {})[0] == 403
    assert 'Traceback' not in app.errors() and app.kernels() == []

def hostile_folder(folder, marks):
    "A folder of files that Voila, Jupyter, IPython or Python run if they look for settings or modules in it; each leaves a mark."
    marks.mkdir()
    def mark(name): return f'open({str(marks/name)!r}, "w").close()\n'
    settings = ['voila.py', 'jupyter_config.py', 'jupyter_voila_config.py', 'jupyter_server_config.py', 'ipython_config.py',
                'ipython_kernel_config.py', 'ipykernel_config.py', 'startup.py', 'startup/first.py', 'profile_default/ipython_config.py',
                'profile_default/ipython_kernel_config.py', 'profile_default/startup/first.py']
    modules = ['sitecustomize.py', 'usercustomize.py', 'torch.py', 'numpy.py', 'ipykernel_launcher.py', 'ipykernel/__init__.py', 'amodal_nb/__init__.py']
    for name in settings + modules:
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_text(mark(name.replace('/', '.')))
    # JSON runs nothing: the mark is a folder of connection files
    (folder/'voila.json').write_text(json.dumps({'Voila': {'connection_dir_root': str(marks)}}))
    kernel = folder/'kernels'/'python3'
    kernel.mkdir(parents=True)
    command = [sys.executable, '-c', mark('kernel.json')]
    (kernel/'kernel.json').write_text(json.dumps({'argv': command, 'display_name': 'Python 3', 'language': 'python'}))
    return folder

@pytest.mark.parametrize('how', ['plain', 'relative variables'])
def test_the_app_runs_nothing_of_the_folder_it_is_started_in(tmp_path, how):
    """Neither settings nor modules, in the server or in a kernel; not even where the environment names settings relative to that folder.
    A kernel whose page was fetched but never shown, so that it cannot ask for that, ends by itself."""
    relative = {v: '.' for v in ('JUPYTER_CONFIG_PATH', 'JUPYTER_CONFIG_DIR', 'JUPYTER_PATH', 'IPYTHONDIR')} | {'PYTHONSTARTUP': 'startup.py'}
    cwd = hostile_folder(tmp_path/'cwd', tmp_path/'marks')
    app_scenes(cwd/'scenes', 'sample3')
    first = 'import amodal_nb.app.gallery as g; g.UNUSED_KERNEL_S = 12'
    with App(tmp_path, 'scenes', cwd=cwd, first=first, **(relative if how != 'plain' else {})) as app:
        try: page = urllib.request.urlopen(app.url, timeout=WAIT).read().decode() # it comes when a kernel has run the notebook's cell
        except OSError as e: page = str(e)
        assert [p.name for p in (tmp_path/'marks').iterdir()] == []
        assert 'application/vnd.jupyter.widget-view+json' in page
        if how == 'plain': app.wait_for_kernels(0)
        assert [p.name for p in (tmp_path/'marks').iterdir()] == []

def refused(done, text):
    "Whether a command ended with one line, and printed no address."
    return done.returncode == 1 and done.stderr.count('\n') == 1 and text in done.stderr and done.stdout == ''

def test_a_port_of_another_process_gets_no_token(tmp_path, forks):
    "A taken port is an error, not a reason to print an address that leads to whoever listens there."
    pytest.importorskip('voila', reason="needs voila: pip install 'amodal_nb[app]'")
    def run(port): return forks(COMMAND, 'inspect', assets()/'scenes', '--no-browser', '--port', port, TMPDIR=str(tmp_path))
    with socket.create_server(('127.0.0.1', 0)) as other:
        done = run(other.getsockname()[1])
        assert refused(done, 'choose another'), (done.stdout, done.stderr)
        other.setblocking(False)
        with pytest.raises(BlockingIOError): other.accept() # nobody came
    for port in 65536, -1:
        done = run(port)
        assert refused(done, 'between 1 and 65535'), (done.stdout, done.stderr)
    assert list(tmp_path.iterdir()) == []

def test_a_page_ends_its_kernel(tmp_path, chrome):
    "Loading it again leaves one kernel. Here unused ones are not ended, so the page's own request has to arrive."
    scenes = app_scenes(tmp_path/'scenes', 'sample3')
    with App(tmp_path, scenes, first='import amodal_nb.app.gallery as g; g.UNUSED_KERNEL_S = 10**6') as app, page_of(chrome) as page:
        page.goto(app.url)
        page.locator('.ag-card').first.wait_for()
        first, = app.kernels()
        page.reload()
        page.locator('.ag-card').first.wait_for()
        app.wait_for_kernels(1)
        assert app.kernels() != [first]
        assert page.errors == [] and 'Traceback' not in app.errors()
        check_end(app, 'SIGHUP')

def test_a_browser_is_opened_and_nothing_is_left(tmp_path):
    opened = tmp_path/'opened'
    (tmp_path/'browser').write_text(f'#!/bin/sh\ncat "${{1#file://}}" > {opened}.part && mv {opened}.part {opened}\n')
    (tmp_path/'browser').chmod(0o700)
    with App(tmp_path, assets()/'scenes', browser=True, BROWSER=f'{tmp_path}/browser %s') as app:
        urllib.request.urlopen(app.url, timeout=WAIT).read()
        until = time.monotonic() + WAIT
        while not opened.exists() and time.monotonic() < until: time.sleep(.1)
        assert app.url in opened.read_text()
        check_end(app, 'SIGTERM')

STARTING = """
import signal, sys, amodal_nb.app.gallery as g
signal.signal(signal.SIGINT, signal.default_int_handler) # a job in the background of a script ignores it, and passes that on
number = getattr(signal, sys.argv.pop(1))
g.app_class = lambda: signal.raise_signal(number)
"""

@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM'])
def test_a_signal_while_the_app_starts_leaves_no_file(tmp_path, forks, name):
    pytest.importorskip('voila', reason="needs voila: pip install 'amodal_nb[app]'")
    done = forks(STARTING + COMMAND, name, 'inspect', assets()/'scenes', '--no-browser', TMPDIR=str(tmp_path))
    assert done.returncode == 130 and 'Traceback' not in done.stderr and list(tmp_path.iterdir()) == []

def test_without_voila_a_line_says_how_to_get_it(forks):
    code = 'import sys; sys.modules["voila"] = None; import importlib.util as u; u.find_spec = lambda n: None\nfrom amodal_nb.app.cli import main; main(["inspect", sys.argv[1]])'
    done = forks(code, assets()/'scenes')
    assert done.returncode == 1 and done.stderr.count('\n') == 1 and "pip install 'amodal_nb[app]'" in done.stderr

def test_no_notebook_holds_widget_state(root):
    for path in (root/'nbs').rglob('*.ipynb'):
        notebook = json.loads(path.read_text(encoding='utf-8'))
        assert 'widgets' not in notebook['metadata'], path
        kinds = {kind for cell in notebook['cells'] for output in cell.get('outputs', []) for kind in output.get('data', {})}
        assert 'application/vnd.jupyter.widget-view+json' not in kinds, f'{path}: an output is a widget, which pages cannot show: keep its picture only'
