"An editor on a page."
import base64
import numpy as np
from browser import CanvasPage, show_widgets

SHOWN_PIXEL = """(e, layer) => {
  const {w, h} = e.layers, is = (x, y) => e.layers.topmost(e.placements, [x, y])?.id === layer;
  for (let r = 6; r >= 0; r--) for (let y = r; y < h - r; y++) for (let x = r; x < w - r; x++)
    if ([[0, 0], [r, 0], [-r, 0], [0, r], [0, -r]].every(([dx, dy]) => is(x + dx, y + dy))) return [x, y];
}"""

def open_editor(page, widget, theme='light'):
    "Show the editor of a widget on a page; return its `EditorPage`."
    show_widgets(page, widget, theme=theme)
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
