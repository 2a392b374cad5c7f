// The pixel under the pointer, and the legend.

import {VALUE_RANGE, CIVIDIS_STOPS} from './colours.js';
import {clamp, el, number, percent} from './elements.js';

const note = text => el('span', {className: 'ai-dim', title: text}, text);

const MAP = CIVIDIS_STOPS.map(c => `rgb(${c})`).join();

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
  // The legend: a button for each slot, which chooses it, and what the colours of the view mean.
  buildLegend() {
    this.slotKeys = this.meta.slots.map((_, s) => this.slotKey(s));
    this.meanings = el('div', {className: 'ai-meanings'});
    const slots = el('div', {className: 'ai-slots', role: 'toolbar', 'aria-label': 'Slot'}, ...this.slotKeys);
    this.legend = el('div', {className: 'ai-legend'}, slots, this.meanings);
  },

  slotKey(s) {
    const choose = {click: () => this.set({slot: s + 1})};
    const title = `Choose ${s < this.meta.n ? s + 1 : 'B'}, ${this.slotName(s)}`;
    const properties = {type: 'button', className: 'ai-slot', title, 'aria-label': title, on: choose};
    return el('button', properties, this.badge(s));
  },

  refreshLegend() {
    const slot = this.get('slot') - 1;
    this.chooseOne(this.slotKeys, slot);
    const view = this.shownView();
    const views = [...new Set([view, this.shownAgainst()])];
    const overlay = this.showsOverlay() ? this.get('overlay') : '';
    const parts = views.filter(kind => kind in VALUE_RANGE).map(kind => this.rampKey(kind, slot, MAP));
    if (overlay in VALUE_RANGE) parts.push(this.rampKey(overlay, slot, this.overlayRamp(overlay, slot)));
    if (views.includes('completion') || views.includes('original')) parts.push(note(this.describeHarmonising(slot)));
    const isPlainMap = parts.length === 1 && view in VALUE_RANGE && view !== 'weight';
    if (!parts.length || isPlainMap) parts.push(note(this.about(view)));
    this.meanings.replaceChildren(...parts);
  },

  // The colours of an overlay, as opaque as it is drawn.
  overlayRamp(kind, slot) {
    const full = kind === 'weight' ? this.meta.colours[slot] : '#e69f00';
    return `transparent, color-mix(in srgb, ${full} ${100 * this.get('opacity')}%, transparent)`;
  },

  rampKey(kind, slot, colours) {
    const name = kind === 'weight' ? `weight of ${this.slotName(slot)}` : kind;
    const ramp = el('span', {className: 'ai-ramp', css: {background: `linear-gradient(90deg, ${colours})`}});
    return el('span', {className: 'ai-key'}, `${name} 0`, ramp, VALUE_RANGE[kind][1]);
  },

  // Show the weights of the pixel under the pointer, else of the pinned one.
  showPixel() {
    const pixel = this.pointer ?? this.pinned();
    if (!pixel) return this.clearPixel();
    const {weights, alphas, isMasked, isExact} = this.pixelWeights(pixel);
    if (!isExact && !this.fusion.hidden.size) this.probe(pixel); // the kernel hides nothing
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
      o.card.classList.remove('ai-off');
    }
    this.why.textContent = this.covering.textContent = '';
  },

  showWeights(weights, alphas) {
    this.rows.forEach((o, s) => {
      o.value.textContent = number(weights[s]);
      o.value.title = String(weights[s]);
      o.bar.style.transform = `scaleX(${clamp(weights[s], 0, 1)})`;
      o.card.classList.toggle('ai-off', !weights[s] && !alphas[s]);
    });
    if (!this.isNarrow) return; // else the cards are in sight
    const largest = [...weights.keys()].filter(s => weights[s]).sort((i, j) => weights[j] - weights[i]);
    this.covering.replaceChildren(...largest.slice(0, 3).flatMap(s => [this.badge(s), number(weights[s])]));
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
    return ['Decided by ', this.badge(top), ' in front of ', this.badge(j), ' · ', this.reason(top, j)];
  },

  // What the order of two completions rests on: a person, a guess, or evidence.
  reason(i, j) {
    if (this.corrected(i, j)) return 'your correction';
    if (!this.fusion.overlap(i, j)) return 'not compared';
    const p = this.fusion.probability(i, j);
    return this.fusion.isGuess(i, j) ? this.guess(p) : percent(p);
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
