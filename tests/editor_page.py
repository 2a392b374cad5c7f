"An editor on a page; in one of its own, without Jupyter, a stand-in for the widget's model holds the traits."
import base64
import numpy as np
from browser import CanvasPage

MODEL = """async ({traits, code, css, theme}) => {
  const decode = v => v?.$bytes !== undefined ? new DataView(Uint8Array.from(atob(v.$bytes), c => c.charCodeAt(0)).buffer)
    : Array.isArray(v) ? v.map(decode) : v && typeof v === 'object' ? Object.fromEntries(Object.entries(v).map(([k, o]) => [k, decode(o)])) : v;
  const values = decode(traits), listeners = {};
  const model = {
    saved: 0,
    get: k => values[k],
    set: (k, v) => {
      if (JSON.stringify(values[k]) === JSON.stringify(v)) return;
      values[k] = v;
      for (const f of listeners[`change:${k}`] ?? []) f();
    },
    save_changes: () => { model.saved++; },
    on: (k, f) => (listeners[k] ??= []).push(f),
    off: (k, f) => { listeners[k] = (listeners[k] ?? []).filter(o => o !== f); },
  };
  document.head.append(Object.assign(document.createElement('style'), {textContent: css}));
  document.documentElement.style.colorScheme = theme;
  document.body.dataset.jpThemeLight = String(theme === 'light');
  document.body.style.background = theme === 'light' ? '#fff' : '#111';
  const root = document.createElement('div');
  document.body.replaceChildren(root);
  const widget = await import(URL.createObjectURL(new Blob([code], {type: 'text/javascript'})));
  widget.default.render({model, el: root});
}"""

SHOWN_PIXEL = """(e, layer) => {
  const {w, h} = e.layers, is = (x, y) => e.layers.topmost(e.placements, [x, y])?.id === layer;
  for (let r = 6; r >= 0; r--) for (let y = r; y < h - r; y++) for (let x = r; x < w - r; x++)
    if ([[0, 0], [r, 0], [-r, 0], [0, r], [0, -r]].every(([dx, dy]) => is(x + dx, y + dy))) return [x, y];
}"""

def as_json(value):
    "Replace bytes by their base64."
    if isinstance(value, dict): return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)): return [as_json(v) for v in value]
    return {'$bytes': base64.b64encode(value).decode()} if isinstance(value, (bytes, memoryview)) else value

def open_editor(page, widget, theme='light'):
    "Show the editor of a widget on a page; return its `EditorPage`."
    page.route('http://localhost/**', lambda route: route.fulfill(body='<!doctype html><title>editor</title>', content_type='text/html')) # its clipboard works
    page.goto('http://localhost/')
    names = 'edits', 'shadows_follow', 'show_unpainted', '_meta', '_data'
    traits = {k: as_json(getattr(widget, k)) for k in names}
    page.evaluate(MODEL, {'traits': traits, 'code': widget._esm, 'css': widget._css, 'theme': theme})
    return EditorPage(page)

class EditorPage(CanvasPage):
    "An editor on a page."
    kind = 'editor'
    def edits(self): return self.js('e => e.get("edits")')
    def picture(self):
        "The picture as composited, uint8 [H,W,3]."
        w, h = self.js('e => e.meta.shown')
        data = self.js('e => { let s = ""; for (const v of e.layers.pixels) s += String.fromCharCode(v); return btoa(s); }')
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(h, w, 4)[..., :3]
    def click(self, x, y): self.page.mouse.click(*self.place(x, y))
    def drag(self, start, end, steps=5):
        "Drag from one pixel of the picture to another."
        self.page.mouse.move(*self.place(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(*end), steps=steps)
        self.page.mouse.up()
    def drag_handle(self, kind, dx, dy):
        "Drag the handle 'scale' or 'turn' of the selected object by CSS pixels."
        x, y = self.js('(e, kind) => e.handles(e.chosen())[kind]', kind)
        box = self.canvas.bounding_box()
        self.page.mouse.move(box['x'] + x, box['y'] + y)
        self.page.mouse.down()
        self.page.mouse.move(box['x'] + x + dx, box['y'] + y + dy, steps=4)
        self.page.mouse.up()
    def shown_pixel(self, layer):
        "A pixel (x, y) that a layer is topmost at, as far from its rim as 6 px if there is one."
        return self.js(SHOWN_PIXEL, layer)
    def button(self, name): return self.box.get_by_role('button', name=name, exact=True)
    def card(self, name): return self.box.locator('.ae-layer', has=self.page.get_by_title(name, exact=True))
