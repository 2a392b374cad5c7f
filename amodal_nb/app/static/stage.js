// The canvas: drawing, and what lies over the picture.

import {makeCanvas} from './elements.js';
import {viewName} from './views.js';

// Views that do not fill the picture.
const TRANSPARENT = ['completion', 'original', 'top'];

export const stage = {
  paint() {
    const c = this.canvas.getContext('2d');
    this.paintView(c);
    if (this.pinned()) this.mark(c, this.pinned(), true);
    if (this.pointer) this.mark(c, this.pointer, false);
    this.painted = (this.painted ?? 0) + 1;
  },

  // Draw all but pointer and pin.
  paintView(c) {
    const slot = this.get('slot') - 1;
    const view = this.shownView();
    const against = this.shownAgainst();
    this.useScreen(c);
    c.clearRect(0, 0, this.width, this.height);
    c.imageSmoothingEnabled = this.camera.scale * this.meta.step < 1.5;
    c.imageSmoothingQuality = 'low';
    if (this.isTransparent(view)) this.drawCheckers(c);
    this.drawPicture(c, this.painter.view(view, slot));
    if (against) this.drawAgainst(c, against, slot);
    if (this.showsOverlay()) this.drawOverlay(c, slot);
    if (this.get('marks')) this.drawMarks(c);
    this.useScreen(c);
    if (this.showsNumbers()) this.writeNumbers(c);
    if (this.isWipe()) this.drawWipe(c, this.get('wipe') * this.width);
  },

  isTransparent(view) {
    return TRANSPARENT.includes(view) || (view === 'result' && this.fusion.hidden.size > 0);
  },

  // Whether the overlay is shown: it lies on the result only, so that all maps look as their legends say.
  showsOverlay() {
    return this.get('overlay_on') && this.shownView() === 'result' && this.has(this.get('overlay'));
  },

  isWipe() {
    return this.shownAgainst() && this.get('mode') === 'wipe';
  },

  showsNumbers() {
    if (this.shownView() === 'top') return true;
    return this.showsOverlay() && this.get('overlay') === 'top' && this.get('opacity') > 0.05;
  },

  // Save the context and clip it to a path in CSS pixels.
  clip(c, addPath) {
    c.save();
    this.useScreen(c);
    c.beginPath();
    addPath();
    c.clip();
  },

  // Clip to one of two views: left of the wipe and right of it, or every other square of a checkerboard.
  clipPart(c, isAgainst) {
    const {width, height} = this;
    const wipe = this.get('wipe') * width;
    this.clip(c, () => {
      if (!this.shownAgainst()) return c.rect(0, 0, width, height);
      if (this.isWipe()) return isAgainst ? c.rect(wipe, 0, width - wipe, height) : c.rect(0, 0, wipe, height);
      for (let i = 0, n = 40; i * n < width; i++) {
        for (let j = (i + !isAgainst) % 2; j * n < height; j += 2) c.rect(i * n, j * n, n, n);
      }
    });
  },

  drawAgainst(c, against, slot) {
    this.clipPart(c, true);
    c.clearRect(0, 0, this.width, this.height);
    if (this.isTransparent(against)) this.drawCheckers(c);
    this.drawPicture(c, this.painter.view(against, slot));
    c.restore();
  },

  drawOverlay(c, slot) {
    this.clipPart(c, false);
    c.globalAlpha = this.get('opacity');
    this.drawPicture(c, this.painter.overlay(this.get('overlay'), slot));
    c.restore();
  },

  // Draw the outline of the mask and, on the result, a hatching where nothing covers.
  drawMarks(c) {
    c.globalAlpha = 0.85;
    this.drawPicture(c, this.painter.outline());
    if (this.meta.uncovered && this.shownView() === 'result') {
      this.clipPart(c, false);
      this.drawPicture(c, this.painter.uncovered());
      c.restore();
    }
    c.globalAlpha = 1;
  },

  // Draw a checkerboard behind transparent pixels.
  drawCheckers(c) {
    this.tile ??= makeCanvas(16, 16, (data, words) => {
      for (let q = 0; q < 256; q++) words[q] = ((q >> 3) & 1) ^ ((q >> 7) & 1) ? 0xffdedbd9 : 0xffc0bcb9;
    });
    const [x, y] = this.onScreen([0, 0]);
    const [w, h] = this.meta.full;
    this.useScreen(c);
    c.fillStyle = c.createPattern(this.tile, 'repeat');
    c.fillRect(x, y, w * this.camera.scale, h * this.camera.scale);
  },

  writeNumbers(c) {
    c.font = '600 12px system-ui, sans-serif';
    c.textAlign = 'center';
    c.textBaseline = 'middle';
    this.painter.labels().forEach((label, s) => {
      if (!label) return;
      const [x, y] = this.onScreen(label.map(v => v * this.meta.step));
      const chosen = s === this.get('slot') - 1;
      c.beginPath();
      c.arc(x, y, chosen ? 12 : 10, 0, 7);
      c.fillStyle = this.meta.colours[s];
      c.fill();
      c.lineWidth = chosen ? 3 : 1.5;
      c.strokeStyle = '#fff';
      c.stroke();
      c.fillStyle = this.meta.inks[s];
      c.fillText(String(s + 1), x, y + 0.5);
    });
  },

  drawWipe(c, x) {
    c.fillStyle = 'rgba(0,0,0,.55)';
    c.fillRect(x - 2.5, 0, 5, this.height);
    c.fillStyle = '#fff';
    c.fillRect(x - 1, 0, 2, this.height);
    c.beginPath();
    c.arc(x, this.height / 2, 13, 0, 7);
    c.fillStyle = '#fff';
    c.fill();
    c.lineWidth = 1.5;
    c.strokeStyle = 'rgba(0,0,0,.55)';
    c.stroke();
    c.fillStyle = '#222';
    c.font = '12px system-ui, sans-serif';
    c.textAlign = 'center';
    c.textBaseline = 'middle';
    c.fillText('◂ ▸', x, this.height / 2);
    for (const [text, left, align] of [
      [viewName(this.shownView()), x - 20, 'right'],
      [viewName(this.shownAgainst()), x + 20, 'left'],
    ]) {
      c.textAlign = align;
      c.font = '600 12px system-ui, sans-serif';
      const w = c.measureText(text).width;
      c.fillStyle = 'rgba(0,0,0,.6)';
      c.fillRect(align === 'left' ? left - 6 : left - w - 6, 8, w + 12, 20);
      c.fillStyle = '#fff';
      c.fillText(text, left, 18.5);
    }
  },

  mark(c, [x, y], pinned) {
    const s = this.camera.scale;
    const [px, py] = this.onScreen([x, y]);
    const side = Math.max(s, 7);
    const o = (s - side) / 2;
    for (const [colour, width] of [
      ['#000', pinned ? 4 : 3],
      [pinned ? '#fee838' : '#fff', pinned ? 2 : 1.2],
    ]) {
      c.strokeStyle = colour;
      c.lineWidth = width;
      c.strokeRect(px + o, py + o, side, side);
    }
  },
};
