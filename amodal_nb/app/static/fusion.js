// The state of a fusion: pictures, weights and order, and what is computed from them.

import {bytes, FLOAT16, halves} from './float16.js';
import {compositeWeights, consistentPairs, correctedOrder, frontToBack} from './compositing.js';
import {CORRECTED_LOG_ODDS, STACK_LOG_ODDS} from './compositing.js';

// Views that a correction does not change.
const DATA_VIEWS = /^(target|partial|completion|original|background|outline)/;

// Return the mean absolute difference of two pictures over the channels, 0..1, of bytes.
const meanDifference = (a, b) => {
  const distance = new Float32Array(a.length / 3);
  for (let p = 0; p < a.length; p++) distance[Math.floor(p / 3)] += Math.abs(a[p] - b[p]) / 765;
  return distance;
};

export class Fusion {
  constructor(meta, data) {
    Object.assign(this, {
      meta,
      n: meta.n,
      slots: meta.slots.length,
      w: meta.shown[0],
      h: meta.shown[1],
      version: 0,
      cache: new Map(),
    });
    this.mask = bytes(data.mask);
    for (const k of ['target', 'background', 'given']) this[k] = bytes(data[k]);
    this.partial = this.given.slice(); // outside the mask they are the same
    for (let q = 0; q < this.mask.length; q++) if (this.mask[q]) this.partial.fill(0, 3 * q, 3 * q + 3);
    this.result = this.given.slice();
    this.layers = meta.boxes.map(([x, y, bw, bh], s) => ({
      x,
      y,
      w: bw,
      h: bh,
      half: halves(data.weights[s]),
      weights: new Float32Array(bw * bh),
      rgba: bytes(data.completions[s]),
      original: bytes(data.originals[s]),
    })); // the background's are in `background`, and RGB
    this.indexSets();
    this.overlaps = meta.pairs.filter(o => o.overlap_px); // the order of two that only touch changes no pixel
    this.hidden = new Set(); // of slots from 0 that are not composited
    this.holes = new Uint8Array(this.mask.length); // masked pixels that only hidden slots cover
    this.rival = null; // another fusion of the same size
    this.consistent = consistentPairs(meta.pairs, meta.order);
    this.baseOrder = correctedOrder(this.n, this.consistent, meta.order, []);
    this.decisive = this.baseOrder; // what sequences follow from; `order` is what pairs show
    this.order = correctedOrder(this.n, meta.pairs, meta.order, []);
    this.decode();
  }

  // Number the sets of completions that cover a pixel: `kind` of each pixel is an index of `sets`.
  indexSets() {
    const {w, h} = this;
    this.kind = new Uint32Array(w * h);
    const set = new Float64Array(w * h);
    const known = new Map([[0, 0]]);
    this.layers.slice(0, this.n).forEach((o, s) =>
      this.forEachPixel(o, (q, p) => {
        if (o.rgba[4 * p + 3]) set[q] += 2 ** s;
      }),
    );
    this.sets = [[]];
    for (let q = 0, last = 0, id = 0; q < set.length; q++) {
      if (set[q] !== last) {
        last = set[q];
        if (!known.has(last)) {
          known.set(last, this.sets.length);
          this.sets.push(Array.from({length: this.n}, (_, i) => i).filter(i => Math.floor(last / 2 ** i) % 2));
        }
        id = known.get(last);
      }
      this.kind[q] = id;
    }
  }

  // Call f(index in the picture, index in the layer) for each pixel of a layer.
  forEachPixel(layer, f) {
    for (let y = 0, p = 0; y < layer.h; y++)
      for (let q = (layer.y + y) * this.w + layer.x, end = q + layer.w; q < end; q++, p++) f(q, p);
  }

  decode() {
    for (const o of this.layers) for (let p = 0; p < o.half.length; p++) o.weights[p] = FLOAT16[o.half[p]];
  }

  // Return the index of a pixel in a layer, or -1.
  indexAt(layer, x, y) {
    const lx = x - layer.x;
    const ly = y - layer.y;
    return lx < 0 || ly < 0 || lx >= layer.w || ly >= layer.h ? -1 : ly * layer.w + lx;
  }

  weight(s, x, y) {
    const p = this.indexAt(this.layers[s], x, y);
    return p < 0 ? 0 : this.layers[s].weights[p];
  }

  alpha(s, x, y) {
    const o = this.layers[s];
    const p = o.rgba ? this.indexAt(o, x, y) : -1;
    return p < 0 || this.hidden.has(s) ? 0 : o.rgba[4 * p + 3] / 255;
  }

  // Composite again where the order of the completions changed, where both of a corrected pair are, or where a slot
  // is hidden; `hidden` are slots from 1.
  correct(corrections, stack, hidden = []) {
    this.decode();
    this.result.set(this.given);
    this.hidden = new Set(hidden.map(slot => slot - 1));
    this.holes.fill(0);
    this.order = correctedOrder(this.n, this.meta.pairs, stack, corrections);
    this.decisive = correctedOrder(this.n, this.consistent, stack, corrections);
    const corrected = corrections.map(([i, j]) => [i - 1, j - 1]);
    const sequences = this.sets.map(members => this.changedSequence(members, corrected));
    for (let y = 0, q = 0; y < this.h; y++) {
      for (let x = 0; x < this.w; x++, q++) {
        const sequence = sequences[this.kind[q]];
        if (sequence) this.compositePixel(x, y, q, sequence);
      }
    }
    this.version++;
    for (const k of this.cache.keys()) if (!DATA_VIEWS.test(k)) this.cache.delete(k);
  }

  // Return the new sequence of a set of completions, or null if its weights stay.
  changedSequence(members, corrected) {
    const shown = members.filter(s => !this.hidden.has(s));
    if (shown.length < members.length || this.hidden.has(this.n)) return frontToBack(shown, this.decisive);
    if (members.length < 2) return null;
    const before = frontToBack(members, this.baseOrder);
    const after = frontToBack(members, this.decisive);
    const isCorrected = corrected.some(([i, j]) => members.includes(i) && members.includes(j));
    return isCorrected || before.some((s, k) => s !== after[k]) ? after : null;
  }

  // Composite the pixel (x, y), number q, in a sequence that holds all shown completions there.
  compositePixel(x, y, q, sequence) {
    const {layers, background} = this;
    for (const o of layers) {
      const p = this.indexAt(o, x, y);
      if (p >= 0) o.weights[p] = 0;
    }
    const places = sequence.map(s => this.indexAt(layers[s], x, y));
    const weights = compositeWeights(sequence.map((s, k) => layers[s].rgba[4 * places[k] + 3] / 255));
    const through = weights.pop();
    const behind = this.slots > this.n && !this.hidden.has(this.n) ? layers[this.n] : null;
    // without a background all or nothing, as in `with_background_slot`
    const scale = behind ? 1 : 1 - through >= 0.5 ? 1 / (1 - through) : 0;
    let r = 0;
    let g = 0;
    let b = 0;
    sequence.forEach((s, k) => {
      const o = layers[s];
      const p = places[k];
      const v = weights[k] * scale;
      o.weights[p] = v;
      r += v * o.rgba[4 * p];
      g += v * o.rgba[4 * p + 1];
      b += v * o.rgba[4 * p + 2];
    });
    if (behind) {
      behind.weights[q] = through;
      r += through * background[3 * q];
      g += through * background[3 * q + 1];
      b += through * background[3 * q + 2];
    }
    if (this.mask[q]) this.paintPixel(q, r, g, b, !behind && !scale);
  }

  // Set the colour of a pixel. One that nothing covers enough keeps its filling; if slots are hidden, it is a hole.
  paintPixel(q, r, g, b, isUncovered) {
    this.holes[q] = isUncovered && this.hidden.size > 0;
    if (isUncovered && !this.hidden.size) return;
    this.result[3 * q] = r + 0.5;
    this.result[3 * q + 1] = g + 0.5;
    this.result[3 * q + 2] = b + 0.5;
  }

  // Return the slot with the largest weight at each pixel, 255 where no slot has any.
  topmost() {
    return this.cached('winners', () => {
      const top = new Uint8Array(this.w * this.h).fill(255);
      const best = new Float32Array(this.w * this.h);
      this.layers.forEach((o, s) =>
        this.forEachPixel(o, (q, p) => {
          if (o.weights[p] > best[q]) {
            best[q] = o.weights[p];
            top[q] = s;
          }
        }),
      );
      return top;
    });
  }

  // Return the entropy of the weights at each pixel, in bits.
  entropy() {
    return this.cached('bits', () => {
      const bits = new Float32Array(this.w * this.h);
      for (const o of this.layers)
        this.forEachPixel(o, (q, p) => {
          const v = o.weights[p];
          if (v > 0 && v < 1) bits[q] -= v * Math.log2(v);
        });
      return bits;
    });
  }

  // Return the mean absolute error over the channels, 0..1.
  error() {
    return this.cached('distance to target', () => meanDifference(this.result, this.target));
  }

  // Return the mean absolute difference of the result and that of the rival, 0..1.
  difference() {
    return this.cached('distance to rival', () => meanDifference(this.result, this.rival.result));
  }

  // Return the pairs [a, b] that another fusion orders the other way round, from 1.
  differingPairs(other) {
    const isFront = (f, {a, b}) => f.order[a - 1][b - 1] > 0;
    const common = this.overlaps.filter(({a, b}) => other.overlap(a - 1, b - 1));
    return common.filter(o => isFront(this, o) !== isFront(other, o)).map(({a, b}) => [a, b]);
  }

  // Return the share of the mask, 0..1, in which the results differ by more than `least`; null for other sizes.
  differingShare(other, least) {
    if (other.w !== this.w || other.h !== this.h) return null;
    const distance = meanDifference(this.result, other.result);
    let [masked, different] = [0, 0];
    this.mask.forEach((is, q) => {
      masked += is > 0;
      different += is && distance[q] > least;
    });
    return masked ? different / masked : 0;
  }

  forgetDifference() {
    this.cache.delete('difference');
    this.cache.delete('distance to rival');
  }

  // Return the probability that the front completion is not in front of one that it hides, 0..0.5
  doubt() {
    return this.cached('chance', () => {
      const of = this.sets.map(members => {
        const shown = members.filter(s => !this.hidden.has(s));
        const [first, ...others] = frontToBack(shown, this.decisive);
        return Math.max(0, ...others.map(j => this.probability(j, first)));
      });
      return Float32Array.from(this.kind, k => of[k]);
    });
  }

  probability(i, j) {
    const o = this.order[i][j];
    return Math.abs(o) <= STACK_LOG_ODDS ? 0.5 : 1 / (1 + Math.exp(-o));
  }

  // Whether the order of two completions is a guess that no person has corrected.
  isGuess(i, j) {
    return !!this.overlap(i, j)?.guess && Math.abs(this.order[i][j]) < CORRECTED_LOG_ODDS;
  }

  overlap(i, j) {
    return this.overlaps.find(o => o.a === Math.min(i, j) + 1 && o.b === Math.max(i, j) + 1);
  }

  cached(key, make) {
    if (!this.cache.has(key)) {
      if (this.cache.size > Math.max(12, 2 ** 26 / (this.w * this.h)))
        this.cache.delete(this.cache.keys().next().value);
      this.cache.set(key, make());
    }
    return this.cache.get(key);
  }
}
