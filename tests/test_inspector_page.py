"The inspector on a page of its own, without Jupyter: what it shows, how it is laid out, and what keys and buttons do to it."
import io, re, zlib
from dataclasses import replace
import numpy as np, pytest
from PIL import Image
from amodal_nb.app.gallery import BOUNDED, SceneGrid, SORT_ORDERS
from amodal_nb.app.inspector import compare_models, VIEWS, WeightInspector
from amodal_nb.core.files import assets
from amodal_nb.core.pictures import to_uint8
from amodal_nb.fusion.predict import fuse_scene
from amodal_nb.scenes.folders import read_scene
from amodal_nb.synthesis.composer import Composer
from amodal_nb.training.view import draw_part, rank_table, RUN_STYLE
from browser import Inspector, browser, page_of, show_widgets, violations

LAB_ROWS_PX = 115 # of a window, that JupyterLab has for menu, tabs, tool bar and status

@pytest.fixture(scope='module')
def page():
    with browser() as chrome, page_of(chrome, 1440, 900) as p: yield p

@pytest.fixture(scope='module')
def scene():
    names = 'loaf', 'bear', 'lantern', 'a chair of the nineteenth century', 'plant'
    return replace(read_scene(assets()/'scenes'/'sample2'), object_names=names)

@pytest.fixture(scope='module')
def fused(scene): return fuse_scene(scene)

@pytest.fixture(scope='module')
def crowd():
    "A scene of 14 completions, fused."
    scene = Composer('cc0', size=96, n_objects=14, seed=3)[0]
    return scene, fuse_scene(scene, 'vote', harmonise=False)

@pytest.fixture
def inspector(page, scene, fused):
    page.set_viewport_size({'width': 1440, 'height': 900})
    page.mouse.move(0, 0)
    show_widgets(page, WeightInspector(scene, fused))
    yield Inspector(page)
    assert page.errors == []

def press_until(page, inspector, key, is_so):
    page.keyboard.press(key)
    inspector.wait(f'i => {is_so}')

def covered_by(scene, k, alone=True):
    "A masked pixel (x, y) of completion k that no other one covers, or that others cover too."
    covers = (scene.alphas[:, 0] == 1) & (scene.mask > 0)
    y, x = (covers[k-1] & ((covers.sum(0) == 1) == alone)).nonzero()[5].tolist()
    return x, y

def test_the_overlay_is_off_and_lies_on_the_result_only(inspector, scene, fused):
    "Maps look as their legends say: a weight of 1 is the upper end of the colour map, with the overlay on or off."
    i = inspector
    i.js('i => i.set({marks: false})')
    x, y = covered_by(scene, 2)
    plain = to_uint8(fused.result)[y, x].tolist()
    assert not i.js('i => i.get("overlay_on")') and i.pixel(x, y) == plain
    i.js('i => i.set({slot: 2, overlay_on: true})')
    colour = np.array([0xe6, 0x9f, 0x00])
    assert np.abs(np.array(i.pixel(x, y)) - (.65*np.array(plain) + .35*colour)).max() <= 1
    maps = {}
    for view in 'weight', 'doubt', 'error', 'target':
        for on in True, False:
            i.js('(i, [view, on]) => i.set({view, overlay_on: on})', [view, on])
            maps[view, on] = i.pixel(x, y)
        assert maps[view, True] == maps[view, False] and i.box.locator('[data-key=overlay_on]').is_disabled(), view
        if view == 'weight': assert maps[view, True] == [0xfe, 0xe8, 0x38] and i.box.locator('.ai-ramp').get_attribute('style').endswith('rgb(254, 232, 56));')
    assert maps['target', True] == to_uint8(scene.image)[y, x].tolist()

def heights(page, i): return {k: i.js(f'i => {{ const b = i.{k}.getBoundingClientRect(); return [b.top, b.bottom, b.left, b.right]; }}') for k in ('root', 'legend', 'canvas', 'stack', 'viewRow', 'why', 'fields')}

SCROLLING = '''i => [...i.root.querySelectorAll('*')].filter(o => o.checkVisibility({contentVisibilityAuto: true}) && /auto|scroll/.test(getComputedStyle(o).overflowY) && o.scrollHeight > o.clientHeight + 1
    && o.clientHeight > 40).map(o => o.className)'''

@pytest.mark.parametrize('n', [5, 14])
def test_all_of_it_fits_a_window(page, scene, fused, crowd, n):
    """At 1440 × 900 px all is seen in JupyterLab without a second scroll bar, the legend above the picture. In one column the picture comes first,
    and what is read out of it is in the same window."""
    widget = WeightInspector(*((scene, fused) if n == 5 else crowd))
    page.set_viewport_size({'width': 1440, 'height': 900})
    show_widgets(page, widget)
    i = Inspector(page)
    at = heights(page, i)
    assert at['root'][1] - at['root'][0] <= 900 - LAB_ROWS_PX and at['legend'][1] <= at['canvas'][0] and i.js(SCROLLING) == []
    assert i.box.locator('.ai-card').count() == n + 1 and at['stack'][2] > at['canvas'][3]

    page.set_viewport_size({'width': 900, 'height': 900}) # as in the app
    at = heights(page, i)
    assert at['stack'][2] > at['canvas'][3] and at['stack'][1] <= 900 and at['canvas'][1] <= 900

    i.canvas.focus()
    page.set_viewport_size({'width': 560, 'height': 900}) # what JupyterLab leaves of 900 px beside its file browser
    i.wait('i => i.isNarrow && i.root.classList.contains("ai-narrow")')
    at = heights(page, i)
    assert at['canvas'][1] <= at['viewRow'][0] < at['legend'][0] < at['why'][0] < at['fields'][0] and at['why'][1] <= 900 - LAB_ROWS_PX
    assert i.js('i => document.activeElement === i.canvas && i.root.scrollWidth <= i.root.clientWidth + 1')
    page.mouse.move(*i.place(10, 10))
    i.wait('i => i.covering.textContent.length > 0')
    assert page.errors == []

CUT = "e => [...e.querySelectorAll('.ai-meanings > *, .ai-keys, .ai-key, .ai-fields > *')].filter(o => o.checkVisibility() && (o.scrollWidth > o.clientWidth + 1 || o.scrollHeight > o.clientHeight + 1)).map(o => o.textContent)"

@pytest.mark.parametrize('width', [1440, 900, 560])
def test_no_legend_is_cut_and_no_view_moves_the_picture(page, crowd, width):
    "Neither of few slots nor of many, and not where a completion was harmonised, which takes the longest line."
    noisy = Composer('cc0', size=96, n_objects=3, noise='noisy', seed=2)[0]
    harmonised = fuse_scene(noisy, 'vote')
    page.set_viewport_size({'width': width, 'height': 900})
    for scene, fused, is_harmonised in (noisy, harmonised, True), (*crowd, False):
        widget = WeightInspector(scene, fused)
        assert any(o['changed'] for o in widget._meta['done']) == is_harmonised
        show_widgets(page, widget)
        i = Inspector(page)
        tops = set()
        for view in VIEWS[:-1]:
            i.js('(i, view) => i.set({view})', view)
            assert i.box.evaluate(CUT) == [], view
            tops.add(heights(page, i)['canvas'][0])
        assert len(tops) == 1 and 'doubt 0' in i.js('i => { i.set({view: "doubt"}); return i.legend.innerText; }')
        assert 'Chance that the completion in front' in i.legend_text()
    assert page.errors == []

@pytest.mark.parametrize('view', ['difference', 'target', 'error'])
def test_a_view_that_is_not_known_is_the_result(page, scene, fused, view):
    "The difference needs another inspector, target and error the true picture."
    page.set_viewport_size({'width': 1440, 'height': 900})
    widget = WeightInspector(replace(scene, image=None), replace(fused, scene=replace(fused.scene, image=None)), view=view, against=view, marks=False)
    show_widgets(page, widget)
    i = Inspector(page)
    x, y = covered_by(scene, 2)
    assert i.pixel(x, y) == to_uint8(fused.result)[y, x].tolist() and 'What came out' in i.legend_text()
    assert i.box.locator('.ai-view.ai-is').inner_text().endswith('Result') and page.errors == []

def test_a_comparison_can_begin_with_the_difference(page, scene):
    "The first inspector is drawn before the other one is there."
    both = compare_models(scene, ['order', 'vote'], view='difference')
    show_widgets(page, both.bar, *both.inspectors)
    for k in 1, 2: assert 'difference 0' in Inspector(page, k).legend_text()
    assert page.errors == []

def test_layers_have_names_and_can_be_hidden_or_shown_alone(inspector, page, scene, fused):
    i = inspector
    i.js('i => i.set({marks: false})')
    assert [o.get_attribute('title') for o in i.box.locator('.ai-name').all()][-1] == 'Background'
    assert {o.get_attribute('title') for o in i.box.locator('.ai-name').all()[:-1]} == set(scene.object_names)
    front = fused.order[0]
    x, y = covered_by(scene, front, alone=False)
    others = [k for k in fused.order if k != front and scene.alphas[k-1, 0, y, x] == 1]
    i.box.get_by_role('button', name=f'Hide {scene.object_names[front-1]}').click()
    i.wait('i => i.get("hidden").length === 1')
    below = to_uint8(scene.completions[others[0]-1])[y, x].tolist()
    assert i.pixel(x, y) == below != to_uint8(fused.result)[y, x].tolist() and i.weights(x, y)[front-1] == 0
    i.box.locator(f'.ai-card[data-slot="{front}"]').focus()
    press_until(page, i, 'h', '!i.get("hidden").length')
    assert np.array_equal(i.result(), to_uint8(fused.result))
    press_until(page, i, 's', 'i.get("hidden").length === 5') # all but one of six slots
    assert i.js('(i, [x, y]) => i.fusion.holes[y*i.fusion.w + x]', list(covered_by(scene, others[0]))) == 1 # the checkerboard shows
    press_until(page, i, 's', '!i.get("hidden").length')
    i.box.get_by_role('button', name='Hide Background').click()
    i.wait('i => i.fusion.hidden.has(5)')
    assert i.js('i => i.rows.every(o => o.eye.title)') and i.js('i => i.fusion.holes.some(v => v)')

def test_a_click_on_the_legend_chooses_a_slot(inspector):
    i = inspector
    for view in 'weight', 'error':
        i.js('(i, view) => i.set({view})', view)
        i.box.get_by_role('button', name='Choose 2, bear').click()
        i.wait('i => i.get("slot") === 2')
        i.box.get_by_role('button', name='Choose B, Background').click()
        i.wait('i => i.get("slot") === 6')
    assert i.js('i => i.slotKeys.indexOf(document.activeElement)') == 5

def test_corrections_are_undone_redone_and_reset(inspector, page, fused):
    i = inspector
    model = i.stack()
    i.box.locator('.ai-details summary').click()
    i.box.locator('[data-pair="5 4"]').click()
    i.js('i => i.putInFront([[4, 1]])')
    now = i.corrections()
    assert now[-1] == (4, 1)
    reset, redo = (i.box.get_by_role('button', name=name) for name in ('Reset', 'Redo'))
    reset.click()
    assert i.corrections() == [] and i.stack() == model and np.array_equal(i.result(), to_uint8(fused.result)) and reset.is_disabled()
    i.canvas.focus()
    press_until(page, i, 'Control+z', 'i.get("corrections").length === 2')
    press_until(page, i, 'Control+z', 'i.get("corrections").length === 1')
    redo.click()
    assert i.corrections() == now
    press_until(page, i, 'Control+Shift+z', '!i.get("corrections").length')
    press_until(page, i, 'Control+z', 'i.get("corrections").length === 2')
    i.js('i => i.putInFront([[1, 4]])') # something new: nothing to redo
    assert redo.is_disabled()

def test_guesses_are_called_guesses_in_amber(inspector, fused, scene):
    from amodal_nb.fusion.summary import is_guess
    i = inspector
    guesses = [p for p in fused.pairs if p['overlap_px'] and is_guess(p)]
    assert i.js('i => i.fusion.overlaps.filter(o => o.guess).map(o => [o.a, o.b])') == [[p['a'], p['b']] for p in guesses] != []
    assert i.box.locator('.ai-head .ai-guess').inner_text() == f'{len(guesses)} of 8 pairs are guesses'
    rows = i.box.locator('.ai-between', has=i.page.locator('.ai-guess'))
    assert rows.count() and rows.locator('.ai-sure').count() == 0 and all(t.startswith('a guess, ') for t in rows.locator('.ai-guess').all_inner_texts())
    assert i.box.locator('.ai-guess').first.evaluate('e => getComputedStyle(e).backgroundColor') == 'rgb(255, 223, 158)'
    a, b = guesses[0]['a'], guesses[0]['b']
    covers = (scene.alphas[:, 0] == 1) & (scene.mask > 0)
    y, x = (covers[a-1] & covers[b-1] & (covers.sum(0) == 2)).nonzero()[0].tolist()
    i.hover(x, y)
    assert re.search(r'Decided by \d in front of \d · a guess, \d\d%', re.sub(r'\s+', ' ', i.box.locator('.ai-why').inner_text()))
    i.js('(i, p) => i.putInFront([p])', [b, a])
    i.wait('i => i.why.textContent.includes("your correction")')
    assert not i.js('(i, [a, b]) => i.fusion.isGuess(a - 1, b - 1)', [a, b])

def test_what_is_suspicious_stands_above_the_picture_and_no_mask_is_called_none(page, scene):
    twice = replace(scene, mask=0*scene.mask, partial=scene.image, completions=scene.completions[[0, 0, 1]], alphas=scene.alphas[[0, 0, 1]], pairs=None, object_names=('loaf', 'copy', 'bear'))
    show_widgets(page, WeightInspector(twice, fuse_scene(twice, 'vote', harmonise=False)))
    i = Inspector(page)
    assert i.box.locator('.ai-check').all_inner_texts() == ['the same picture twice, loaf and copy: leave one out']
    assert '3 completions · no mask' in i.box.locator('.ai-title').inner_text() and 'The photograph itself' in i.box.locator('.ai-meanings').inner_text()
    bottom = i.box.bounding_box()
    assert bottom['y'] + bottom['height'] <= 900

def pixels_of_pdf(data):
    "The picture in a PDF that `pdf.js` wrote."
    w, h = map(int, re.search(rb'/Width (\d+) /Height (\d+)', data).groups())
    start = data.index(b'stream\n', data.index(b'/FlateDecode')) + 7
    return np.frombuffer(zlib.decompressobj().decompress(data[start:]), np.uint8).reshape(h, w, 3)

def test_a_view_is_saved_as_png_and_pdf(inspector, page, fused):
    "The pixels of the result, enlarged by a whole factor; where the references of the PDF lead is where its objects are."
    i = inspector
    i.js('i => i.set({marks: false})')
    i.zoomed = i.js('i => i.zoom(3)') # the whole picture is saved all the same
    saved = {}
    for kind in 'PNG', 'PDF':
        with page.expect_download() as got: i.box.get_by_role('button', name=f'Save this view as {kind}').click()
        assert got.value.suggested_filename == f'sample2_result.{kind.lower()}'
        saved[kind] = open(got.value.path(), 'rb').read()
    picture = np.asarray(Image.open(io.BytesIO(saved['PNG'])).convert('RGB'))
    assert np.array_equal(picture, to_uint8(fused.result).repeat(4, 0).repeat(4, 1))
    pdf = saved['PDF']
    assert np.array_equal(pixels_of_pdf(pdf), picture) and pdf.startswith(b'%PDF-1.4')
    table = int(re.search(rb'startxref\n(\d+)', pdf)[1])
    starts = [int(line.split()[0]) for line in pdf[table:].split(b'\n')[3:8]]
    assert [pdf[start:start+8] for start in starts] == [f'{k} 0 obj\n'.encode() for k in range(1, 6)]
    i.js('i => i.set({view: "weight", slot: 2})')
    assert i.js('i => i.viewFileName("png")') == 'sample2_weight2.png'

def test_models_are_compared_with_one_toolbar(page, scene):
    "The bar names the pairs that the models order differently, also after a correction; a view shows the difference of the results."
    page.set_viewport_size({'width': 1440, 'height': 900})
    both = compare_models(scene, ['order', 'vote'], marks=False)
    show_widgets(page, both.bar, *both.inspectors)
    one, other = Inspector(page, 1), Inspector(page, 2) # after the bar
    assert [o.is_visible() for o in page.locator('.ai-views').all()] == [True, False, False]
    front = [{(p['a'], p['b']): p['p_a_front'] > .5 for p in i.fusion.pairs if p['overlap_px']} for i in both.inspectors]
    differing = [f'{a}–{b}' for (a, b), is_front in front[0].items() if front[1][a, b] != is_front]
    summary = page.locator('.ai-summary')
    assert differing and summary.locator('button').all_inner_texts() == differing and summary.inner_text().startswith('vote differs from order in the pair')
    summary.locator('button').first.click()
    other.wait('i => i.get("view") === "difference"')
    difference = (both.inspectors[0].fusion.result - both.inspectors[1].fusion.result).abs().mean(0)
    y, x = divmod(int(difference.argmax()), difference.shape[1])
    assert abs(one.js('(i, q) => i.fusion.difference()[q]', y*difference.shape[1] + x) - float(difference[y, x])) < .01 and float(difference[y, x]) > .1
    assert one.pixel(x, y) == other.pixel(x, y) != one.pixel(0, 0) == [0, 0x22, 0x4e]
    a, b = map(int, differing[0].split('–'))
    other.js('(i, p) => i.putInFront([p])', [a, b] if front[0][a, b] else [b, a])
    page.wait_for_function('n => document.querySelectorAll(".ai-pick").length === n', arg=len(differing) - 1)
    assert len(differing) > 1 or 'vote has the order of order' in summary.inner_text()
    page.get_by_role('button', name='Topmost').locator('visible=true').click()
    one.wait('i => i.get("view") === "top"')
    page.locator('.ai-compare [data-key=marks]').focus()
    for key, trait, value in ('5', 'view', 'weight'), ('ArrowRight', 'slot', a + 1), ('Space', 'marks', True): # as in an inspector; a checkbox keeps its own key
        page.keyboard.press(key)
        for i in one, other: assert i.js('(i, k) => i.get(k)', trait) == value, key
    assert violations(page, 'body', 'page-has-heading-one', 'region', 'landmark-one-main', 'landmark-unique') == [] and page.errors == []

def test_pictures_that_are_compared_stand_side_by_side(page, scene):
    "At the width of a column, however long a title is, and the names of all views are in one row above."
    both = compare_models(scene, {'a': 'vote', 'a longer title': 'area'})
    page.set_viewport_size({'width': 500, 'height': 900})
    show_widgets(page, *both.inspectors)
    tops = [heights(page, i)['canvas'][0] - heights(page, i)['root'][0] for i in (Inspector(page, 0), Inspector(page, 1))]
    assert tops[0] == tops[1]
    page.set_viewport_size({'width': 1000, 'height': 900}) # what JupyterLab leaves of 1440 px beside its file browser
    show_widgets(page, both.bar, *both.inspectors)
    assert page.locator('.ai-compare .ai-views').bounding_box()['height'] < 40 and page.errors == []

@pytest.mark.parametrize('width', [500, 640])
def test_many_differing_pairs_are_folded(page, crowd, width):
    "Also in a narrow window, where nothing is wider than it and the legend is whole."
    page.set_viewport_size({'width': width, 'height': 900})
    both = compare_models(crowd[0], ['area', 'vote'], marks=False)
    show_widgets(page, both.bar, *both.inspectors)
    more, pairs = page.locator('.ai-more'), page.locator('.ai-pick')
    more.wait_for()
    n_hidden = pairs.count() - 8
    def shown(): return sum(o.is_visible() for o in pairs.all())
    assert n_hidden > 8 and more.inner_text() == f'{n_hidden} more' and more.get_attribute('aria-expanded') == 'false' and shown() == 8
    more.click()
    assert more.inner_text() == 'fewer' and more.get_attribute('aria-expanded') == 'true' and shown() == n_hidden + 8
    assert page.locator('.ai-rest').bounding_box()['height'] <= 108 and page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    assert [o for o in page.locator('.ai-meanings > .ai-dim').all() if o.evaluate('e => e.scrollWidth > e.clientWidth')] == []
    Inspector(page, 1).js('i => i.fusion.version += 1') and page.locator('.ai-compare').evaluate('e => e.compare.refresh()')
    assert more.inner_text() == 'fewer' # drawn again, as after a correction
    more.click()
    assert shown() == 8 and page.errors == []

def test_a_clicked_scene_is_named_at_once(page):
    "On its card and in the head, with what it waits for; no other scene is measured before it is open."
    grid = SceneGrid(title='scenes', items=['one', 'two'], orders=SORT_ORDERS, sort='name', bounded=BOUNDED, captions=['error'])
    show_widgets(page, grid)
    gallery = page.locator('.amodal-gallery')
    def head(): return gallery.locator('.ai-title [role=status]').inner_text()
    gallery.locator('.ag-open').nth(1).click()
    assert gallery.locator('.ag-opening .ag-values').inner_text() == 'opening …' and head() == 'opening two after 1 more measurement · 2 scenes · 0 measured'
    card = dict(type='card', at=0, values={'confidence': .7, 'error': .1, 'uncovered': 0}, guessed=[], wrong=[], error=None, ratio=.75)
    sent = gallery.evaluate('(e, card) => { e.gallery.receive(card, [new ArrayBuffer(0)]); return e.gallery.model.sent; }', card)
    assert [o['type'] for o in sent] == ['want', 'open'] and head() == 'opening two · 2 scenes · 1 measured'
    assert gallery.locator('.ag-values').all_inner_texts() == ['70% sure · error 0.100', 'opening …'] and violations(page, '.amodal-gallery') == []

def test_the_rank_table_fits_a_narrow_window(page):
    "Also with a host's full name, in the width that JupyterLab leaves of 900 px beside its file browser."
    ranks = [dict(rank=0, doing='waiting for rank 1 to save the checkpoint', step=12300, scenes_per_second=120.6, memory_bytes=71.2e9,
                  memory_limit_bytes=84.9e9, host='gpunode0013.cluster.department.example.org')]
    page.set_viewport_size({'width': 450, 'height': 900})
    page.set_content(RUN_STYLE + draw_part(rank_table(ranks)))
    assert page.evaluate('document.documentElement.scrollWidth <= innerWidth')

def tab_stops(page, i):
    "What Tab reaches in the inspector, from its first element on."
    stops = []
    i.box.evaluate('e => { e.tabIndex = -1; e.focus(); }')
    page.keyboard.press('Tab')
    while page.evaluate('!!document.activeElement.closest(".amodal-inspector")'):
        stops.append(page.evaluate('document.activeElement.className || document.activeElement.dataset.key || document.activeElement.tagName').split()[0])
        page.keyboard.press('Tab')
    return stops

def test_views_slots_and_layers_are_one_tab_stop_each(inspector, page):
    i = inspector
    stops = tab_stops(page, i)
    assert [stops.count(k) for k in ('ai-view', 'ai-slot', 'ai-card', 'ai-canvas')] == [1, 1, 1, 1], stops
    i.box.locator('.ai-view[tabindex="0"]').focus()
    for key, view in ('ArrowRight', 'target'), ('End', 'original'), ('ArrowRight', 'result'), ('ArrowLeft', 'original'), ('Home', 'result'):
        press_until(page, i, key, f'i.get("view") === "{view}" && document.activeElement.dataset.view === "{view}"')
    i.box.locator('.ai-card').first.focus()
    sequence = [*i.stack(), 6]
    for key, place in ('ArrowDown', 1), ('ArrowDown', 2), ('ArrowUp', 1), ('ArrowUp', 0), ('ArrowUp', 5):
        press_until(page, i, key, f'i.get("slot") === {sequence[place]} && document.activeElement.dataset.slot === "{sequence[place]}"')

def test_notices_do_not_push_the_picture(inspector):
    i = inspector
    before = heights(i.page, i)
    i.js('i => i.notify("A line that is long enough. ".repeat(20))')
    assert i.box.locator('.ai-notice').is_visible() and heights(i.page, i) == before
    box, stage = i.box.locator('.ai-notice').bounding_box(), i.box.locator('.ai-stage').bounding_box()
    assert stage['y'] <= box['y'] and box['y'] + box['height'] <= stage['y'] + stage['height']

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_axe_finds_nothing(page, crowd, theme):
    "In each theme, with many layers, one hidden, a correction, a notice and a comparison: contrast of all badges and texts, names and roles."
    page.set_viewport_size({'width': 1440, 'height': 900})
    show_widgets(page, WeightInspector(*crowd), theme=theme)
    i = Inspector(page)
    i.js('i => { i.set({slot: 3, hidden: [2], overlay_on: true, against: "weight"}); i.notify("A notice"); i.side.querySelector("details").open = true; }')
    overlapping = {frozenset((p['a'], p['b'])) for p in crowd[1].pairs if p['overlap_px']}
    front, behind = next(p for p in zip(i.stack(), i.stack()[1:]) if frozenset(p) in overlapping)
    i.js('(i, p) => i.putInFront([p])', [behind, front])
    page.locator('.ai-between.ai-mine').wait_for()
    i.canvas.hover()
    i.wait('i => i.why.textContent')
    assert violations(page, '.amodal-inspector') == []
    page.set_viewport_size({'width': 560, 'height': 900})
    i.wait('i => i.isNarrow')
    assert violations(page, '.amodal-inspector') == []
