// Keys, pointer and wheel.

import {actOnKey, clamp} from './elements.js';
import {KEYS, SHARED, VIEWS} from './views.js';

const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const LAYER_KEYS = {h: o => o.toggleHidden(o.get('slot')), s: o => o.toggleSolo(o.get('slot'))};
const ZOOM_KEYS = {'+': 1.5, '=': 1.5, '-': 1 / 1.5};

export const input = {
  listen() {
    const {canvas, root} = this;
    for (const k of SHARED) if (k !== 'hidden') this.on(`change:${k}`, () => this.refresh());
    for (const k of ['corrections', 'stack', 'hidden']) this.on(`change:${k}`, () => this.recompute());
    for (const k of ['_history', '_undone', '_saved']) this.on(`change:${k}`, () => this.refreshActions());
    this.on('change:pin', () => {
      this.showPixel();
      this.draw();
    });
    this.on('comm_live_update', () => this.reportNoAnswer());
    this.on('msg:custom', message => this.receive(message));
    this.sized = new ResizeObserver(() => {
      this.arrange();
      this.resize();
    });
    this.sized.observe(root);
    root.addEventListener('keydown', e => this.onKey(e));
    canvas.addEventListener('pointermove', e => this.onMove(e));
    canvas.addEventListener('pointerleave', () => this.point(null));
    canvas.addEventListener('pointerdown', e => this.onPress(e));
    canvas.addEventListener('dblclick', e => this.zoom(2, [e.offsetX, e.offsetY]));
    canvas.addEventListener(
      'wheel',
      e => {
        if (!e.ctrlKey && !e.metaKey) return; // a plain wheel scrolls the notebook
        e.preventDefault();
        this.zoom(Math.exp(-clamp(e.deltaY, -50, 50) / 120), [e.offsetX, e.offsetY]);
      },
      {passive: false},
    );
  },

  onKey(e) {
    actOnKey(e, this.keyAction(e));
  },

  // Return what a key does, or null.
  keyAction(e) {
    if (e.ctrlKey || e.metaKey) return this.historyAction(e);
    const isField = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== 'checkbox';
    if (isField) return null;
    return ARROWS[e.key] ? this.arrowAction(e, ARROWS[e.key]) : e.altKey ? null : this.plainKeyAction(e);
  },

  historyAction(e) {
    const key = e.key.toLowerCase();
    if (key === 'y' || (key === 'z' && e.shiftKey)) return () => this.redo();
    return key === 'z' ? () => this.undo() : null;
  },

  // Return what an arrow does: move a card, go to the next one, move the pixel, or choose a slot.
  arrowAction(e, step) {
    const card = e.target.closest?.('.ai-card');
    if (card && e.altKey && step[1]) return () => this.shift(+card.dataset.slot, step[1]);
    if (e.altKey) return null;
    if (e.shiftKey) return () => this.stepPixel(step);
    if (card) return () => this.focusNextCard(card, step[0] + step[1]);
    const {slots} = this.fusion;
    return () => this.set({slot: ((this.get('slot') - 1 + step[0] + step[1] + slots) % slots) + 1});
  },

  focusNextCard(card, by) {
    const cards = [...this.stack.querySelectorAll('.ai-card')];
    cards.at((cards.indexOf(card) + by) % cards.length).focus();
  },

  plainKeyAction(e) {
    const key = e.key.toLowerCase();
    const view = key.length === 1 && VIEWS[KEYS.indexOf(key)]?.[0];
    if (view && this.has(view)) return () => this.set({view});
    if (LAYER_KEYS[key]) return () => LAYER_KEYS[key](this);
    if (e.key === ' ') return this.spaceAction(e.target);
    if (e.key === 'Enter') return e.target === this.canvas ? () => this.pin(this.pointer ?? this.get('pin')) : null;
    if (e.key === 'Escape') return () => this.set({pin: []});
    if (ZOOM_KEYS[e.key]) return () => this.zoom(ZOOM_KEYS[e.key]);
    if (e.key === '0') return () => this.fit();
    return null;
  },

  // Space turns the overlay on or off, unless the focused element takes it.
  spaceAction(target) {
    if (target.type === 'checkbox') return null;
    const isPicture = target === this.canvas || target === this.root;
    if (!isPicture && target.matches('button, summary')) return null;
    return () => this.set({overlay_on: !this.get('overlay_on')});
  },

  onMove(e) {
    if (this.drag) return;
    this.canvas.style.cursor = this.onWipe(e) ? 'ew-resize' : 'crosshair';
    this.point(this.toPixel(e));
  },

  point(pixel, share = true) {
    this.pointer = pixel;
    this.showPixel();
    this.draw();
    if (share) this.updateLinked(o => o.point(pixel, false));
  },

  onWipe(e) {
    return this.isWipe() && Math.abs(e.offsetX - this.get('wipe') * this.width) < 8;
  },

  onPress(e) {
    if (e.button) return;
    const wipes = this.onWipe(e);
    const start = {...this.camera};
    const [sx, sy] = [e.clientX, e.clientY];
    const box = this.canvas.getBoundingClientRect();
    this.canvas.setPointerCapture(e.pointerId);
    this.drag = true;
    let moved = false;
    const move = m => {
      const dx = m.clientX - sx;
      const dy = m.clientY - sy;
      moved ||= Math.hypot(dx, dy) > 4;
      if (wipes) this.set({wipe: clamp((m.clientX - box.left) / box.width, 0, 1)}, false);
      else if (moved) this.look({...start, x: start.x - dx / start.scale, y: start.y - dy / start.scale});
    };
    const up = m => {
      this.canvas.removeEventListener('pointermove', move);
      this.canvas.removeEventListener('pointerup', up);
      this.canvas.removeEventListener('pointercancel', up);
      this.drag = false;
      if (!moved && !wipes && m.type === 'pointerup') this.pin(this.toPixel(m));
    };
    this.canvas.addEventListener('pointermove', move);
    this.canvas.addEventListener('pointerup', up);
    this.canvas.addEventListener('pointercancel', up);
  },

  pin(pixel) {
    const old = this.get('pin') ?? [];
    const next = !pixel || (old[0] === pixel[0] && old[1] === pixel[1]) ? [] : pixel;
    this.set({pin: next});
    this.updateLinked(o => o.set({pin: next}));
  },

  stepPixel([dx, dy]) {
    const [w, h] = this.meta.full;
    const [x, y] = this.pointer ?? this.pinned() ?? [w >> 1, h >> 1];
    const k = this.meta.step;
    this.point([clamp(x + dx * k, 0, w - 1), clamp(y + dy * k, 0, h - 1)]);
  },
};
