// The editor's canvas: the picture, what nobody painted, and the outline and handles of the selected object.

import {makeCanvas} from './elements.js';
import {forwardMap} from './layer_stack.js';

// Side of a handle, and its distance above the object, in CSS pixels.
const HANDLE_PX = 10;
const STEM_PX = 24;

export const editorStage = {
  heightShare: 0.6,

  paint() {
    const c = this.canvas.getContext('2d');
    this.useScreen(c);
    c.clearRect(0, 0, this.width, this.height);
    c.imageSmoothingEnabled = this.camera.scale * this.meta.step < 1.5;
    this.drawPicture(c, this.picture);
    if (this.get('show_unpainted')) this.drawPicture(c, this.hatching());
    const placement = this.chosen();
    if (placement?.shown) this.drawSelection(c, placement);
    this.painted = (this.painted ?? 0) + 1;
  },

  // Return diagonal lines where an edit uncovers inpainted background.
  hatching() {
    const {w, h, unpainted} = this.layers;
    return makeCanvas(w, h, (_, words) => {
      for (let q = 0; q < words.length; q++) {
        const band = ((q % w) + Math.floor(q / w)) % 8;
        if (unpainted[q]) words[q] = band < 2 ? 0xffffffff : band < 4 ? 0xff202020 : 0;
      }
    });
  },

  drawSelection(c, placement) {
    this.drawPictureSpace(c);
    const path = this.outline(placement);
    const thin = 1 / (this.camera.scale * this.meta.step);
    for (const [colour, width] of [
      ['#000', 3],
      ['#fff', 1.5],
    ]) {
      c.strokeStyle = colour;
      c.lineWidth = width * thin;
      c.stroke(path);
    }
    this.useScreen(c);
    const {scale, turn} = this.handles(placement);
    this.drawHandle(c, () => c.rect(scale[0] - HANDLE_PX / 2, scale[1] - HANDLE_PX / 2, HANDLE_PX, HANDLE_PX));
    this.drawHandle(c, () => c.arc(...turn, HANDLE_PX / 2, 0, 7));
  },

  // Draw in shown pixels of the picture.
  drawPictureSpace(c) {
    const {ratio} = this;
    const k = ratio * this.camera.scale * this.meta.step;
    const [x, y] = this.onScreen([0, 0]);
    c.setTransform(k, 0, 0, k, ratio * x, ratio * y);
  },

  drawHandle(c, addPath) {
    c.beginPath();
    addPath();
    c.fillStyle = '#fff';
    c.fill();
    c.lineWidth = 1.5;
    c.strokeStyle = '#000';
    c.stroke();
  },

  // Return the path along the sides of the pixels at the rim of an object.
  outline(placement) {
    const {dx, dy, scale, degrees, layer} = placement;
    const key = [layer, dx, dy, scale, degrees].join();
    if (this.outlined?.key === key) return this.outlined.path;
    const {x, y, w, h, alpha} = this.layers.silhouette(placement);
    const path = new globalThis.Path2D();
    const covers = (px, py) => px >= 0 && py >= 0 && px < w && py < h && alpha[py * w + px] > 127;
    const side = (x0, y0, x1, y1) => {
      path.moveTo(x + x0, y + y0);
      path.lineTo(x + x1, y + y1);
    };
    for (let py = 0; py <= h; py++)
      for (let px = 0; px <= w; px++) {
        const here = covers(px, py);
        if (here !== covers(px - 1, py)) side(px, py, px, py + 1);
        if (here !== covers(px, py - 1)) side(px, py, px + 1, py);
      }
    this.outlined = {key, path};
    return path;
  },

  // Return the centre of an object and the places of its handles, in CSS pixels of the canvas. A handle that would lie
  // outside is drawn at the canvas's rim.
  handles(placement) {
    const {step} = this.meta;
    const {centre} = this.layers.layers[placement.layer];
    const {x, y, w, h} = this.layers.silhouette(this.layers.start[placement.layer]);
    const forward = forwardMap(placement, centre, step);
    const screen = place => this.onScreen(forward(place).map(v => v * step));
    const middle = screen(centre);
    const top = screen([x + w / 2, y]);
    const length = Math.hypot(top[0] - middle[0], top[1] - middle[1]) || 1;
    const beyond = top.map((v, k) => v + ((v - middle[k]) / length) * STEM_PX);
    const inside = ([px, py]) => [
      Math.min(this.width - HANDLE_PX, Math.max(HANDLE_PX, px)),
      Math.min(this.height - HANDLE_PX, Math.max(HANDLE_PX, py)),
    ];
    return {middle, scale: inside(screen([x + w, y + h])), turn: inside(beyond)};
  },
};
