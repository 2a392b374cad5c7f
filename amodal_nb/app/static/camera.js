// The camera of a canvas: what part of the picture it shows, and how large. Its owner has `meta` (`full`, the size in
// px, and `step`, px along a side of a shown pixel), `canvas`, `zoomText`, `paint()` and `updateLinked()`.

import {clamp} from './elements.js';

export const camera = {
  heightShare: 0.72, // of the window, at most

  // Return the largest height of the canvas, in px.
  stageHeight() {
    return this.heightShare * globalThis.innerHeight;
  },

  resize() {
    const [w, h] = this.meta.full;
    const width = this.canvas.parentElement.clientWidth;
    if (!width) return;
    const height = Math.round(clamp((width * h) / w, 160, Math.max(200, this.stageHeight())));
    const ratio = globalThis.devicePixelRatio || 1;
    const first = !this.camera;
    const fitted = first || this.camera.scale === this.fitScale;
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, {width, height, ratio, fitScale: Math.min(width / w, height / h)});
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (fitted) this.fit(false);
    else this.draw();
  },

  fit(share = true) {
    this.look({scale: this.fitScale, x: this.meta.full[0] / 2, y: this.meta.full[1] / 2}, share);
  },

  look(view, share = true) {
    const [w, h] = this.meta.full;
    const scale = clamp(view.scale, Math.min(this.fitScale, 1) / 2, 64);
    this.camera = {scale, x: clamp(view.x, 0, w), y: clamp(view.y, 0, h)};
    this.zoomText.textContent = `${Math.round(100 * scale)}%`;
    this.draw();
    if (share)
      this.updateLinked(o =>
        o.look({...this.camera, scale: (this.camera.scale / this.fitScale) * o.fitScale}, false),
      );
  },

  // Zoom about a point of the canvas, which stays where it is.
  zoom(factor, centre = [this.width / 2, this.height / 2]) {
    const {scale, x, y} = this.camera;
    const next = clamp(scale * factor, Math.min(this.fitScale, 1) / 2, 64);
    const dx = centre[0] - this.width / 2;
    const dy = centre[1] - this.height / 2;
    this.look({scale: next, x: x + dx / scale - dx / next, y: y + dy / scale - dy / next});
  },

  draw() {
    if (this.due || !this.camera) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.paint();
    });
  },

  // Draw in CSS pixels of the canvas.
  useScreen(c) {
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
  },

  // Draw a canvas of the fusion's size where the camera sees it.
  drawPicture(c, canvas) {
    const {ratio, width, height} = this;
    const {scale, x, y} = this.camera;
    const k = scale * this.meta.step;
    c.setTransform(ratio * k, 0, 0, ratio * k, ratio * (width / 2 - x * scale), ratio * (height / 2 - y * scale));
    c.drawImage(canvas, 0, 0);
  },

  onScreen([x, y]) {
    const s = this.camera.scale;
    return [(x - this.camera.x) * s + this.width / 2, (y - this.camera.y) * s + this.height / 2];
  },

  // Return the pixel under the pointer, or null outside of the picture.
  toPixel(e) {
    const {scale, x, y} = this.camera;
    const px = Math.floor((e.offsetX - this.width / 2) / scale + x);
    const py = Math.floor((e.offsetY - this.height / 2) / scale + y);
    return px < 0 || py < 0 || px >= this.meta.full[0] || py >= this.meta.full[1] ? null : [px, py];
  },
};
