// The pixel under the pointer, and the legend.

import {VALUE_RANGE, CIVIDIS_STOPS} from './colours.js';
import {clamp, el, number, percent} from './elements.js';
import {ABOUT} from './views.js';

const note = text => el('span', {className: 'ai-dim', role: 'listitem'}, text);

const pixels = v => `${Math.abs(v).toFixed(1)} px`;

// Rotation and scale of an affine map of (y, x), as a list of one text or none.
function describeWarp([[yy, yx], [xy, xx]]) {
  if (yy === 1 && !yx && !xy && xx === 1) return [];
  const turn = (Math.atan2(xy - yx, yy + xx) * 180) / Math.PI;
  const direction = turn > 0 ? 'counter-clockwise' : 'clockwise';
  const across = Math.hypot(yx, xx).toFixed(2);
  const down = Math.hypot(yy, xy).toFixed(2);
  return [`turned ${Math.abs(turn).toFixed(1)}° ${direction}, stretched × ${across} across and × ${down} down`];
}

function describeShift([dy, dx]) {
  const parts = [];
  if (Math.abs(dy) >= 0.05) parts.push(`${pixels(dy)} ${dy > 0 ? 'down' : 'up'}`);
  if (Math.abs(dx) >= 0.05) parts.push(`${pixels(dx)} ${dx > 0 ? 'right' : 'left'}`);
  return parts;
}

function describeColours({gain, bias}) {
  const list = values => values.map(v => v.toFixed(2)).join(', ');
  return `light × ${list(gain)} + ${list(bias)}`;
}

// What became of masked pixels that nothing covers.
const FILL = {
  inpaint: 'it is inpainted from its surroundings, a guess',
  keep: 'it stays black',
  transparent: 'it is transparent in the file',
};

export const readout = {
  drawLegend() {
    const overlay = this.get('overlay_on') ? this.get('overlay') : '';
    const kinds = [...new Set([this.get('view'), this.get('against'), overlay])];
    const slot = this.get('slot') - 1;
    const key = kinds.join() + slot;
    if (this.legendKey === key) return;
    this.legendKey = key;
    const parts = kinds.includes('top') ? this.meta.slots.map((_, s) => this.slotKey(s)) : [];
    for (const kind of kinds) if (kind in VALUE_RANGE) parts.push(this.rampKey(kind, slot));
    if (kinds.includes('completion') || kinds.includes('original')) parts.push(note(this.describeHarmonising(slot)));
    if (!parts.length) parts.push(note(ABOUT[this.get('view')]));
    this.legend.replaceChildren(...parts);
  },

  slotKey(s) {
    const name = s < this.meta.n ? '' : 'background';
    return el('span', {className: 'ai-key', role: 'listitem'}, this.badge(s), name);
  },

  rampKey(kind, slot) {
    const isOverlay = kind === this.get('overlay') && kind !== this.get('view') && kind !== this.get('against');
    const full = kind === 'weight' ? this.meta.colours[slot] : '#e69f00';
    const map = CIVIDIS_STOPS.map(c => `rgb(${c})`).join();
    const background = `linear-gradient(90deg, ${isOverlay ? `transparent, ${full}` : map})`;
    return el(
      'span',
      {className: 'ai-key', role: 'listitem'},
      kind === 'weight' ? `weight of ${this.slotName(slot).toLowerCase()}` : kind,
      ' 0',
      el('span', {className: 'ai-ramp', css: {background}}),
      VALUE_RANGE[kind][1],
    );
  },

  // Show the weights of the pixel under the pointer, else of the pinned one.
  showPixel() {
    const pixel = this.pointer ?? this.pinned();
    if (!pixel) return this.clearPixel();
    const {weights, alphas, isMasked, isExact} = this.pixelWeights(pixel);
    if (!isExact) this.probe(pixel);
    const parts = [`x ${pixel[0]}, y ${pixel[1]}`];
    if (!isMasked) parts.push('outside the mask');
    if (!isExact) parts.push('about');
    if (!this.pointer) parts.push('pinned');
    this.place.textContent = parts.join(' · ');
    this.showWeights(weights, alphas);
    this.why.replaceChildren(...this.explain(weights, alphas, isMasked));
  },

  // Return the weights and alphas of a pixel: the kernel's, where the picture is shown smaller and it has sent them.
  pixelWeights(pixel) {
    const f = this.fusion;
    const k = this.meta.step;
    const x = Math.min(f.w - 1, Math.floor(pixel[0] / k));
    const y = Math.min(f.h - 1, Math.floor(pixel[1] / k));
    const isMasked = f.mask[y * f.w + x] > 0;
    if (k > 1 && this.exact?.key === this.exactKey(pixel)) return {...this.exact, isMasked, isExact: true};
    const weights = this.rows.map((_, s) => f.weight(s, x, y));
    const alphas = this.rows.map((_, s) => f.alpha(s, x, y));
    return {weights, alphas, isMasked, isExact: k === 1};
  },

  // Return the pinned pixel, or null.
  pinned() {
    const pin = this.get('pin');
    return pin?.length ? pin : null;
  },

  clearPixel() {
    this.place.textContent = 'point at the picture; click pins';
    for (const o of this.rows) {
      o.value.textContent = '–';
      o.bar.style.transform = 'scaleX(0)';
      o.row.classList.remove('ai-off');
    }
    this.why.textContent = '';
  },

  showWeights(weights, alphas) {
    this.rows.forEach((o, s) => {
      o.value.textContent = number(weights[s]);
      o.value.title = String(weights[s]);
      o.bar.style.transform = `scaleX(${clamp(weights[s], 0, 1)})`;
      o.row.classList.toggle('ai-off', !weights[s] && !alphas[s]);
    });
  },

  exactKey(pixel) {
    return `${pixel} ${this.fusion.version}`;
  },

  // Ask the kernel for the exact weights, as the picture is shown smaller than it is.
  probe(pixel) {
    clearTimeout(this.probing);
    this.probing = setTimeout(() => {
      try {
        this.model.send({type: 'probe', pixel, key: this.exactKey(pixel)});
      } catch {
        /* the line says "about" */
      }
    }, 30);
  },

  // Explain which pair decided.
  explain(weights, alphas, isMasked) {
    const covering = [...Array(this.meta.n).keys()].filter(s => alphas[s] > 0.05);
    const top = weights.reduce((best, v, s) => (v > weights[best] ? s : best), 0);
    if (!weights[top]) {
      const what = isMasked ? (FILL[this.meta.fill] ?? 'it is filled, a guess') : 'the picture shows it';
      return [`Nothing covers this pixel: ${what}.`];
    }
    if (top >= this.meta.n) return ['No completion covers this pixel: the background shows.'];
    const others = covering.filter(s => s !== top);
    if (!others.length) return ['Only ', this.badge(top), ' covers this pixel.'];
    const j = others.reduce(
      (best, s) => (this.fusion.probability(top, s) < this.fusion.probability(top, best) ? s : best),
      others[0],
    );
    const pair = this.fusion.overlap(top, j);
    const text = this.corrected(top, j)
      ? 'your correction'
      : pair
        ? percent(this.fusion.probability(top, j))
        : 'not compared';
    return ['Decided by ', this.badge(top), ' in front of ', this.badge(j), ` · ${text}`];
  },

  // Describe what harmonising did to a slot, from the record that `amodal fuse` writes.
  describeHarmonising(s) {
    const record = this.meta.done[s];
    const name = this.slotName(s);
    if (!this.meta.done.length) return `${name}: not harmonised`;
    if (!record?.changed) return `${name}: as it was given (${record?.evidence_px} px of it are seen)`;
    const parts = [...describeWarp(record.affine), ...describeShift(record.shift_px), describeColours(record)];
    const rim = record.rim_px;
    if (rim) parts.push(`outline ${pixels(rim)} ${rim > 0 ? 'narrower' : 'wider'}`);
    return `${name}, harmonised by ${record.evidence_px} px that are seen: ${parts.join(' · ')}`;
  },
};
