// Keys, pointer and wheel of the editor.

import {actOnKey, clamp} from './elements.js';
import {isNeutral} from './placements.js';

const MOVES = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const GRIP_PX = 9; // from the middle of a handle

// What plain keys do.
const ACTIONS = {
  Delete: e => e.remove(),
  Backspace: e => e.remove(),
  '[': e => e.shift(1),
  ']': e => e.shift(-1),
  '+': e => e.scale(1.02),
  '=': e => e.scale(1.02),
  '-': e => e.scale(0.98),
  ',': e => e.turn(2),
  '.': e => e.turn(-2),
  d: e => e.duplicate(),
  h: e => e.toggle(),
  0: e => e.fit(),
};

export const editorInput = {
  listen() {
    const {canvas, root} = this;
    this.bound = [];
    const on = (k, f) => {
      this.model.on(k, f);
      this.bound.push([k, f]);
    };
    on('change:edits', () => this.onEdits());
    for (const k of ['shadows_follow', 'show_unpainted'])
      on(`change:${k}`, () => {
        this.recompute();
        this.refresh();
      });
    this.sized = new ResizeObserver(() => this.resize());
    this.sized.observe(canvas.parentElement);
    root.addEventListener('keydown', e => this.onKey(e));
    canvas.addEventListener('pointermove', e => this.onHover(e));
    canvas.addEventListener('pointerdown', e => this.onPress(e));
    canvas.addEventListener('wheel', e => this.onWheel(e), {passive: false});
    this.placements = this.after(this.get('edits'));
    this.refresh();
  },

  onKey(e) {
    actOnKey(e, this.editorKey(e));
  },

  // Return what a key does, or null.
  editorKey(e) {
    const key = e.key.length === 1 ? e.key.toLowerCase() : e.key;
    if (e.ctrlKey || e.metaKey) return this.historyKey(e, key);
    if (e.altKey) return null;
    if (key === 'Escape') return this.drag ? this.drag.cancel : () => this.select(null);
    if (this.drag || !this.takes(key)) return null;
    if (MOVES[key]) return () => this.move(...MOVES[key].map(v => v * (e.shiftKey ? 10 : 1) * this.meta.step));
    return () => ACTIONS[key](this);
  },

  historyKey(e, key) {
    if (this.drag) return null;
    if (key === 'y' || (key === 'z' && e.shiftKey)) return () => this.redo();
    return key === 'z' ? () => this.undo() : null;
  },

  // Whether a key is one of the editor's. Without a selection only 0 is, so that arrows still scroll the page.
  takes(key) {
    return key === '0' || (!!this.chosen() && (key in MOVES || key in ACTIONS));
  },

  onWheel(e) {
    const by = clamp(e.deltaY || e.deltaX, -50, 50);
    if (e.ctrlKey || e.metaKey) {
      e.preventDefault();
      return this.zoom(Math.exp(-by / 120), [e.offsetX, e.offsetY]);
    }
    if (!this.chosen() || this.drag || !(e.shiftKey || e.altKey)) return; // a plain wheel scrolls the notebook
    e.preventDefault();
    if (e.altKey) this.turn(by > 0 ? -1 : 1);
    else this.scale(by > 0 ? 0.98 : 1.02);
  },

  // Return what a press would grab: a handle of the selected object, an object, or null.
  grip(e) {
    const chosen = this.chosen();
    if (chosen?.shown) {
      const {scale, turn} = this.handles(chosen);
      const isNear = ([x, y]) => Math.hypot(e.offsetX - x, e.offsetY - y) <= GRIP_PX;
      if (isNear(turn)) return {op: 'turn', placement: chosen};
      if (isNear(scale)) return {op: 'scale', placement: chosen};
    }
    const pixel = this.toPixel(e);
    const shown = pixel?.map(v => Math.floor(v / this.meta.step));
    const placement = shown && this.layers.topmost(this.placements, shown);
    return placement ? {op: 'move', placement} : null;
  },

  onHover(e) {
    if (this.drag || !this.camera) return;
    const op = this.grip(e)?.op;
    this.canvas.style.cursor = {turn: 'crosshair', scale: 'nwse-resize', move: 'grab'}[op] ?? 'default';
  },

  onPress(e) {
    if (e.button || this.drag) return;
    const grip = this.grip(e);
    this.select(grip?.placement.id ?? null);
    this.run = null;
    this.canvas.setPointerCapture(e.pointerId);
    this.canvas.style.cursor = 'grabbing';
    this.drag = grip ? this.objectDrag(grip, e) : this.cameraDrag(e);
    const {move, cancel} = this.drag;
    const listening = new globalThis.AbortController();
    const on = (kind, f) => this.canvas.addEventListener(kind, f, {signal: listening.signal});
    const end = () => {
      listening.abort();
      this.drag = null;
      this.canvas.style.cursor = 'default';
    };
    on('pointermove', m => this.drag && move(m));
    on('pointercancel', () => {
      end();
      cancel();
    });
    on('pointerup', () => {
      const {finish} = this.drag ?? {}; // none if it was cancelled
      end();
      finish?.();
    });
  },

  // Drag the background: look elsewhere.
  cameraDrag(e) {
    const start = {...this.camera};
    const move = m => {
      const [dx, dy] = [m.clientX - e.clientX, m.clientY - e.clientY];
      this.look({...start, x: start.x - dx / start.scale, y: start.y - dy / start.scale});
    };
    return {move, finish: () => {}, cancel: () => this.look(start)};
  },

  // Drag an object or a handle: the picture follows, and the edit is added when the pointer is let go.
  objectDrag({op, placement}, e) {
    const layer = placement.id;
    const start = [e.offsetX, e.offsetY];
    const {middle} = this.handles(placement);
    let draft = null;
    const move = m => {
      const edit = {op, layer, ...this.dragged(op, start, [m.offsetX, m.offsetY], middle)};
      draft = isNeutral(edit) ? null : edit;
      this.recompute(draft);
      this.refresh();
    };
    const cancel = () => {
      draft = null;
      this.drag = null;
      this.recompute();
      this.refresh();
    };
    return {move, cancel, finish: () => draft && this.commit(draft)};
  },

  // Return what a drag from one place of the canvas to another means: whole pixels, hundredths, whole degrees.
  dragged(op, from, to, middle) {
    const arm = p => [p[0] - middle[0], p[1] - middle[1]];
    const [a, b] = [arm(from), arm(to)];
    if (op === 'move') {
      const {step} = this.meta;
      const px = k => Math.round((to[k] - from[k]) / (this.camera.scale * step)) * step || 0; // no -0
      return {dx: px(0), dy: px(1)};
    }
    if (op === 'scale') {
      const by = Math.hypot(...b) / Math.max(1, Math.hypot(...a));
      return {by: +clamp(by, 0.05, 20).toFixed(2)};
    }
    const angle = Math.atan2(a[1], a[0]) - Math.atan2(b[1], b[0]); // counter-clockwise, y points down
    return {degrees: Math.round((angle * 180) / Math.PI) || 0};
  },
};
