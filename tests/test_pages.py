"Gallery and training view on a page of their own, without Jupyter: what they show first, filters, tags, and what axe finds."
import base64, io, time
from dataclasses import replace
import pytest
from PIL import Image
from amodal_nb.app.gallery import Gallery, pair_confidences
from amodal_nb.app.inspector import progress_html
from amodal_nb.core.files import assets
from amodal_nb.core.progress import report_progress
from amodal_nb.fusion.predict import fuse_scene
from amodal_nb.scenes.folders import read_scene, write_scene
from amodal_nb.training.view import draw_run
from browser import browser, page_of, show_widgets, violations

@pytest.fixture(scope='module')
def page():
    with browser() as chrome, page_of(chrome, 1440, 900) as p: yield p

@pytest.fixture(scope='module')
def mixed(tmp_path_factory):
    "Scenes of which one is broken and one is composed in the opposite of its order; with their cards."
    root = tmp_path_factory.mktemp('mixed')
    for name in 'sample1', 'sample2', 'sample4': write_scene(read_scene(assets()/'scenes'/name), root)
    scene = read_scene(assets()/'scenes'/'sample7')
    write_scene(replace(scene, pairs=[(back, front) for front, back in scene.pairs]), root)
    (root/'sample4'/'sample4_mask.png').write_bytes(b'')
    with pytest.MonkeyPatch.context() as m:
        m.setenv('XDG_CACHE_HOME', str(root/'cache'))
        gallery = Gallery(root)
        return gallery, [gallery._card(index) for index in range(4)]

def test_a_scene_shows_what_is_done_until_it_is_there(mixed, monkeypatch):
    "In place of the grid, with a bar of the parts; then the inspector is there."
    gallery, _ = mixed
    opened = gallery._prepare(gallery.root/'sample1')
    def prepare(folder):
        report_progress('comparing pairs', 3, 14)
        time.sleep(.5)
        return opened
    monkeypatch.setattr(gallery, '_prepare', prepare)
    shown = []
    gallery.observe(lambda change: shown.append([getattr(o, 'value', None) for o in change['new'][2:]]), 'children')
    gallery.open_scene(0, [0])
    assert len(shown) == 2 and '<progress' in shown[0][0] # then the inspector
    for part in '<progress max="14" value="3"', '<strong>sample1</strong>: comparing pairs, 4 of 14 …': assert part in gallery._progress.value
    assert gallery.children[-1] is gallery.inspector and gallery.inspector.scene.id == 'sample1'
    gallery.close_scene()

class Grid:
    "A gallery's grid; its cards come as the kernel sends them."
    def __init__(self, page, gallery, cards, theme='light'):
        show_widgets(page, gallery.grid, theme=theme)
        self.page, self.box = page, page.locator('.amodal-gallery')
        for index, card in enumerate(cards):
            message = {'type': 'card', 'at': index} | {k: v for k, v in card.items() if k != 'picture'}
            self.js("""(g, [message, data]) => g.receive(message, [Uint8Array.from(atob(data), c => c.charCodeAt(0))])""", [message, base64.b64encode(card['picture']).decode()])
    def js(self, f, argument=None): return self.box.evaluate(f'(e, a) => ({f})(e.gallery, a)', argument)
    def wait(self, f, value): self.page.wait_for_function(f'([e, v]) => JSON.stringify(({f})(e.gallery)) === JSON.stringify(v)', arg=[self.box.element_handle(), value])
    def wait_for_names(self, *names): self.wait('g => g.list.map(o => o.name)', names)
    def card(self, name): return self.box.locator('.ag-card', has_text=name)

def test_a_scene_alone_is_opened_without_a_gallery_of_one(page, mixed):
    alone = Gallery(mixed[0].root/'sample1', model='area')
    grid = Grid(page, alone, [])
    assert grid.js('g => g.model.sent') == [{'type': 'open', 'at': 0, 'list': [0]}] and page.errors == []
    alone._answer(None, {'type': 'open', 'at': 0, 'list': [0]}, [])
    assert alone.inspector.scene.id == 'sample1' and [o.description for o in alone._bar.children] == ['Edit']
    assert not Grid(page, *mixed).js('g => g.model.sent.some(m => m.type === "open")')

@pytest.fixture
def grid(page, mixed):
    page.set_viewport_size({'width': 1440, 'height': 900})
    page.mouse.move(0, 0)
    yield Grid(page, *mixed)
    assert page.errors == []

@pytest.fixture(scope='module')
def least_sure_first(mixed):
    "Names in the order in which the gallery shows them; a broken scene has no measure."
    root = mixed[0].root
    sure = {name: pair_confidences(fuse_scene(read_scene(root/name)).pairs)[0] for name in ('sample1', 'sample2', 'sample7')}
    return [*sorted(sure, key=sure.get), 'sample4']

def test_what_to_look_at_comes_first(grid, least_sure_first):
    "The least sure; guesses, sure and wrong, and the reason of a broken scene on their cards; whole pictures."
    grid.wait_for_names(*least_sure_first)
    assert 'guess' in grid.card('sample2').locator('.ai-guess').inner_text()
    assert 'sure and wrong: ' in grid.card('sample7').inner_text() and 'sure and wrong' not in grid.card('sample1').inner_text()
    assert 'sample4_mask.png' in grid.card('sample4').locator('.ag-reason').inner_text()
    fit, ratio = grid.card('sample2').locator('img').evaluate('o => [getComputedStyle(o).objectFit, o.naturalWidth/o.naturalHeight]')
    assert fit == 'contain' and abs(ratio - 1) < .02
    assert [o for o in grid.box.locator('.ag-flags').all() if o.evaluate('o => o.scrollWidth > o.clientWidth')] == [] # on cards of the usual size
    grid.card('sample4').locator('.ag-open').click()
    assert 'sample4_mask.png' in grid.box.locator('.ai-notice').inner_text()

def test_scenes_are_filtered_by_marks_and_limits(grid, mixed, least_sure_first):
    grid.wait_for_names(*least_sure_first)
    show = grid.box.get_by_label('Show')
    for mark, names in ('wrong', ['sample7']), ('broken', ['sample4']), ('', least_sure_first):
        show.select_option(mark)
        grid.wait_for_names(*names)
    values = {name: card['values'] for name, card in zip(mixed[0].grid.items, mixed[1])}
    grid.box.get_by_role('button', name='Limits').click()
    for label, key in ('Error', 'error'), ('Confidence', 'confidence'), ('Completions', 'completions'):
        known = sorted({v[key] for v in values.values() if v})
        middle = (known[0] + known[1])/2
        for end, sign in ('at most', -1), ('at least', 1):
            grid.box.get_by_label(f'{label}, {end}').fill(str(middle))
            grid.wait_for_names(*[n for n in least_sure_first if values[n] and sign*(values[n][key] - middle) >= 0])
            grid.box.get_by_role('button', name='Clear').click()
    grid.wait_for_names(*least_sure_first)
    assert grid.box.get_by_role('button', name='Limits').inner_text() == 'Limits'

def test_cards_have_tags_and_any_size(grid, page):
    columns = grid.js('g => g.cols')
    grid.box.get_by_label('Size').fill('400')
    assert grid.js('g => g.cols') < columns
    grid.card('sample2').locator('.ag-open').focus()
    page.keyboard.press('t')
    page.keyboard.type('odd rim, #ask')
    page.keyboard.press('Enter')
    grid.wait('g => g.get("tags")', {'sample2': ['odd rim', 'ask']})
    assert page.evaluate('document.activeElement.title').startswith('sample2') and grid.js('g => g.model.saved') > 0
    grid.card('sample1').hover()
    grid.card('sample1').get_by_role('button', name='Tag sample1').click()
    page.keyboard.type('not this')
    page.keyboard.press('Escape')
    grid.box.get_by_label('Show').select_option('#ask')
    grid.wait_for_names('sample2')
    page.keyboard.press('Tab')
    assert grid.js('g => g.get("tags")') == {'sample2': ['odd rim', 'ask']}

def is_track_near(page, bar, back):
    "Whether what is left of a progress bar has about the grey of the page behind it, and not that of the other theme."
    picture = Image.open(io.BytesIO(bar.screenshot())).convert('L')
    return abs(picture.getpixel((picture.width*4//5, picture.height//2)) - back) < 70

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_axe_finds_nothing_in_the_gallery(page, mixed, theme):
    "With all marks, a tag, the limits, a notice and an open field, at two widths."
    for width in 1440, 560:
        page.set_viewport_size({'width': width, 'height': 900})
        grid = Grid(page, *mixed, theme=theme)
        grid.js('g => { g.keep({tags: {sample1: ["ask"]}, size: 240}); g.openLimits(true); g.receive({type: "failed", text: "A notice"}); }')
        assert grid.box.evaluate('e => e.scrollWidth <= e.clientWidth + 1')
        grid.js('g => { g.bar.hidden = false; g.bar.value = .2; }')
        assert is_track_near(page, grid.box.locator('progress'), {'light': 255, 'dark': 23}[theme])
        grid.card('sample1').locator('.ag-open').focus()
        assert violations(page, '.amodal-gallery') == []
        page.keyboard.press('t')
        assert violations(page, '.amodal-gallery') == []

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_axe_finds_nothing_in_the_training_view(page, tmp_path, theme):
    Image.new('RGB', (300, 60), 'red').save(tmp_path/'weights.png')
    log = [{'step': s, 'loss': 1/s, 'lr': 1e-3, 'scenes_per_second': 20., 'val/mask_l1': 1/s, 'val/top': .9} for s in range(1, 41)]
    rank = dict(rank=0, doing='training', step=40, scenes_per_second=20., memory_bytes=1e9, memory_limit_bytes=8e9, host='here', updated=time.time())
    status = dict(state='training', step=40, steps=100, message='A message', seconds_left=9., started=1., updated=61., ranks=[rank])
    ink, back = ('#000', '#fff') if theme == 'light' else ('#eee', '#111')
    in_lab = f'data-jp-theme-light="{str(theme == "light").lower()}"' # its theme, not the system's
    page.set_content(f'<!doctype html><html lang="en"><title>run</title><body {in_lab} style="color: {ink}; background: {back}"><main>{draw_run(status, log, tmp_path/"weights.png")}{progress_html("a", "b", 1, 3)}')
    page.emulate_media(color_scheme='dark' if theme == 'light' else 'light')
    for k in 0, 1: assert is_track_near(page, page.locator('progress').nth(k), {'light': 255, 'dark': 17}[theme])
    page.emulate_media(color_scheme=None)
    assert page.locator('svg').count() == 5 and violations(page, 'main') == []
