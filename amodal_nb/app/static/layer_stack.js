// The layers of a refitted photograph, composited as `edit_layers` of amodal_nb.fusion.edit does, to the byte where
// layers move by whole pixels. A 2D canvas cannot do this: it keeps colours premultiplied in eight bits.

import {bytes} from './float16.js';
import {initialPlacements, isMoved} from './placements.js';

const UNIT = Float32Array.from({length: 256}, (_, v) => v / 255);
const CACHED = 8; // resampled pictures of one part

// As torch.lerp.
const lerp = (a, b, t) => (t < 0.5 ? a + t * (b - a) : b - (b - a) * (1 - t));

const intersect = (a, b) => [Math.max(a[0], b[0]), Math.max(a[1], b[1]), Math.min(a[2], b[2]), Math.min(a[3], b[3])];
const isEmpty = ([left, top, right, bottom]) => left >= right || top >= bottom;
const extent = o => [o.x, o.y, o.x + o.w, o.y + o.h];

// Return the least rectangle [left, top, right, bottom] that holds all of these; null for none.
export function unite(rects) {
  const some = rects.filter(r => r && !isEmpty(r));
  if (!some.length) return null;
  const sides = k => some.map(r => r[k]);
  return [Math.min(...sides(0)), Math.min(...sides(1)), Math.max(...sides(2)), Math.max(...sides(3))];
}

// Call f(index in a picture of width w, index in the part) for each pixel of a part in a rectangle.
function forEachPixel(part, rect, w, f) {
  const [left, top, right, bottom] = intersect(extent(part), rect);
  for (let y = top; y < bottom; y++)
    for (let x = left, p = (y - part.y) * part.w + left - part.x; x < right; x++, p++) f(y * w + x, p);
}

// Draw a part over opaque colours [3*H*W] in 0..1, and take what it hides from the transmittance [H*W].
function drawOver(colours, through, w, part, rect) {
  const {rgba} = part;
  const [left, top, right, bottom] = intersect(extent(part), rect);
  for (let y = top; y < bottom; y++) {
    let p = 4 * ((y - part.y) * part.w + left - part.x);
    for (let q = y * w + left, end = y * w + right; q < end; q++, p += 4) {
      const t = UNIT[rgba[p + 3]];
      if (!t) continue;
      for (let k = 0; k < 3; k++) colours[3 * q + k] = lerp(colours[3 * q + k], UNIT[rgba[p + k]], t);
      through[q] *= 1 - t;
    }
  }
}

// Return a part's premultiplied colours and alpha, with a rim of zeros.
function premultiply({w, h, rgba}) {
  const out = new Float32Array(4 * (w + 2) * (h + 2));
  for (let y = 0, p = 0; y < h; y++)
    for (let q = 4 * ((y + 1) * (w + 2) + 1), end = q + 4 * w; q < end; q += 4, p += 4) {
      const t = UNIT[rgba[p + 3]];
      for (let k = 0; k < 3; k++) out[q + k] = UNIT[rgba[p + k]] * t;
      out[q + 3] = t;
    }
  return out;
}

// Write four premultiplied values, from an index on, as straight bytes at p.
function writeStraight(rgba, p, values, from = 0) {
  const a = values[from + 3];
  rgba[p + 3] = Math.round(255 * a);
  if (!rgba[p + 3]) return;
  for (let k = 0; k < 3; k++) rgba[p + k] = Math.round(Math.min(255, (255 * values[from + k]) / a));
}

// Return the map of a placement about a centre, [[a, b], [c, d]] and the place of the centre, all in shown pixels.
export function forwardMap(placement, [cx, cy], step) {
  const angle = (placement.degrees * Math.PI) / 180;
  const c = placement.scale * Math.cos(angle);
  const s = placement.scale * Math.sin(angle);
  const moved = [cx + placement.dx / step, cy + placement.dy / step];
  return ([x, y]) => [moved[0] + c * (x - cx) + s * (y - cy), moved[1] - s * (x - cx) + c * (y - cy)];
}

// Resample a part at its new place, bilinearly; what leaves the picture is cut off.
function resample(part, placement, centre, [w, h], step) {
  const forward = forwardMap(placement, centre, step);
  const [left, top, right, bottom] = extent(part);
  const rim = [left - 1, right + 1].flatMap(x => [top - 1, bottom + 1].map(y => forward([x, y])));
  const around = f => [f(...rim.map(o => o[0])), f(...rim.map(o => o[1]))];
  const box = [...around(Math.min).map(Math.floor), ...around(Math.max).map(Math.ceil)];
  const [x0, y0, x1, y1] = intersect(box, [0, 0, w, h]);
  const out = {x: x0, y: y0, w: Math.max(0, x1 - x0), h: Math.max(0, y1 - y0)};
  out.rgba = new Uint8Array(4 * out.w * out.h);
  const angle = (placement.degrees * Math.PI) / 180;
  const c = Math.cos(angle) / placement.scale;
  const s = Math.sin(angle) / placement.scale;
  const [mx, my] = forward(centre);
  const pw = part.w + 2;
  part.premultiplied ??= premultiply(part);
  const from = part.premultiplied;
  const values = [0, 0, 0, 0];
  for (let y = y0, p = 0; y < y1; y++)
    for (let x = x0; x < x1; x++, p += 4) {
      const dx = x + 0.5 - mx;
      const dy = y + 0.5 - my;
      const sx = centre[0] + c * dx - s * dy - 0.5 - part.x;
      const sy = centre[1] + s * dx + c * dy - 0.5 - part.y;
      const ix = Math.floor(sx);
      const iy = Math.floor(sy);
      if (ix < -1 || iy < -1 || ix >= part.w || iy >= part.h) continue;
      const u = sx - ix;
      const v = sy - iy;
      const q = 4 * ((iy + 1) * pw + ix + 1);
      for (let k = q; k < q + 4; k++)
        values[k - q] =
          (1 - v) * ((1 - u) * from[k] + u * from[k + 4]) +
          v * ((1 - u) * from[k + 4 * pw] + u * from[k + 4 * pw + 4]);
      if (values[3]) writeStraight(out.rgba, p, values);
    }
  return out;
}

export class LayerStack {
  constructor(meta, data) {
    const [w, h] = meta.shown;
    Object.assign(this, {w, h, step: meta.step, layers: meta.layers, all: [0, 0, w, h]});
    this.parts = meta.parts.map(({layer, kind, box: [x, y, bw, bh]}, k) => {
      return {layer, kind, x, y, w: bw, h: bh, rgba: bytes(data.parts[k]), places: new Map()};
    });
    for (const k of ['photo', 'background', 'known']) this[k] = bytes(data[k]);
    this.colours = new Float32Array(3 * w * h);
    this.through = new Float32Array(w * h);
    this.pixels = new Uint8ClampedArray(4 * w * h).fill(255);
    this.unpainted = new Uint8Array(w * h); // 1 where an edit uncovers inpainted background
    this.start = initialPlacements(this.layers);
    this.composite(this.start, true, this.all);
    this.before = this.colours.slice();
    this.latest = null;
    this.update(this.start, true);
  }

  partsOf(layer, kinds) {
    return this.parts.filter(o => o.layer === layer && kinds.includes(o.kind));
  }

  // Return a part where a placement puts it.
  place(part, placement) {
    const [dx, dy] = [placement.dx / this.step, placement.dy / this.step];
    const {scale, degrees} = placement;
    if (scale === 1 && degrees === 0 && Number.isInteger(dx) && Number.isInteger(dy))
      return {x: part.x + dx, y: part.y + dy, w: part.w, h: part.h, rgba: part.rgba};
    const key = [dx, dy, scale, degrees].join();
    const {places} = part;
    if (!places.has(key)) {
      if (places.size >= CACHED) places.delete(places.keys().next().value);
      places.set(key, resample(part, placement, this.layers[placement.layer].centre, [this.w, this.h], this.step));
    }
    return places.get(key);
  }

  // Return the object of a placement: its hidden part, then its visible one.
  object(placement) {
    return this.partsOf(placement.layer, ['hidden', 'visible']).map(o => this.place(o, placement));
  }

  // Return the parts of the residual layer, bottom to top.
  residual(placements, follows) {
    if (!follows) return this.parts.filter(o => o.kind === 'residual');
    const owned = p => this.partsOf(p.layer, ['residual']).map(o => this.place(o, p));
    return [...this.partsOf(null, ['residual']), ...placements.filter(p => p.shown).flatMap(owned)];
  }

  // Flatten parts of the residual layer to one, in eight bits.
  flatten(parts, rect) {
    if (parts.length < 2) return parts;
    const [x, y, right, bottom] = rect;
    const out = {x, y, w: right - x, h: bottom - y};
    const values = new Float32Array(4 * out.w * out.h);
    for (const part of parts)
      forEachPixel(part, rect, this.w, (q, p) => {
        const t = UNIT[part.rgba[4 * p + 3]];
        if (!t) return;
        const to = 4 * ((Math.floor(q / this.w) - y) * out.w + (q % this.w) - x);
        for (let k = 0; k < 3; k++) values[to + k] = lerp(values[to + k], UNIT[part.rgba[4 * p + k]], t);
        values[to + 3] = t + values[to + 3] * (1 - t);
      });
    out.rgba = new Uint8Array(values.length);
    for (let p = 0; p < values.length; p += 4) if (values[p + 3]) writeStraight(out.rgba, p, values, p);
    return [out];
  }

  // Composite all layers in a rectangle: `colours`, and the transmittance of the objects, `through`.
  composite(placements, follows, rect) {
    const {w, colours, through} = this;
    const [left, top, right, bottom] = rect;
    for (let y = top; y < bottom; y++)
      for (let q = 3 * (y * w + left), end = 3 * (y * w + right); q < end; q++) colours[q] = UNIT[this.background[q]];
    const draw = part => drawOver(colours, through, w, part, rect);
    this.flatten(this.residual(placements, follows), rect).forEach(draw);
    for (let y = top; y < bottom; y++) through.fill(1, y * w + left, y * w + right); // the residual layer is no object
    for (const p of placements.toReversed()) if (p.shown) this.object(p).forEach(draw);
  }

  // Write a rectangle of the picture: the photograph's own pixels where nothing changed.
  write([left, top, right, bottom]) {
    const {w, colours, before, photo, pixels} = this;
    for (let y = top; y < bottom; y++)
      for (let q = y * w + left, end = y * w + right; q < end; q++) {
        const c = 3 * q;
        const same = colours[c] === before[c] && colours[c + 1] === before[c + 1] && colours[c + 2] === before[c + 2];
        for (let k = 0; k < 3; k++)
          pixels[4 * q + k] = same ? photo[c + k] : Math.round(Math.fround(255 * colours[c + k]));
        this.unpainted[q] = !same && this.through[q] > 0.5 && !this.known[q];
      }
  }

  // Composite again what changed since the last update; return the rectangle, or null.
  update(placements, follows) {
    const rect = this.changedRect(placements, follows);
    this.latest = {placements, follows};
    if (!rect) return null;
    this.composite(placements, follows, rect);
    this.write(rect);
    return rect;
  }

  changedRect(placements, follows) {
    const old = this.latest;
    if (!old || old.follows !== follows || old.placements.length !== placements.length) return this.all;
    const pairs = placements.map((p, i) => [p, old.placements[i]]);
    if (pairs.some(([p, o]) => p.layer !== o.layer)) return this.all;
    const different = ([p, o]) => ['dx', 'dy', 'scale', 'degrees', 'shown'].some(k => p[k] !== o[k]);
    const rects = pairs.filter(different).flatMap(pair => pair.map(p => this.bounds(p, follows)));
    return unite(rects.map(r => r && intersect(r, this.all)));
  }

  // Return the rectangle of a placed object, and of its part of the residual layer where that follows.
  bounds(placement, follows) {
    if (!placement.shown) return null;
    const kinds = follows ? ['hidden', 'visible', 'residual'] : ['hidden', 'visible'];
    return unite(this.partsOf(placement.layer, kinds).map(o => extent(this.place(o, placement))));
  }

  // Return the bytes of a placed object's alpha in its rectangle.
  silhouette(placement) {
    const parts = this.object(placement);
    const rect = unite(parts.map(extent));
    if (!rect) return {x: 0, y: 0, w: 0, h: 0, alpha: new Uint8Array(0)};
    const [x, y, right, bottom] = rect;
    const w = right - x;
    const alpha = new Uint8Array(w * (bottom - y));
    for (const part of parts)
      for (let py = 0, p = 3; py < part.h; py++)
        for (let q = (py + part.y - y) * w + part.x - x, end = q + part.w; q < end; q++, p += 4)
          alpha[q] = 255 - ((255 - alpha[q]) * (255 - part.rgba[p])) / 255;
    return {x, y, w, h: bottom - y, alpha};
  }

  // Whether a placement is a state that `edit_layers` accepts: an object that was moved shows a pixel.
  isOnCanvas(placement) {
    if (!placement.shown || !isMoved(placement)) return true;
    let any = false;
    for (const part of this.object(placement))
      forEachPixel(part, this.all, this.w, (_, p) => {
        any ||= part.rgba[4 * p + 3] > 0;
      });
    return any;
  }

  // Return the topmost placement with more than this alpha (of 255) at a shown pixel, or null.
  topmost(placements, [x, y], above = 32) {
    const covers = p =>
      p.shown &&
      this.object(p).some(o => {
        const [px, py] = [x - o.x, y - o.y];
        return px >= 0 && py >= 0 && px < o.w && py < o.h && o.rgba[4 * (py * o.w + px) + 3] > above;
      });
    return placements.find(covers) ?? null;
  }
}
