"The editor of a refitted photograph in a real browser: real drags, keys and clicks, and a picture that is Python's."
import json
from dataclasses import replace
import numpy as np, pytest, torch
from amodal_nb.app.editor import edit_widget
from amodal_nb.core.errors import AmodalError
from amodal_nb.core.geometry import bounding_box
from amodal_nb.core.pictures import to_uint8
from amodal_nb.fusion.edit import read_edits
from amodal_nb.fusion.refit import refit_scene
from amodal_nb.synthesis.composer import Composer
from browser import browser, page_of, violations
from editor_page import open_editor

@pytest.fixture(scope='module')
def made():
    "A refitted photograph of 128 px with three objects, seed 3: one has a shadow, and nobody painted the background behind them."
    scene = Composer('cc0', size=128, n_objects=3, seed=3)[0]
    y, x = torch.meshgrid(*map(torch.arange, scene.size), indexing='ij')
    box = bounding_box(scene.alphas[0, 0])
    shadow = (1 - ((x-box[1].stop)**2 + (y-box[0].stop)**2)/400).clamp(0, 1)*(scene.alphas.amax(0)[0] < .5)
    photo = scene.image*(1-.6*shadow)
    made = refit_scene(replace(scene, id='photo', image=None, partial=photo, mask=torch.zeros_like(scene.mask)), model='vote')
    assert [region['near'] for region in made.report['unexplained']] == [1]
    return replace(made, known=scene.alphas.amax(0)[0] == 0) # as if the background behind the objects were inpainted

@pytest.fixture(scope='module')
def chrome():
    with browser() as b: yield b

@pytest.fixture
def page(chrome):
    "A page whose console must stay free of errors."
    with page_of(chrome, 1280, 900, permissions=['clipboard-read', 'clipboard-write']) as p:
        yield p
        assert p.errors == []

@pytest.fixture
def editor(page, made): return open_editor(page, edit_widget(made))

def names(made): return [layer.name for layer in made.layers]

def difference(editor, made, edits, **options):
    "How far the editor's picture is from Python's, in steps of eight bits; and where Python's is not the photograph."
    expected = to_uint8(made.edit(edits, **options).picture)
    return np.abs(editor.picture().astype(int) - expected), (expected != to_uint8(made.picture)).any(-1)

def edit_lists(a, b, c):
    "Lists of edits of three layers, and whether they move by whole pixels only."
    return {
        'move': ([dict(op='move', layer=a, dx=9, dy=-4), dict(op='move', layer=c, dx=-5, dy=3)], True),
        'leave the canvas': ([dict(op='move', layer=a, dx=-25, dy=40)], True),
        'delete': ([dict(op='delete', layer=b)], True),
        'hide and show': ([dict(op='hide', layer=a), dict(op='hide', layer=b), dict(op='show', layer=a)], True),
        'reorder': ([dict(op='reorder', layer=a, position=3)], True),
        'duplicate': ([dict(op='duplicate', layer=a, name='twin'), dict(op='move', layer='twin', dx=7, dy=7), dict(op='reorder', layer='twin', position=4)], True),
        'by number': ([dict(op='delete', layer=1), dict(op='move', layer=2, dx=3, dy=0)], True),
        'scale': ([dict(op='scale', layer=a, by=1.3), dict(op='scale', layer=b, by=.6)], False),
        'turn': ([dict(op='turn', layer=a, degrees=25), dict(op='move', layer=a, dx=6, dy=2)], False),
        'part of a pixel': ([dict(op='move', layer=a, dx=2.5, dy=-1.25)], False)}

def test_the_picture_is_that_of_python(editor, made):
    "To the byte where layers move by whole pixels, else to one step; with the shadow and without; also what nobody painted."
    assert np.array_equal(editor.picture(), to_uint8(made.picture))
    for title, (edits, is_exact) in edit_lists(*names(made)).items():
        for follows in True, False:
            editor.js('(e, [edits, follows]) => { e.set({shadows_follow: follows}); e.setEdits(edits); }', [edits, follows])
            steps, changed = difference(editor, made, edits, residual_follows=follows)
            assert changed.sum() > 50, title
            assert steps.max() <= (0 if is_exact else 1) and steps[changed].mean() < .05, (title, follows, steps.max())
            unpainted = editor.js('e => e.layers.unpainted.reduce((a, v) => a + v)')
            assert abs(unpainted - made.edit(edits, follows).report['unpainted_px']) <= (0 if is_exact else 3), title
    editor.js('e => e.setEdits([])')
    assert np.array_equal(editor.picture(), to_uint8(made.picture))

@pytest.mark.parametrize('width', [1280, 700])
def test_nothing_covers_a_handle(page, made, width):
    page.set_viewport_size({'width': width, 'height': 900})
    editor = open_editor(page, edit_widget(made))
    canvas, zoom = (editor.box.locator(f'.ai-{name}').bounding_box() for name in ('canvas', 'zoom'))
    assert zoom['y'] >= canvas['y'] + canvas['height'] or zoom['x'] >= canvas['x'] + canvas['width']

def test_a_drag_is_one_edit_that_can_be_undone_and_redone(editor, page, made):
    front = names(made)[0]
    x, y = editor.shown_pixel(front)
    editor.drag((x, y), (x + 11, y - 6), steps=7)
    edits = [dict(op='move', layer=front, dx=11, dy=-6)]
    assert editor.edits() == edits and editor.js('e => e.selected') == front
    assert difference(editor, made, edits)[0].max() == 0
    editor.wait('e => !e.due')
    canvas_pixel = editor.js('(e, p) => Array.from(e.canvas.getContext("2d").getImageData(...e.onScreen(p).map(v => Math.floor(v*e.ratio)), 1, 1).data.slice(0, 3))', [x + 11.5, y - 5.5])
    assert np.abs(np.array(canvas_pixel) - editor.picture()[y-6, x+11]).max() <= 2
    editor.drag((x + 11, y - 6), (x + 12, y)) # a second drag is a second edit
    assert editor.edits() == [*edits, dict(op='move', layer=front, dx=1, dy=6)]
    editor.button('Undo the last edit (Ctrl+Z)').click()
    assert editor.edits() == edits
    page.keyboard.press('Control+z')
    assert editor.edits() == [] and np.array_equal(editor.picture(), to_uint8(made.picture))
    page.keyboard.press('Control+Shift+z')
    editor.button('Redo the edit that was undone last (Ctrl+Shift+Z)').click()
    assert len(editor.edits()) == 2 and editor.js('e => e.redoButton.disabled')
    assert difference(editor, made, editor.edits())[0].max() == 0
    editor.js('e => e.undo()')
    editor.js('e => { e.model.set("edits", []); }') # as Python does: what was undone belongs to other edits
    assert editor.js('e => [e.undone.length, e.redoButton.disabled]') == [0, True]

def test_a_drag_can_be_cancelled_and_no_object_can_leave_the_canvas(editor, page, made):
    front = names(made)[0]
    x, y = editor.shown_pixel(front)
    page.mouse.move(*editor.place(x, y))
    page.mouse.down()
    page.mouse.move(*editor.place(x + 20, y), steps=3)
    assert not np.array_equal(editor.picture(), to_uint8(made.picture))
    page.keyboard.press('Escape')
    page.mouse.up()
    assert editor.edits() == [] and np.array_equal(editor.picture(), to_uint8(made.picture))
    editor.js('(e, layer) => e.commit({op: "move", layer, dx: 500, dy: 0})', front)
    assert editor.edits() == [] and np.array_equal(editor.picture(), to_uint8(made.picture))
    assert f'Nothing of {front} would be left' in editor.box.locator('.ai-notice').inner_text()
    edits = [dict(op='scale', layer=front, by=50)]
    editor.js('(e, edits) => e.setEdits(edits)', edits)
    editor.js('(e, layer) => e.commit({op: "scale", layer, by: 50})', front) # 2500 times in all, which Python refuses, too
    assert editor.edits() == edits and f'{front} cannot be moved, scaled or turned further' in editor.box.locator('.ai-notice').inner_text()
    with pytest.raises(AmodalError, match='is scaled by 2500 in all'): made.edit(edits*2)
    editor.js('e => e.undo()')
    editor.click(1, 1) # the background
    assert editor.js('e => e.selected') is None

def test_the_editor_tells_that_no_object_is_left_until_one_is(editor, made):
    notice = editor.box.locator('.ai-notice')
    for name in names(made):
        assert not notice.is_visible()
        editor.box.get_by_role('button', name=f'Hide {name}').click()
    assert 'leave no object, only the background' in notice.inner_text()
    editor.button('Undo the last edit (Ctrl+Z)').click()
    assert not notice.is_visible()

def test_everything_can_be_done_by_keys(editor, page, made):
    a, b, c = names(made)
    editor.card(a).focus()
    def press(*keys):
        for key in keys: page.keyboard.press(key)
    press('ArrowRight', 'ArrowRight', 'Shift+ArrowDown', 'ArrowLeft') # one edit
    press('+', '+', ',', '.', '.', '[')
    expected = [dict(op='move', layer=a, dx=1, dy=10), dict(op='scale', layer=a, by=1.0404), dict(op='turn', layer=a, degrees=-2), dict(op='reorder', layer=a, position=2)]
    assert editor.edits() == expected
    press(']', 'd') # the copy is selected
    copy = f'{a} copy'
    expected += [dict(op='reorder', layer=a, position=1), dict(op='duplicate', layer=a, name=copy)]
    assert editor.edits() == expected and editor.js('e => e.selected') == copy
    press('ArrowUp', 'ArrowDown') # which cancel out
    assert editor.edits() == expected
    press('h', 'h', 'Delete')
    expected += [dict(op='hide', layer=copy), dict(op='show', layer=copy), dict(op='delete', layer=copy)]
    assert editor.edits() == expected and editor.box.locator('.ae-layer').count() == 3
    assert page.evaluate('document.activeElement.closest(".amodal-editor") !== null')
    steps, changed = difference(editor, made, expected)
    assert steps.max() <= 1 and changed.any()
    for k in range(len(expected)): press('Control+z')
    assert editor.edits() == [] and np.array_equal(editor.picture(), to_uint8(made.picture))
    press('Escape', 'ArrowRight', 'Delete') # nothing is selected
    assert editor.edits() == []

def test_every_control_is_reached_by_tab_and_has_a_name(editor, page, made):
    editor.card(names(made)[0]).click()
    editor.box.locator('button:not(:disabled)').first.focus()
    reached = set()
    for _ in range(40):
        reached |= set(page.evaluate('[document.activeElement.className, document.activeElement.dataset.key ?? ""].join(" ").split(" ")'))
        page.keyboard.press('Tab')
    assert {'ai-tool', 'ai-primary', 'shadows_follow', 'show_unpainted', 'ai-canvas', 'ae-layer'} <= reached
    unnamed = editor.box.evaluate("""e => [...e.querySelectorAll('button, input, canvas[tabindex], [tabindex="0"]')]
        .filter(o => !(o.getAttribute('aria-label') || o.labels?.length || o.textContent.trim())).map(o => o.outerHTML)""")
    untitled = editor.box.evaluate('e => [...e.querySelectorAll("button:not(.ai-close)")].filter(o => !o.title).map(o => o.outerHTML)')
    assert unnamed == [] and untitled == []

def test_handles_and_wheel_scale_and_turn(editor, page, made):
    front = names(made)[0]
    editor.card(front).click()
    editor.drag_handle('scale', 25, 25)
    editor.drag_handle('turn', 40, 10)
    scaled, turned = editor.edits()
    assert (scaled['op'], turned['op']) == ('scale', 'turn') and scaled['by'] > 1 and turned['degrees'] < 0 # clockwise
    page.mouse.move(*editor.place(64, 64))
    for key in 'Shift', 'Alt':
        page.keyboard.down(key)
        for _ in range(2): page.mouse.wheel(0, 100)
        editor.wait(f'e => e.get("edits").length === {3 if key == "Shift" else 4}')
        page.keyboard.up(key)
    editor.wait('e => e.get("edits").at(-1).degrees === -2')
    assert editor.edits()[2:] == [dict(op='scale', layer=front, by=.9604), dict(op='turn', layer=front, degrees=-2)]
    steps, changed = difference(editor, made, editor.edits())
    assert steps.max() <= 1 and steps[changed].mean() < .05

def test_buttons_and_the_list_do_the_same(editor, page, made):
    a, b, c = names(made)
    editor.box.get_by_role('button', name=f'Hide {b}').click()
    editor.card(a).hover()
    editor.box.get_by_role('button', name=f'Send {a} backward').click()
    editor.button('Duplicate the object: a copy lies in front of it (D)').click()
    editor.button('Scale the object up by 2 % ( + )').click()
    editor.button('Turn the object by 2° counter-clockwise ( , )').click()
    editor.button('Delete the object (Delete)').click()
    copy = f'{a} copy'
    assert editor.edits() == [dict(op='hide', layer=b), dict(op='reorder', layer=a, position=2), dict(op='duplicate', layer=a, name=copy),
                              dict(op='scale', layer=copy, by=1.02), dict(op='turn', layer=copy, degrees=2), dict(op='delete', layer=copy)]
    shown = [card.get_attribute('data-layer') for card in editor.box.locator('.ae-layer').all()]
    assert shown == [b, a, c] and editor.box.locator('.ai-stack li').last.inner_text().strip() == 'Background'
    assert editor.box.get_by_role('button', name=f'Show {b}').get_attribute('aria-pressed') == 'false'

def test_check_boxes_shadow_and_hatching(editor, page, made):
    owner = next(layer.name for layer in made.layers if layer.number == made.report['unexplained'][0]['near'])
    edits = [dict(op='move', layer=owner, dx=0, dy=-12)]
    editor.js('(e, edits) => e.setEdits(edits)', edits)
    before = editor.picture()
    editor.box.get_by_label('Shadows follow').uncheck()
    assert difference(editor, made, edits, residual_follows=False)[0].max() == 0
    assert not np.array_equal(before, editor.picture())
    editor.wait('e => !e.due')
    canvas = 'e => e.canvas.toDataURL()'
    plain = editor.js(canvas)
    assert editor.js('e => e.layers.unpainted.some(v => v)')
    painted = editor.js('e => e.painted')
    editor.box.get_by_label('Show what nobody painted').check()
    editor.wait(f'e => e.painted > {painted}')
    assert editor.js(canvas) != plain

def test_copied_edits_are_a_file_of_edits(editor, page, made, tmp_path):
    edits = edit_lists(*names(made))['duplicate'][0]
    editor.js('(e, edits) => e.setEdits(edits)', edits)
    editor.button('Copy edits as JSON, for amodal edit').click()
    editor.box.locator('.ai-notice', has_text='on the clipboard').wait_for()
    (tmp_path/'edits.json').write_text(page.evaluate('navigator.clipboard.readText()'))
    assert read_edits(tmp_path/'edits.json') == edits
    editor.js('e => { e.set({shadows_follow: false}); return e.copy(); }')
    assert 'amodal edit --no-residual-follows.' in editor.box.locator('.ai-notice').inner_text()
    editor.js('e => { navigator.clipboard.writeText = () => Promise.reject(new Error("no")); return e.copy(); }')
    with page.expect_download() as got: editor.button('Download the edits as edits.json').click()
    assert json.loads(open(got.value.path()).read()) == {'version': 1, 'edits': edits}

def test_layers_of_one_name_and_a_large_photograph(page, made, monkeypatch):
    "Two layers of one name are called by their numbers; a photograph that is shown smaller is edited in its own pixels."
    double = replace(made, layers=[replace(layer, name='same') for layer in made.layers])
    editor = open_editor(page, edit_widget(double))
    editor.box.locator('.ae-layer').nth(1).focus()
    page.keyboard.press('ArrowRight')
    edits = [dict(op='move', layer=made.order[1], dx=1, dy=0)]
    assert editor.edits() == edits and difference(editor, double, edits)[0].max() == 0

    monkeypatch.setattr('amodal_nb.app.editor.MAX_EDITED_SIDE_PX', 64)
    editor = open_editor(page, edit_widget(made))
    assert editor.js('e => [e.meta.full, e.meta.shown]') == [[128, 128], [64, 64]]
    assert 'Shown at 1/2 of its size, 64 × 64 px' in editor.box.locator('.ai-notice').inner_text()
    front = names(made)[0]
    x, y = editor.shown_pixel(front)
    editor.drag((2*x, 2*y), (2*x + 12, 2*y + 20))
    assert editor.edits() == [dict(op='move', layer=front, dx=12, dy=20)]
    expected = to_uint8(torch.nn.functional.avg_pool2d(made.edit(editor.edits()).picture, 2))
    unedited = to_uint8(torch.nn.functional.avg_pool2d(made.picture, 2))
    error, change = (np.abs(a.astype(int) - expected).mean() for a in (editor.picture(), unedited))
    assert error < .05*change

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_it_fits_a_window_of_900_px(page, made, theme):
    editor = open_editor(page, edit_widget(made), theme)
    for width in 1440, 900:
        page.set_viewport_size({'width': width, 'height': 900})
        editor.wait('e => Math.abs(e.canvas.parentElement.clientWidth - e.width) < 1')
        box = editor.box.bounding_box()
        assert box['height'] <= 780 and box['width'] <= width # what JupyterLab leaves of 900 px
        assert page.evaluate('document.documentElement.scrollWidth') <= width
    light = page.evaluate('e => getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).slice(0, 3).every(v => v > 128)', editor.box.element_handle())
    assert light == (theme == 'light')

@pytest.mark.parametrize('theme', ['light', 'dark'])
def test_axe_finds_nothing(page, made, theme):
    "With a layer selected and hidden, and with a notice; the names of layers are not covered by their arrows."
    editor = open_editor(page, edit_widget(made), theme)
    name = names(made)[0]
    editor.card(name).click()
    over = editor.box.evaluate('e => { const of = s => e.querySelector(s).getBoundingClientRect(); return of(".ae-layer .ai-moves").left - of(".ae-layer .ai-thumb").right; }')
    assert over > 90 and violations(page, '.amodal-editor') == []
    for layer in names(made): editor.box.get_by_role('button', name=f'Hide {layer}').click()
    assert editor.box.locator('.ai-notice').is_visible() and violations(page, '.amodal-editor') == []
