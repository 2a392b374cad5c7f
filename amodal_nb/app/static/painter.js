// Views and overlays of a fusion as canvases.

import {CIVIDIS, VALUE_RANGE, hexToRgb} from './colours.js';
import {makeCanvas, thumbnailOf} from './elements.js';
import {OF_SLOT} from './views.js';

const opaque = rgb => (data, words) => {
  for (let q = 0, p = 0; q < words.length; q++, p += 3)
    words[q] = 0xff000000 | (rgb[p + 2] << 16) | (rgb[p + 1] << 8) | rgb[p];
};

// Makes each view or overlay when it is first shown; the fusion's cache keeps it.
export class Painter {
  constructor(fusion) {
    this.fusion = fusion;
    this.colours = fusion.meta.colours.map(hexToRgb);
    this.words = this.colours.map(([r, g, b]) => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0);
  }

  // [H*W] for a colour map
  values(kind, slot) {
    const f = this.fusion;
    if (kind !== 'weight') return f[kind]();
    const out = new Float32Array(f.w * f.h);
    const o = f.layers[slot];
    for (let y = 0; y < o.h; y++) out.set(o.weights.subarray(y * o.w, (y + 1) * o.w), (o.y + y) * f.w + o.x);
    return out;
  }

  view(kind, slot) {
    const f = this.fusion;
    const key = OF_SLOT.includes(kind) ? kind + slot : kind;
    return f.cached(key, () => makeCanvas(f.w, f.h, this.filling(kind, slot)));
  }

  // Return what fills a view's canvas, a function of its pixels as bytes and as words.
  filling(kind, slot) {
    const f = this.fusion;
    if (kind === 'result') return this.resultFilling();
    if (f[kind] instanceof Uint8Array) return opaque(f[kind]);
    if (kind === 'completion' || kind === 'original') return this.completionFilling(kind, slot);
    if (kind === 'top') return this.topFilling();
    const values = this.values(kind, slot);
    const scale = 255 / VALUE_RANGE[kind][0];
    const map = Uint32Array.from(
      {length: 256},
      (_, k) => 0xff000000 | (CIVIDIS[3 * k + 2] << 16) | (CIVIDIS[3 * k + 1] << 8) | CIVIDIS[3 * k],
    );
    return (data, words) => {
      for (let q = 0; q < words.length; q++) words[q] = map[Math.min(255, (values[q] * scale + 0.5) | 0)];
    };
  }

  // The result, transparent where only hidden layers are.
  resultFilling() {
    const {result, holes} = this.fusion;
    return (data, words) => {
      opaque(result)(data, words);
      holes.forEach((is, q) => {
        if (is) words[q] = 0;
      });
    };
  }

  completionFilling(kind, slot) {
    const f = this.fusion;
    const o = f.layers[slot];
    const before = kind === 'original' && o.original;
    const rgba = before || o.rgba;
    if (!o.rgba) return opaque(before || f.background);
    return data => f.forEachPixel(o, (q, p) => data.set(rgba.subarray(4 * p, 4 * p + 4), 4 * q));
  }

  topFilling() {
    const top = this.fusion.topmost();
    return (data, words) => {
      for (let q = 0; q < words.length; q++) words[q] = top[q] === 255 ? 0 : this.words[top[q]];
    };
  }

  overlay(kind, slot) {
    const f = this.fusion;
    if (kind === 'top') return this.view('top');
    return f.cached(`over ${kind}${kind === 'weight' ? slot : ''}`, () =>
      makeCanvas(f.w, f.h, (data, words) => {
        const values = this.values(kind, slot);
        const scale = 255 / VALUE_RANGE[kind][0];
        const colour = (kind === 'weight' ? this.words[slot] : 0x00009fe6) & 0xffffff; // orange: what is not a slot
        for (let q = 0; q < words.length; q++) {
          const v = values[q] * scale;
          if (v > 0.5) words[q] = ((Math.min(255, (v + 0.5) | 0) << 24) | colour) >>> 0;
        }
      }),
    );
  }

  // The mask's outline, dashed.
  outline() {
    const f = this.fusion;
    const {w, h, mask} = f;
    const inside = (x, y) => x >= 0 && y >= 0 && x < w && y < h && mask[y * w + x];
    const surrounded = (x, y) => inside(x - 1, y) && inside(x + 1, y) && inside(x, y - 1) && inside(x, y + 1);
    return f.cached('outline', () =>
      makeCanvas(w, h, (data, words) => {
        for (let y = 0, q = 0; y < h; y++) {
          for (let x = 0; x < w; x++, q++) {
            if (mask[q] && !surrounded(x, y)) words[q] = (x + y) % 8 < 4 ? 0xffffffff : 0xff000000;
          }
        }
      }),
    );
  }

  // Masked pixels that nothing covers, hatched.
  uncovered() {
    const f = this.fusion;
    return f.cached('uncovered', () => {
      const top = f.topmost();
      return makeCanvas(f.w, f.h, (data, words) => {
        for (let q = 0; q < words.length; q++) {
          const isHatch = ((q % f.w) + Math.floor(q / f.w)) % 8 < 2;
          if (f.mask[q] && top[q] === 255 && isHatch) words[q] = 0xff009fe6;
        }
      });
    });
  }

  // Return where to write the numbers on the map of topmost objects: about the point of each that is farthest from
  // its rim.
  labels() {
    const f = this.fusion;
    return f.cached('labels', () => {
      const top = f.topmost();
      const step = Math.max(1, Math.round(Math.max(f.w, f.h) / 96));
      const gw = Math.ceil(f.w / step);
      const gh = Math.ceil(f.h / step);
      const depth = new Int16Array(gw * gh);
      const best = Array.from({length: f.n}, () => [2, 0, 0]);
      const slot = (x, y) => top[Math.min(f.h - 1, y * step) * f.w + Math.min(f.w - 1, x * step)];
      const pass = (ys, xs, dx) => {
        for (const y of ys)
          for (const x of xs) {
            const index = y * gw + x;
            const same = (i, j) =>
              i >= 0 && j >= 0 && i < gw && j < gh && slot(i, j) === slot(x, y) ? depth[j * gw + i] : 0;
            depth[index] = Math.min(depth[index] || 999, 1 + same(x - dx, y), 1 + same(x, y - dx));
          }
      };
      const xs = [...Array(gw).keys()];
      const ys = [...Array(gh).keys()];
      pass(ys, xs, 1);
      pass([...ys].reverse(), [...xs].reverse(), -1);
      depth.forEach((d, index) => {
        const s = slot(index % gw, Math.floor(index / gw));
        if (s < f.n && d > best[s][0])
          best[s] = [d, ((index % gw) + 0.5) * step, (Math.floor(index / gw) + 0.5) * step];
      });
      return best.map(([d, x, y]) => (d > 2 ? [x, y] : null));
    });
  }

  // A completion alone, cropped to its box.
  cut(slot) {
    const f = this.fusion;
    const o = f.layers[slot];
    if (!o.rgba) return this.view('completion', slot);
    return f.cached(`completion cut ${slot}`, () => makeCanvas(o.w, o.h, data => data.set(o.rgba)));
  }

  thumbnail(slot, side) {
    const o = this.fusion.layers[slot];
    return thumbnailOf(o.w && o.h ? this.cut(slot) : null, side);
  }
}
