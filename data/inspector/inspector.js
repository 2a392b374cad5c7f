// The weight-map inspector: everything that is drawn is computed here, so it needs no kernel, and outlives one.
// What Python knows of it are the traits of the model; nbs/12_inspect.ipynb explains both sides.

// ---------------------------------------------------------------- numbers

const HALF = Float32Array.from({length: 65536}, (_, h) => { // float16 as float32
  const sign = h >> 15 ? -1 : 1, e = (h >> 10) & 31, f = h & 1023;
  return sign * (e === 0 ? f * 2 ** -24 : e === 31 ? (f ? NaN : Infinity) : (1 + f / 1024) * 2 ** (e - 15));
});

const bytes = view => view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : null;
const halves = view => new Uint16Array(bytes(view).slice().buffer); // copied, as it may lie at an odd address
const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

// One sequence, the front one first: `front_to_back` of nbs/04c_ranking.ipynb for the slots in `members`.
function sequenceOf(members, order) {
  const waiting = [...members], out = [];
  while (waiting.length) {
    let best = 0, least = Infinity;
    waiting.forEach((j, at) => {
      let against = 0;
      for (const i of waiting) if (order[i][j] > 0) against += order[i][j];
      if (against < least) { least = against; best = at; }
    });
    out.push(waiting.splice(best, 1)[0]);
  }
  return out;
}

// Log-odds [N][N] that the row is in front of the column: pairs that overlap, then what a person says; for the others
// the stack, faintly. `order_of` of nbs/12_inspect.ipynb.
const FAINT = 1e-3, CORRECTED = 1e3, CLEAR = 1e-6;
const CLEARLY = .2; // log-odds, 55 %, of a pair that counts in a cycle: a guess contradicts nobody
function orderOf(n, pairs, stack, corrections) {
  const order = Array.from({length: n}, () => new Float32Array(n));
  const say = (i, j, value) => { order[i][j] = value; order[j][i] = -value; };
  stack.forEach((i, at) => stack.slice(at + 1).forEach(j => say(i - 1, j - 1, FAINT)));
  for (const {a, b, p_a_front: p} of pairs) if (p !== .5) {
    const q = clamp(p, CLEAR, 1 - CLEAR);
    say(a - 1, b - 1, Math.log(q / (1 - q)));
  }
  for (const [front, back] of corrections) say(front - 1, back - 1, CORRECTED);
  return order;
}

// Groups of slots that are in front of one another in a ring (Tarjan would be quicker; N is small).
function cyclesOf(n, front) {
  const reach = Array.from({length: n}, (_, i) => Uint8Array.from({length: n}, (_, j) => front(i, j)));
  for (let k = 0; k < n; k++) for (let i = 0; i < n; i++) if (reach[i][k]) for (let j = 0; j < n; j++) reach[i][j] |= reach[k][j];
  const groups = [], seen = new Set();
  for (let i = 0; i < n; i++) if (reach[i][i] && !seen.has(i)) {
    const group = [];
    for (let j = 0; j < n; j++) if (reach[i][j] && reach[j][i]) { group.push(j); seen.add(j); }
    groups.push(group);
  }
  return groups;
}

// ---------------------------------------------------------------- a fusion

class Fusion {
  constructor(meta, data) {
    Object.assign(this, {meta, n: meta.n, slots: meta.slots.length, w: meta.shown[0], h: meta.shown[1], version: 0, cache: new Map()});
    const {w, h} = this;
    this.mask = bytes(data.mask);
    for (const k of ['target', 'background', 'given']) this[k] = bytes(data[k]);
    this.partial = this.given.slice(); // outside the mask they are the same
    for (let q = 0; q < this.mask.length; q++) if (this.mask[q]) this.partial.fill(0, 3 * q, 3 * q + 3);
    this.result = this.given.slice();
    this.layers = meta.boxes.map(([x, y, bw, bh], s) => ({x, y, w: bw, h: bh, half: halves(data.weights[s]), now: new Float32Array(bw * bh), rgba: bytes(data.completions[s]), original: bytes(data.originals[s])})); // the background's are in `background`, and RGB
    this.kind = new Uint32Array(w * h);                       // which set of completions covers a pixel, as a number into `sets`
    const set = new Float64Array(w * h), known = new Map([[0, 0]]);
    this.layers.slice(0, this.n).forEach((o, s) => this.each(o, (q, p) => { if (o.rgba[4 * p + 3]) set[q] += 2 ** s; }));
    this.sets = [[]];
    for (let q = 0, last = 0, id = 0; q < set.length; q++) {
      if (set[q] !== last) {
        last = set[q];
        if (!known.has(last)) { known.set(last, this.sets.length); this.sets.push(Array.from({length: this.n}, (_, i) => i).filter(i => Math.floor(last / 2 ** i) % 2)); }
        id = known.get(last);
      }
      this.kind[q] = id;
    }
    this.base = orderOf(this.n, meta.pairs, meta.order, []);
    this.order = this.base;
    this.decode();
  }

  each(layer, f) { // f(index in the picture, index in the layer)
    for (let y = 0, p = 0; y < layer.h; y++) for (let q = (layer.y + y) * this.w + layer.x, end = q + layer.w; q < end; q++, p++) f(q, p);
  }
  decode() { for (const o of this.layers) for (let p = 0; p < o.half.length; p++) o.now[p] = HALF[o.half[p]]; }
  at(layer, x, y) { // index in the layer, or -1
    const lx = x - layer.x, ly = y - layer.y;
    return lx < 0 || ly < 0 || lx >= layer.w || ly >= layer.h ? -1 : ly * layer.w + lx;
  }
  weight(s, x, y) { const p = this.at(this.layers[s], x, y); return p < 0 ? 0 : this.layers[s].now[p]; }
  alpha(s, x, y) { const o = this.layers[s], p = o.rgba ? this.at(o, x, y) : -1; return p < 0 ? 0 : o.rgba[4 * p + 3] / 255; }

  // Fuse again: `repainted` of nbs/12_inspect.ipynb. Only where the order says something else than before, or a corrected pair meets.
  correct(corrections, stack) {
    const {w, h, layers, n} = this;
    this.decode();
    this.result.set(this.given);
    this.order = orderOf(n, this.meta.pairs, stack, corrections);
    const held = corrections.map(([i, j]) => [i - 1, j - 1]);
    const plan = this.sets.map(members => {
      if (members.length < 2) return null;
      const before = sequenceOf(members, this.base), after = sequenceOf(members, this.order);
      return held.some(([i, j]) => members.includes(i) && members.includes(j)) || before.some((s, k) => s !== after[k]) ? after : null;
    });
    const behind = this.slots > n ? layers[n] : null;
    for (let y = 0, q = 0; y < h; y++) for (let x = 0; x < w; x++, q++) {
      const sequence = plan[this.kind[q]];
      if (!sequence) continue;
      for (const o of layers) { const p = this.at(o, x, y); if (p >= 0) o.now[p] = 0; }
      let through = 1;
      const drawn = [];
      for (const s of sequence) {
        const p = this.at(layers[s], x, y), weight = layers[s].rgba[4 * p + 3] / 255 * through;
        drawn.push([layers[s], p, weight]);
        through -= weight;
      }
      const scale = behind ? 1 : 1 - through >= .5 ? 1 / (1 - through) : 0; // without a background all or nothing, as in `as_slots`
      let r = 0, g = 0, b = 0;
      for (const [o, p, weight] of drawn) {
        const v = o.now[p] = weight * scale;
        r += v * o.rgba[4 * p]; g += v * o.rgba[4 * p + 1]; b += v * o.rgba[4 * p + 2];
      }
      if (behind) { behind.now[q] = through; r += through * this.background[3 * q]; g += through * this.background[3 * q + 1]; b += through * this.background[3 * q + 2]; }
      if (this.mask[q]) { this.result[3 * q] = r + .5; this.result[3 * q + 1] = g + .5; this.result[3 * q + 2] = b + .5; }
    }
    this.version++;
    for (const k of this.cache.keys()) if (!/^(target|partial|completion|original|background|outline)/.test(k)) this.cache.delete(k);
  }

  winners() { // slot with the largest weight, 255 where there is none
    return this.cached('winners', () => {
      const top = new Uint8Array(this.w * this.h).fill(255), best = new Float32Array(this.w * this.h);
      this.layers.forEach((o, s) => this.each(o, (q, p) => { if (o.now[p] > best[q]) { best[q] = o.now[p]; top[q] = s; } }));
      return top;
    });
  }
  entropy() { // bits
    return this.cached('bits', () => {
      const bits = new Float32Array(this.w * this.h);
      for (const o of this.layers) this.each(o, (q, p) => { const v = o.now[p]; if (v > 0 && v < 1) bits[q] -= v * Math.log2(v); });
      return bits;
    });
  }
  error() { // mean over the channels, 0..1
    return this.cached('difference', () => {
      const {result: r, target: t} = this;
      return Float32Array.from({length: this.w * this.h}, (_, q) => (Math.abs(r[3 * q] - t[3 * q]) + Math.abs(r[3 * q + 1] - t[3 * q + 1]) + Math.abs(r[3 * q + 2] - t[3 * q + 2])) / 765);
    });
  }
  doubt() { // chance that the front completion is not in front of one that it hides, 0..0.5
    return this.cached('chance', () => {
      const of = this.sets.map(members => {
        const [first, ...others] = sequenceOf(members, this.order);
        return Math.max(0, ...others.map(j => this.p(j, first)));
      });
      return Float32Array.from(this.kind, k => of[k]);
    });
  }
  p(i, j) { const o = this.order[i][j]; return Math.abs(o) <= FAINT ? .5 : 1 / (1 + Math.exp(-o)); }
  overlap(i, j) { return this.meta.pairs.find(o => o.a === Math.min(i, j) + 1 && o.b === Math.max(i, j) + 1); }

  cached(key, make) {
    if (!this.cache.has(key)) {
      if (this.cache.size > Math.max(12, 2 ** 26 / (this.w * this.h))) this.cache.delete(this.cache.keys().next().value);
      this.cache.set(key, make());
    }
    return this.cache.get(key);
  }
}

// ---------------------------------------------------------------- colours

const rgbOf = hex => [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));
// cividis (Nuñez, Anderton and Renslow 2018): even in lightness, and the same to people who see red and green alike
const STOPS = ['#00224e', '#123570', '#3b496c', '#575d6d', '#707173', '#8a8678', '#a59c74', '#c3b369', '#e1cc55', '#fee838'].map(rgbOf);
const MAP = Uint8Array.from({length: 768}, (_, at) => {
  const x = Math.floor(at / 3) / 255 * 9, k = Math.min(8, Math.floor(x)), c = at % 3;
  return Math.round(STOPS[k][c] + (x - k) * (STOPS[k + 1][c] - STOPS[k][c]));
});
const RANGE = {weight: [1, '1'], entropy: [2, '2 bits'], error: [.5, '0.5'], doubt: [.5, '0.5']};

function canvasOf(w, h, fill) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, {width: w, height: h});
  const context = canvas.getContext('2d'), image = context.createImageData(w, h);
  fill(image.data, new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
  return canvas;
}
const opaque = rgb => (data, words) => { for (let q = 0, p = 0; q < words.length; q++, p += 3) words[q] = 0xff000000 | rgb[p + 2] << 16 | rgb[p + 1] << 8 | rgb[p]; };

class Painter { // views and overlays of a fusion as canvases, made when they are first seen
  constructor(fusion) {
    this.fusion = fusion;
    this.colours = fusion.meta.colours.map(rgbOf);
    this.words = this.colours.map(([r, g, b]) => (0xff000000 | b << 16 | g << 8 | r) >>> 0);
  }
  values(kind, slot) { // [H*W] for a colour map
    const f = this.fusion;
    if (kind !== 'weight') return f[kind]();
    const out = new Float32Array(f.w * f.h), o = f.layers[slot];
    for (let y = 0; y < o.h; y++) out.set(o.now.subarray(y * o.w, (y + 1) * o.w), (o.y + y) * f.w + o.x);
    return out;
  }
  view(kind, slot) {
    const f = this.fusion, key = OF_SLOT.includes(kind) ? kind + slot : kind;
    return f.cached(key, () => canvasOf(f.w, f.h, (data, words) => {
      if (f[kind] instanceof Uint8Array) return opaque(f[kind])(data, words);
      if (kind === 'completion' || kind === 'original') {
        const o = f.layers[slot], before = kind === 'original' && o.original, rgba = before || o.rgba;
        if (!o.rgba) return opaque(before || f.background)(data, words);
        return f.each(o, (q, p) => data.set(rgba.subarray(4 * p, 4 * p + 4), 4 * q));
      }
      if (kind === 'top') {
        const top = f.winners();
        for (let q = 0; q < words.length; q++) words[q] = top[q] === 255 ? 0 : this.words[top[q]];
        return;
      }
      const values = this.values(kind, slot), scale = 255 / RANGE[kind][0];
      const map = Uint32Array.from({length: 256}, (_, k) => 0xff000000 | MAP[3 * k + 2] << 16 | MAP[3 * k + 1] << 8 | MAP[3 * k]);
      for (let q = 0; q < words.length; q++) words[q] = map[Math.min(255, values[q] * scale + .5 | 0)];
    }));
  }
  overlay(kind, slot) {
    const f = this.fusion;
    if (kind === 'top') return this.view('top');
    return f.cached(`over ${kind}${kind === 'weight' ? slot : ''}`, () => canvasOf(f.w, f.h, (data, words) => {
      const values = this.values(kind, slot), scale = 255 / RANGE[kind][0];
      const colour = (kind === 'weight' ? this.words[slot] : 0x00009fe6) & 0xffffff; // orange: what is not a slot
      for (let q = 0; q < words.length; q++) { const v = values[q] * scale; if (v > .5) words[q] = (Math.min(255, v + .5 | 0) << 24 | colour) >>> 0; }
    }));
  }
  outline() { // of the mask
    const f = this.fusion, {w, h, mask} = f;
    return f.cached('outline', () => canvasOf(w, h, (data, words) => {
      for (let y = 0, q = 0; y < h; y++) for (let x = 0; x < w; x++, q++)
        if (mask[q] && (x === 0 || y === 0 || x === w - 1 || y === h - 1 || !mask[q - 1] || !mask[q + 1] || !mask[q - w] || !mask[q + w])) words[q] = (x + y) % 8 < 4 ? 0xffffffff : 0xff000000;
    }));
  }
  labels() { // where to write the numbers on the map of winners: the place of each that is farthest from its rim, roughly
    const f = this.fusion;
    return f.cached('labels', () => {
      const top = f.winners(), step = Math.max(1, Math.round(Math.max(f.w, f.h) / 96)), gw = Math.ceil(f.w / step), gh = Math.ceil(f.h / step);
      const depth = new Int16Array(gw * gh), best = Array.from({length: f.n}, () => [2, 0, 0]);
      const slot = (x, y) => top[Math.min(f.h - 1, y * step) * f.w + Math.min(f.w - 1, x * step)];
      const pass = (ys, xs, dx) => { for (const y of ys) for (const x of xs) {
        const at = y * gw + x, same = (i, j) => i >= 0 && j >= 0 && i < gw && j < gh && slot(i, j) === slot(x, y) ? depth[j * gw + i] : 0;
        depth[at] = Math.min(depth[at] || 999, 1 + same(x - dx, y), 1 + same(x, y - dx));
      } };
      const xs = [...Array(gw).keys()], ys = [...Array(gh).keys()];
      pass(ys, xs, 1); pass([...ys].reverse(), [...xs].reverse(), -1);
      depth.forEach((d, at) => { const s = slot(at % gw, Math.floor(at / gw)); if (s < f.n && d > best[s][0]) best[s] = [d, (at % gw + .5) * step, (Math.floor(at / gw) + .5) * step]; });
      return best.map(([d, x, y]) => d > 2 ? [x, y] : null);
    });
  }
  cut(slot) { // a completion alone, cut to its box
    const f = this.fusion, o = f.layers[slot];
    if (!o.rgba) return this.view('completion', slot);
    return f.cached(`completion cut ${slot}`, () => canvasOf(o.w, o.h, data => data.set(o.rgba)));
  }
  thumbnail(slot, side) {
    const o = this.fusion.layers[slot], canvas = document.createElement('canvas'), ratio = globalThis.devicePixelRatio || 1;
    canvas.width = canvas.height = Math.round(side * ratio);
    canvas.setAttribute('aria-hidden', 'true');
    if (!o.w || !o.h) return canvas;
    const cut = this.cut(slot), scale = Math.min(canvas.width / cut.width, canvas.height / cut.height), context = canvas.getContext('2d'), [w, h] = [cut.width * scale, cut.height * scale];
    context.imageSmoothingQuality = 'high';
    context.drawImage(cut, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
    return canvas;
  }
}

// ---------------------------------------------------------------- elements

function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k === 'on') for (const [event, f] of Object.entries(v)) e.addEventListener(event, f);
    else if (k === 'css') for (const [name, value] of Object.entries(v)) e.style.setProperty(name, value);
    else if (k in e && !k.startsWith('aria')) e[k] = v;
    else if (v !== null && v !== undefined) e.setAttribute(k, v);
  }
  e.append(...children.filter(o => o !== null && o !== undefined));
  return e;
}
const percent = p => p > .9995 && p < 1 ? '>99.9%' : p < .0005 && p > 0 ? '<0.1%' : `${(100 * p).toFixed(p > .995 || p < .005 ? 1 : 0)}%`;
const number = v => v === 0 || v === 1 ? String(v) : v.toFixed(4);

const VIEWS = [['result', 'Result'], ['target', 'Target'], ['partial', 'Partial'], ['completion', 'Completion'], ['weight', 'Weight'], ['top', 'Top object'],
               ['entropy', 'Entropy'], ['error', 'Error'], ['doubt', 'Doubt'], ['original', 'As given']];
const KEYS = '123456789g', OF_SLOT = ['completion', 'original', 'weight'];
const ABOUT = {result: 'What came out: fused inside the mask, untouched outside', target: 'The true picture', partial: 'What was given, the mask black',
  completion: 'The chosen completion alone, harmonised if that was done', original: 'The chosen completion as it was given', weight: 'How much the chosen slot gives to each pixel', top: 'Who gives most to each pixel',
  entropy: 'How evenly the weights are shared, in bits', error: 'Distance of result and target, mean of the channels',
  doubt: 'Chance that the completion in front is not in front of one that it hides'};
const OVERLAYS = ['top', 'weight', 'entropy', 'error', 'doubt'];
const SHARED = ['view', 'slot', 'overlay', 'overlay_on', 'opacity', 'against', 'mode', 'wipe']; // by linked inspectors, beside place and pointer
const groups = globalThis.amodalInspectors ??= new Map();

class Inspector {
  constructor(model, root) {
    Object.assign(this, {model, root});
    this.fusion = new Fusion(model.get('_meta'), model.get('_data'));
    this.painter = new Painter(this.fusion);
    this.meta = this.fusion.meta;
    this.pointer = null;
    this.build();
    this.listen();
    this.recompute();
    this.join();
  }

  get(k) { return this.model.get(k); }
  set(values, save = true) { // traits; without a kernel they still change here
    for (const [k, v] of Object.entries(values)) this.model.set(k, v);
    if (save) try { this.model.save_changes(); } catch { /* told by `expect` where it matters */ }
    const shared = Object.fromEntries(Object.entries(values).filter(([k]) => SHARED.includes(k)));
    if (Object.keys(shared).length) this.tell(o => { for (const [k, v] of Object.entries(shared)) o.model.set(k, v); });
  }
  tell(f) { for (const o of groups.get(this.get('group')) ?? []) if (o !== this) f(o); }
  join() {
    const group = this.get('group');
    if (group) groups.set(group, [...groups.get(group) ?? [], this]);
  }
  destroy() {
    const group = this.get('group');
    if (group) groups.set(group, (groups.get(group) ?? []).filter(o => o !== this));
    this.sized.disconnect();
    this.model.off('msg:custom', this.onMessage);
    for (const [k, f] of this.bound) this.model.off(k, f);
    clearTimeout(this.waiting);
  }

  // ------------------------------------------------ building

  build() {
    const {meta, root} = this, id = `ai${Math.random().toString(36).slice(2, 8)}`;
    this.id = id;
    root.classList.add('amodal-inspector');
    root.setAttribute('data-lm-suppress-shortcuts', 'true'); // keys typed here are not JupyterLab's
    const has = k => k === 'error' ? !!this.fusion.target : k === 'target' ? !!this.fusion.target : true;
    this.has = has;
    this.views = VIEWS.map(([k, name], at) => el('button', {type: 'button', className: 'ai-view', title: `${ABOUT[k]} (key ${KEYS[at].toUpperCase()})`, disabled: !has(k), 'aria-pressed': 'false', 'data-view': k,
      on: {click: () => this.set({view: k})}}, el('kbd', {'aria-hidden': 'true'}, KEYS[at].toUpperCase()), name));
    const pick = (label, key, options) => {
      const select = el('select', {id: `${id}${key}`, 'data-key': key, on: {change: () => this.set({[key]: select.value})}}, ...options.map(([v, name]) => el('option', {value: v, disabled: v !== '' && !has(v)}, name)));
      return [el('label', {htmlFor: select.id}, label), select];
    };
    const name = k => VIEWS.find(o => o[0] === k)[1];
    const [overLabel, over] = pick('Overlay', 'overlay', OVERLAYS.map(k => [k, name(k)]));
    const [againstLabel, against] = pick('Compare with', 'against', [['', 'nothing'], ...VIEWS]);
    const [modeLabel, mode] = pick('by', 'mode', [['wipe', 'wipe'], ['checker', 'checkerboard']]);
    this.shown = el('input', {type: 'checkbox', id: `${id}on`, 'data-key': 'overlay_on', on: {change: () => this.set({overlay_on: this.shown.checked})}});
    this.opacity = el('input', {type: 'range', id: `${id}op`, min: 0, max: 1, step: .01, 'data-key': 'opacity', on: {input: () => this.set({opacity: +this.opacity.value}, false), change: () => this.set({opacity: +this.opacity.value})}});
    this.opacityText = el('output', {htmlFor: `${id}op`, className: 'ai-number'});
    this.wiped = el('input', {type: 'range', id: `${id}wi`, min: 0, max: 1, step: .005, 'aria-label': 'Place of the wipe', on: {input: () => this.set({wipe: +this.wiped.value}, false)}});
    this.slotPick = el('select', {id: `${id}slot`, 'data-key': 'slot', on: {change: () => this.set({slot: +this.slotPick.value})}}, ...meta.slots.map((s, at) => el('option', {value: at + 1}, this.slotName(at))));
    Object.assign(this, {over, against, mode, againstExtra: el('span', {className: 'ai-field'}, modeLabel, mode, this.wiped)});
    const tool = (text, title, f, extra = {}) => el('button', {type: 'button', className: 'ai-tool', title, 'aria-label': title, on: {click: f}, ...extra}, text);
    this.undoButton = tool('Undo', 'Undo the last correction (Ctrl+Z)', () => this.undo());
    this.saveButton = tool('Save', `Write the corrections to ${meta.id}_scene.json`, () => this.save(), {className: 'ai-tool ai-primary'});
    this.dropButton = tool('Download', `Download ${meta.id}_scene.json with the corrections`, () => this.download());
    this.zoomText = el('output', {className: 'ai-number', 'aria-label': 'Zoom'});
    this.canvas = el('canvas', {className: 'ai-canvas', tabIndex: 0, role: 'img', 'aria-describedby': `${id}keys`});
    this.notice = el('div', {className: 'ai-notice', role: 'status', 'aria-live': 'polite', hidden: true});
    this.legend = el('div', {className: 'ai-legend', role: 'list', 'aria-label': 'Colours'});
    this.place = el('div', {className: 'ai-place', 'aria-live': 'off'});
    this.why = el('div', {className: 'ai-why'});
    this.rows = meta.slots.map((s, at) => {
      const bar = el('span', {className: 'ai-fill', css: {background: meta.colours[at]}}), value = el('span', {className: 'ai-number'}, '–');
      const row = el('button', {type: 'button', className: 'ai-row', title: `Choose ${this.slotName(at)}`, on: {click: () => this.set({slot: at + 1})}},
        this.badge(at), el('span', {className: 'ai-thumb ai-small'}, at < meta.n || this.fusion.background ? this.painter.thumbnail(at, 22) : ''), el('span', {className: 'ai-bar'}, bar), value);
      return {row, bar, value};
    });
    this.stack = el('ol', {className: 'ai-stack', 'aria-label': 'Completions, front to back'});
    this.pairs = el('div', {className: 'ai-pairs'});
    this.pairsTitle = el('summary', {}, 'Pairs');
    const keys = 'Keys: 1–9, G view · ←→ slot · space overlay · Shift+arrows move the pixel, Enter pins it · + − 0 zoom · Alt+↑↓ on a card moves it · Ctrl+Z undo';
    root.replaceChildren(
      el('header', {className: 'ai-head'},
        el('div', {className: 'ai-title'}, el('strong', {}, meta.title), el('span', {className: 'ai-dim'}, `${meta.full[0]} × ${meta.full[1]} px · ${meta.n} completion${meta.n > 1 ? 's' : ''} · ${meta.masked} masked`)),
        el('div', {className: 'ai-actions'}, this.count = el('span', {className: 'ai-dim'}), this.undoButton, this.dropButton, this.saveButton)),
      el('div', {className: 'ai-views', role: 'group', 'aria-label': 'View'}, ...this.views),
      el('div', {className: 'ai-fields'},
        el('span', {className: 'ai-field'}, el('label', {htmlFor: this.slotPick.id}, 'Slot'), this.slotPick),
        el('span', {className: 'ai-field'}, this.shown, overLabel, over, this.opacity, this.opacityText),
        el('span', {className: 'ai-field'}, againstLabel, against), this.againstExtra),
      this.notice,
      el('div', {className: 'ai-body'},
        el('div', {className: 'ai-main'},
          el('div', {className: 'ai-stage'}, this.canvas,
            el('div', {className: 'ai-zoom', role: 'group', 'aria-label': 'Zoom'}, tool('−', 'Zoom out (−)', () => this.zoom(1 / 1.5)), this.zoomText, tool('+', 'Zoom in (+)', () => this.zoom(1.5)), tool('Fit', 'Fit the picture (0)', () => this.fit()))),
          this.legend, el('div', {className: 'ai-keys ai-dim', id: `${id}keys`}, keys)),
        el('aside', {className: 'ai-side'},
          el('section', {'aria-label': 'Pixel'}, el('h3', {}, 'Pixel', this.place), el('div', {className: 'ai-rows'}, ...this.rows.map(o => o.row)), this.why),
          el('section', {'aria-label': 'Order'}, el('h3', {}, 'Order', el('span', {className: 'ai-dim'}, 'front to back; drag to correct')), this.stack),
          el('details', {className: 'ai-details', open: meta.pairs.length <= 6}, this.pairsTitle, this.pairs))));
    this.opacity.setAttribute('aria-label', 'Opacity of the overlay');
    this.shown.setAttribute('aria-label', 'Overlay on');
    if (meta.note) this.say(meta.note);
  }
  done(s) { // what harmonising did, from the record that `amodal fuse` writes
    const {changed, shift_px: [dy, dx], affine: [[yy, yx], [xy, xx]], gain, bias, rim_px: rim, evidence_px: seen} = this.meta.done[s] ?? {shift_px: [], affine: [[], []]}, name = this.slotName(s), px = v => `${Math.abs(v).toFixed(1)} px`;
    if (!this.meta.done.length) return `${name}: not harmonised`;
    if (!changed) return `${name}: as it was given (${seen} px of it are seen)`;
    const turn = Math.atan2(xy - yx, yy + xx)*180/Math.PI, wide = Math.hypot(yx, xx), high = Math.hypot(yy, xy)
    const bent = yy !== 1 || yx || xy || xx !== 1
    const parts = [bent && `turned ${Math.abs(turn).toFixed(1)}° ${turn > 0 ? 'counter-clockwise' : 'clockwise'}, stretched × ${wide.toFixed(2)} across and × ${high.toFixed(2)} down`, Math.abs(dy) >= .05 && `${px(dy)} ${dy > 0 ? 'down' : 'up'}`, Math.abs(dx) >= .05 && `${px(dx)} ${dx > 0 ? 'right' : 'left'}`, `light × ${gain.map(v => v.toFixed(2)).join(', ')} + ${bias.map(v => v.toFixed(2)).join(', ')}`, rim && `outline ${px(rim)} ${rim > 0 ? 'narrower' : 'wider'}`];
    return `${name}, harmonised by ${seen} px that are seen: ${parts.filter(Boolean).join(' · ')}`;
  }
  slotName(s) { return s < this.meta.n ? `Completion ${s + 1}` : 'Background'; }
  badge(s) {
    return el('span', {className: 'ai-badge', css: {background: this.meta.colours[s], color: this.meta.inks[s]}, 'aria-label': this.slotName(s)}, s < this.meta.n ? String(s + 1) : 'B');
  }
  say(text, ...actions) { this.notice.replaceChildren(el('span', {}, text), ...actions, el('button', {type: 'button', className: 'ai-close', 'aria-label': 'Close this notice', on: {click: () => { this.notice.hidden = true; }}}, '×')); this.notice.hidden = false; }

  // ------------------------------------------------ events

  listen() {
    const {canvas, root} = this;
    this.bound = [];
    const on = (k, f) => { this.model.on(k, f); this.bound.push([k, f]); };
    for (const k of SHARED) on(`change:${k}`, () => this.refresh());
    for (const k of ['corrections', 'stack']) on(`change:${k}`, () => this.recompute());
    on('change:pin', () => { this.read(); this.draw(); });
    on('comm_live_update', () => this.orphaned());
    this.onMessage = message => this.receive(message);
    this.model.on('msg:custom', this.onMessage);
    this.sized = new ResizeObserver(() => this.resize());
    this.sized.observe(canvas.parentElement);
    root.addEventListener('keydown', e => this.key(e));
    canvas.addEventListener('pointermove', e => this.move(e));
    canvas.addEventListener('pointerleave', () => this.point(null));
    canvas.addEventListener('pointerdown', e => this.press(e));
    canvas.addEventListener('dblclick', e => this.zoom(2, [e.offsetX, e.offsetY]));
    canvas.addEventListener('wheel', e => {
      if (!e.ctrlKey && !e.metaKey) return; // a plain wheel scrolls the notebook
      e.preventDefault();
      this.zoom(Math.exp(-clamp(e.deltaY, -50, 50) / 120), [e.offsetX, e.offsetY]);
    }, {passive: false});
  }
  key(e) {
    const field = /^(INPUT|SELECT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== 'checkbox';
    const view = e.key.length === 1 && VIEWS[KEYS.indexOf(e.key.toLowerCase())]?.[0];
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[e.key];
    const card = e.target.closest?.('.ai-card');
    const does = (() => {
      if ((e.ctrlKey || e.metaKey) && e.key === 'z') return () => this.undo();
      if (field || e.ctrlKey || e.metaKey) return null;
      if (card && e.altKey && step?.[1]) return () => this.shift(+card.dataset.slot, step[1]);
      if (e.altKey) return null;
      if (e.shiftKey && step) return () => this.stepPixel(step);
      if (step) return () => this.set({slot: (this.get('slot') - 1 + step[0] + step[1] + this.fusion.slots) % this.fusion.slots + 1});
      if (view && this.has(view)) return () => this.set({view});
      if (e.key === ' ' && e.target.type !== 'checkbox' && (e.target === this.canvas || e.target === this.root || !e.target.matches('button, summary'))) return () => this.set({overlay_on: !this.get('overlay_on')});
      if (e.key === 'Enter' && e.target === this.canvas) return () => this.pin(this.pointer ?? this.get('pin'));
      if (e.key === 'Escape') return () => this.set({pin: []});
      if (e.key === '+' || e.key === '=') return () => this.zoom(1.5);
      if (e.key === '-') return () => this.zoom(1 / 1.5);
      if (e.key === '0') return () => this.fit();
      return null;
    })();
    if (!e.ctrlKey && !e.metaKey) e.stopPropagation(); // JupyterLab's bindings for whatever has the focus match the canvas itself, which is below the attribute that suppresses them
    if (!does) return;
    e.preventDefault(); e.stopPropagation();
    does();
  }
  toPixel(e) {
    const {scale, x, y} = this.camera, px = Math.floor((e.offsetX - this.width / 2) / scale + x), py = Math.floor((e.offsetY - this.height / 2) / scale + y);
    return px < 0 || py < 0 || px >= this.meta.full[0] || py >= this.meta.full[1] ? null : [px, py];
  }
  move(e) {
    if (this.drag) return;
    this.canvas.style.cursor = this.onWipe(e) ? 'ew-resize' : 'crosshair';
    this.point(this.toPixel(e));
  }
  point(pixel, told = true) {
    this.pointer = pixel;
    this.read(); this.draw();
    if (told) this.tell(o => o.point(pixel, false));
  }
  onWipe(e) { return this.get('against') && this.get('mode') === 'wipe' && Math.abs(e.offsetX - this.get('wipe') * this.width) < 8; }
  press(e) {
    if (e.button) return;
    const wipes = this.onWipe(e), start = {...this.camera}, [sx, sy] = [e.clientX, e.clientY], box = this.canvas.getBoundingClientRect();
    this.canvas.setPointerCapture(e.pointerId);
    this.drag = true;
    let moved = false;
    const move = m => {
      const dx = m.clientX - sx, dy = m.clientY - sy;
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
  }
  pin(pixel) {
    const old = this.get('pin') ?? [], next = !pixel || (old[0] === pixel[0] && old[1] === pixel[1]) ? [] : pixel;
    this.set({pin: next});
    this.tell(o => o.set({pin: next}));
  }
  stepPixel([dx, dy]) {
    const [w, h] = this.meta.full, [x, y] = this.pointer ?? (this.get('pin')?.length ? this.get('pin') : [w >> 1, h >> 1]), k = this.meta.step;
    this.point([clamp(x + dx * k, 0, w - 1), clamp(y + dy * k, 0, h - 1)]);
  }

  // ------------------------------------------------ camera

  resize() {
    const [w, h] = this.meta.full, width = this.canvas.parentElement.clientWidth;
    if (!width) return;
    const height = Math.round(clamp(width * h / w, 160, Math.max(320, .72 * globalThis.innerHeight))), ratio = globalThis.devicePixelRatio || 1;
    const first = !this.camera, fitted = first || this.camera.scale === this.fitScale;
    if (width === this.width && height === this.height && ratio === this.ratio) return;
    Object.assign(this, {width, height, ratio, fitScale: Math.min(width / w, height / h)});
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * ratio); this.canvas.height = Math.round(height * ratio);
    if (fitted) this.fit(false); else this.draw();
  }
  fit(told = true) { this.look({scale: this.fitScale, x: this.meta.full[0] / 2, y: this.meta.full[1] / 2}, told); }
  look(camera, told = true) {
    const [w, h] = this.meta.full, scale = clamp(camera.scale, Math.min(this.fitScale, 1) / 2, 64);
    this.camera = {scale, x: clamp(camera.x, 0, w), y: clamp(camera.y, 0, h)};
    this.zoomText.textContent = `${Math.round(100 * scale)}%`;
    this.draw();
    if (told) this.tell(o => o.look({...this.camera, scale: this.camera.scale / this.fitScale * o.fitScale}, false));
  }
  zoom(factor, at = [this.width / 2, this.height / 2]) { // what is under `at` stays there
    const {scale, x, y} = this.camera, next = clamp(scale * factor, Math.min(this.fitScale, 1) / 2, 64), dx = at[0] - this.width / 2, dy = at[1] - this.height / 2;
    this.look({scale: next, x: x + dx / scale - dx / next, y: y + dy / scale - dy / next});
  }

  // ------------------------------------------------ drawing

  draw() {
    if (this.due || !this.camera) return;
    this.due = requestAnimationFrame(() => { this.due = 0; this.paint(); });
  }
  paint() {
    const c = this.canvas.getContext('2d'), {scale, x, y} = this.camera, {ratio, width, height, meta} = this, k = scale * meta.step;
    const slot = this.get('slot') - 1, view = this.get('view'), against = this.get('against');
    const place = () => c.setTransform(ratio * k, 0, 0, ratio * k, ratio * (width / 2 - x * scale), ratio * (height / 2 - y * scale));
    const screen = () => c.setTransform(ratio, 0, 0, ratio, 0, 0);
    const put = canvas => { place(); c.drawImage(canvas, 0, 0); };
    screen(); c.clearRect(0, 0, width, height);
    c.imageSmoothingEnabled = k < 1.5; c.imageSmoothingQuality = 'low';
    const clip = path => { c.save(); screen(); c.beginPath(); path(); c.clip(); };
    const transparent = k => k === 'completion' || k === 'original' || k === 'top';
    if (transparent(view) || transparent(against)) this.checkers(c, scale);
    put(this.painter.view(view, slot));
    const wipe = this.get('wipe') * width;
    if (against) {
      clip(() => {
        if (this.get('mode') === 'wipe') return c.rect(wipe, 0, width, height);
        for (let i = 0, n = 40; i * n < width; i++) for (let j = i % 2; j * n < height; j += 2) c.rect(i * n, j * n, n, n);
      });
      c.clearRect(0, 0, width, height);
      if (transparent(against)) this.checkers(c, scale);
      put(this.painter.view(against, slot));
      c.restore();
    }
    if (this.get('overlay_on')) {
      if (against && this.get('mode') === 'wipe') clip(() => c.rect(0, 0, width, height)); else c.save();
      c.globalAlpha = this.get('opacity');
      if (this.has(this.get('overlay'))) put(this.painter.overlay(this.get('overlay'), slot));
      c.restore();
      c.globalAlpha = .85; put(this.painter.outline()); c.globalAlpha = 1;
    }
    screen();
    if (view === 'top' || (this.get('overlay_on') && this.get('overlay') === 'top' && this.get('opacity') > .05)) this.writeNumbers(c, scale);
    if (against && this.get('mode') === 'wipe') this.drawWipe(c, wipe);
    const pin = this.get('pin');
    if (pin?.length) this.mark(c, pin, true);
    if (this.pointer) this.mark(c, this.pointer, false);
    this.painted = (this.painted ?? 0) + 1;
  }
  checkers(c, scale) { // behind what is transparent
    this.tile ??= canvasOf(16, 16, (data, words) => { for (let q = 0; q < 256; q++) words[q] = (q >> 3 & 1) ^ (q >> 7 & 1) ? 0xffdedbd9 : 0xffc0bcb9; });
    const [x, y] = this.onScreen([0, 0]), [w, h] = this.meta.full;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = c.createPattern(this.tile, 'repeat'); c.fillRect(x, y, w * scale, h * scale);
  }
  onScreen([x, y]) { const s = this.camera.scale; return [(x - this.camera.x) * s + this.width / 2, (y - this.camera.y) * s + this.height / 2]; }
  writeNumbers(c, scale) {
    c.font = '600 12px system-ui, sans-serif'; c.textAlign = 'center'; c.textBaseline = 'middle';
    this.painter.labels().forEach((at, s) => {
      if (!at) return;
      const [x, y] = this.onScreen(at.map(v => v * this.meta.step)), chosen = s === this.get('slot') - 1;
      c.beginPath(); c.arc(x, y, chosen ? 12 : 10, 0, 7); c.fillStyle = this.meta.colours[s]; c.fill();
      c.lineWidth = chosen ? 3 : 1.5; c.strokeStyle = '#fff'; c.stroke();
      c.fillStyle = this.meta.inks[s]; c.fillText(String(s + 1), x, y + .5);
    });
  }
  drawWipe(c, x) {
    c.fillStyle = 'rgba(0,0,0,.55)'; c.fillRect(x - 2.5, 0, 5, this.height);
    c.fillStyle = '#fff'; c.fillRect(x - 1, 0, 2, this.height);
    c.beginPath(); c.arc(x, this.height / 2, 13, 0, 7); c.fillStyle = '#fff'; c.fill(); c.lineWidth = 1.5; c.strokeStyle = 'rgba(0,0,0,.55)'; c.stroke();
    c.fillStyle = '#222'; c.font = '12px system-ui, sans-serif'; c.textAlign = 'center'; c.textBaseline = 'middle'; c.fillText('◂ ▸', x, this.height / 2);
    const name = k => VIEWS.find(o => o[0] === k)[1];
    for (const [text, at, align] of [[name(this.get('view')), x - 20, 'right'], [name(this.get('against')), x + 20, 'left']]) {
      c.textAlign = align; c.font = '600 12px system-ui, sans-serif';
      const w = c.measureText(text).width;
      c.fillStyle = 'rgba(0,0,0,.6)'; c.fillRect(align === 'left' ? at - 6 : at - w - 6, 8, w + 12, 20);
      c.fillStyle = '#fff'; c.fillText(text, at, 18.5);
    }
  }
  mark(c, [x, y], pinned) {
    const s = this.camera.scale, [px, py] = this.onScreen([x, y]), side = Math.max(s, 7), o = (s - side) / 2;
    for (const [colour, width] of [['#000', pinned ? 4 : 3], [pinned ? '#fee838' : '#fff', pinned ? 2 : 1.2]]) { c.strokeStyle = colour; c.lineWidth = width; c.strokeRect(px + o, py + o, side, side); }
  }

  // ------------------------------------------------ what is said

  refresh() { // controls as the traits say
    const view = this.get('view'), slot = this.get('slot'), on = this.get('overlay_on');
    for (const b of this.views) { const is = b.dataset.view === view; b.setAttribute('aria-pressed', is); b.classList.toggle('ai-is', is); }
    for (const k of ['over', 'against', 'mode']) { const e = this[k]; e.value = this.get(e.dataset.key); }
    this.slotPick.value = slot; this.shown.checked = on; this.opacity.value = this.get('opacity'); this.opacity.disabled = !on; this.wiped.value = this.get('wipe');
    this.opacityText.textContent = `${Math.round(100 * this.get('opacity'))}%`;
    this.againstExtra.hidden = !this.get('against');
    this.wiped.hidden = this.get('mode') !== 'wipe';
    this.rows.forEach(({row}, at) => { row.classList.toggle('ai-is', at === slot - 1); row.setAttribute('aria-pressed', at === slot - 1); });
    for (const card of this.stack.querySelectorAll('.ai-card')) { const is = +card.dataset.slot === slot; card.classList.toggle('ai-is', is); if (is) card.setAttribute('aria-current', 'true'); else card.removeAttribute('aria-current'); }
    if (this.listed !== slot && this.meta.pairs.length > 12) this.listPairs();
    this.canvas.setAttribute('aria-label', `${ABOUT[view]}${OF_SLOT.includes(view) ? `: ${this.slotName(slot - 1)}` : ''}${on ? `, with overlay ${this.get('overlay')}` : ''}`);
    this.drawLegend();
    this.draw();
  }
  drawLegend() {
    const kinds = [...new Set([this.get('view'), this.get('against'), this.get('overlay_on') ? this.get('overlay') : ''])], slot = this.get('slot') - 1, parts = [];
    const key = kinds.join() + slot;
    if (this.legendKey === key) return;
    this.legendKey = key;
    if (kinds.includes('top')) parts.push(...this.meta.slots.map((s, at) => el('span', {className: 'ai-key', role: 'listitem'}, this.badge(at), at < this.meta.n ? '' : 'background')));
    for (const k of kinds.filter(k => k in RANGE)) {
      const tint = k === this.get('overlay') && k !== this.get('view') && k !== this.get('against') ? `linear-gradient(90deg, transparent, ${k === 'weight' ? this.meta.colours[slot] : '#e69f00'})` : `linear-gradient(90deg, ${STOPS.map(c => `rgb(${c})`).join()})`;
      parts.push(el('span', {className: 'ai-key', role: 'listitem'}, k === 'weight' ? `weight of ${this.slotName(slot).toLowerCase()}` : k, ' 0', el('span', {className: 'ai-ramp', css: {background: tint}}), RANGE[k][1]));
    }
    if (kinds.includes('completion') || kinds.includes('original')) parts.push(el('span', {className: 'ai-dim', role: 'listitem'}, this.done(slot)));
    if (!parts.length) parts.push(el('span', {className: 'ai-dim', role: 'listitem'}, ABOUT[this.get('view')]));
    this.legend.replaceChildren(...parts);
  }
  read() { // the pixel under the pointer, else the pinned one
    const pin = this.get('pin'), pixel = this.pointer ?? (pin?.length ? pin : null), f = this.fusion, k = this.meta.step;
    if (!pixel) {
      this.place.textContent = 'point at the picture; click pins';
      for (const o of this.rows) { o.value.textContent = '–'; o.bar.style.transform = 'scaleX(0)'; o.row.classList.remove('ai-off'); }
      this.why.textContent = '';
      return;
    }
    const x = Math.min(f.w - 1, Math.floor(pixel[0] / k)), y = Math.min(f.h - 1, Math.floor(pixel[1] / k)), q = y * f.w + x;
    const exact = k === 1 ? null : this.exact?.key === this.exactKey(pixel) ? this.exact : null;
    if (k > 1 && !exact) this.probe(pixel);
    const weights = exact?.weights ?? this.rows.map((_, s) => f.weight(s, x, y)), alphas = exact?.alphas ?? this.rows.map((_, s) => f.alpha(s, x, y));
    this.place.textContent = `x ${pixel[0]}, y ${pixel[1]}${f.mask[q] ? '' : ' · outside the mask'}${k > 1 && !exact ? ' · about' : ''}${!this.pointer ? ' · pinned' : ''}`;
    this.rows.forEach((o, s) => {
      o.value.textContent = number(weights[s]);
      o.value.title = String(weights[s]);
      o.bar.style.transform = `scaleX(${clamp(weights[s], 0, 1)})`;
      o.row.classList.toggle('ai-off', !weights[s] && !alphas[s]);
    });
    this.why.replaceChildren(...this.reason(weights, alphas));
  }
  exactKey(pixel) { return `${pixel} ${this.fusion.version}`; }
  probe(pixel) { // a picture shown smaller than it is: the kernel knows the exact weights
    clearTimeout(this.probing);
    this.probing = setTimeout(() => { try { this.model.send({type: 'probe', pixel, key: this.exactKey(pixel)}); } catch { /* the line says "about" */ } }, 30);
  }
  reason(weights, alphas) { // which pair decided
    const there = [...Array(this.meta.n).keys()].filter(s => alphas[s] > .05), top = weights.reduce((best, v, s) => v > weights[best] ? s : best, 0);
    if (!weights[top]) return ['Nothing covers this pixel: it stays as it was.'];
    if (top >= this.meta.n) return ['No completion covers this pixel: the background shows.'];
    const others = there.filter(s => s !== top);
    if (!others.length) return [`Only completion ${top + 1} covers this pixel.`];
    const j = others.reduce((best, s) => this.fusion.p(top, s) < this.fusion.p(top, best) ? s : best, others[0]), pair = this.fusion.overlap(top, j);
    const said = this.corrected(top, j) ? 'your correction' : pair ? percent(this.fusion.p(top, j)) : 'not compared';
    return ['Decided by ', this.badge(top), ' in front of ', this.badge(j), ` · ${said}`];
  }
  corrected(i, j) { return this.get('corrections').some(([f, b]) => (f === i + 1 && b === j + 1) || (f === j + 1 && b === i + 1)); }

  // ------------------------------------------------ order

  recompute() {
    const corrections = this.get('corrections'), f = this.fusion;
    f.correct(corrections, this.get('stack'));
    this.sequence = sequenceOf([...Array(f.n).keys()], f.order);
    this.cycles = cyclesOf(f.n, (i, j) => f.order[i][j] > CLEARLY);
    this.exact = null;
    this.drawStack(); this.listPairs(); this.read();
    this.count.textContent = corrections.length ? `${corrections.length} correction${corrections.length > 1 ? 's' : ''}` : '';
    this.undoButton.disabled = !this.get('_history').length;
    this.dropButton.hidden = !corrections.length;
    this.saveButton.disabled = !corrections.length;
    this.refresh();
  }
  drawStack() {
    const f = this.fusion, items = [], focused = this.stack.contains(document.activeElement) ? document.activeElement.closest('.ai-card')?.dataset.slot : null;
    this.sequence.forEach((s, at) => {
      const ring = this.cycles.find(g => g.includes(s));
      const card = el('li', {className: 'ai-card', tabIndex: 0, 'data-slot': s + 1, on: {pointerdown: e => this.grab(e, s + 1), focus: () => this.set({slot: s + 1})},
        'aria-label': `${this.slotName(s)}, place ${at + 1} of ${f.n} from the front${ring ? ', in a cycle' : ''}; Alt+Up and Alt+Down move it`},
        el('span', {className: 'ai-grip', 'aria-hidden': 'true'}, '⠿'), this.badge(s), el('span', {className: 'ai-thumb'}, (this.thumbs ??= [])[s] ??= this.painter.thumbnail(s, 30)),
        el('span', {className: 'ai-name'}, `Completion ${s + 1}`, ring ? el('span', {className: 'ai-ring', title: `In a cycle: ${ring.map(k => k + 1).join(', ')} are each in front of another`}, '⟳ cycle') : null),
        el('span', {className: 'ai-moves'}, ...[['↑', -1, 'forward'], ['↓', 1, 'back']].map(([text, by, way]) =>
          el('button', {type: 'button', tabIndex: -1, 'aria-label': `Move completion ${s + 1} ${way}`, disabled: at + by < 0 || at + by >= f.n, on: {pointerdown: e => e.stopPropagation(), click: () => this.shift(s + 1, by)}}, text))));
      items.push(card);
      if (at + 1 < f.n) items.push(this.between(s, this.sequence[at + 1]));
    });
    this.stack.replaceChildren(...items);
    if (focused) this.stack.querySelector(`[data-slot="${focused}"]`)?.focus({preventScroll: true});
  }
  between(i, j) {
    const pair = this.fusion.overlap(i, j), p = this.fusion.p(i, j), mine = this.corrected(i, j);
    const text = !pair ? 'do not overlap' : mine ? 'your correction' : `${percent(p)} sure`;
    return el('li', {className: `ai-between${pair && p < .5 ? ' ai-against' : ''}${mine ? ' ai-mine' : ''}${pair ? '' : ' ai-apart'}`, 'aria-label': pair ? `${i + 1} in front of ${j + 1}: ${text}` : `${i + 1} and ${j + 1} do not overlap`,
      title: pair ? `${i + 1} in front of ${j + 1}: ${text}; ${pair.overlap_px} px overlap${p < .5 ? '. The pair alone says otherwise: a cycle is broken here' : ''}` : ''},
      el('span', {className: 'ai-sure'}, el('span', {css: {transform: `scaleX(${pair ? p : 0})`}})), text);
  }
  listPairs() {
    const all = this.meta.pairs, slot = this.get('slot'), few = all.length <= 12;
    this.listed = slot;
    const shown = few ? all : all.filter(o => o.a === slot || o.b === slot);
    this.pairsTitle.textContent = few || slot > this.meta.n ? `Pairs that overlap (${all.length})` : `Pairs of completion ${slot} (${shown.length} of ${all.length})`;
    this.pairs.replaceChildren(...shown.map(({a, b, p_a_front, overlap_px}) => {
      const mine = this.corrected(a - 1, b - 1), p = this.fusion.p(a - 1, b - 1);
      const choice = (f, k, q) => el('button', {type: 'button', className: q > .5 ? 'ai-is' : '', 'aria-pressed': q > .5, title: `${f} in front of ${k}; ${overlap_px} px overlap. The model says ${percent(f === a ? p_a_front : 1 - p_a_front)}`, 'data-pair': `${f} ${k}`,
        on: {click: () => this.say_front([[f, k]])}}, this.badge(f - 1), ' in front of ', this.badge(k - 1), el('span', {className: 'ai-number'}, q > .5 ? (mine ? '✓' : percent(q)) : ''));
      return el('div', {className: `ai-pair${mine ? ' ai-mine' : ''}`, role: 'group', 'aria-label': `Pair ${a} and ${b}`}, choice(a, b, p), choice(b, a, 1 - p));
    }));
    if (!shown.length) this.pairs.append(el('span', {className: 'ai-dim'}, 'No two completions overlap.'));
  }
  shift(slot, by) {
    const sequence = this.sequence.map(s => s + 1), at = sequence.indexOf(slot), to = clamp(at + by, 0, sequence.length - 1);
    sequence.splice(to, 0, sequence.splice(at, 1)[0]);
    this.restack(slot, sequence, at, to);
    this.stack.querySelector(`[data-slot="${slot}"]`)?.focus({preventScroll: true});
  }
  restack(slot, sequence, from, to) { // a card was moved: it is in front of, or behind, all that it passed
    if (from === to) return;
    const passed = from < to ? sequence.slice(from, to) : sequence.slice(to + 1, from + 1);
    const pairs = passed.filter(o => this.fusion.overlap(slot - 1, o - 1)).map(o => from < to ? [o, slot] : [slot, o]);
    if (!pairs.length) this.say(`Completion ${slot} does not overlap what it passed: the picture stays the same.`);
    this.say_front(pairs, sequence);
  }
  say_front(pairs, stack = this.get('stack')) { // pairs (front, back), kept until undone
    const old = this.get('corrections'), without = old.filter(([f, b]) => !pairs.some(([i, j]) => (f === i && b === j) || (f === j && b === i)));
    this.set({_history: [...this.get('_history'), {corrections: old, stack: this.get('stack')}], stack, corrections: [...without, ...pairs]});
    this.undoButton.disabled = false;
    this.expect('corrected');
  }
  undo() {
    const history = this.get('_history');
    if (!history.length) return;
    const {corrections, stack} = history[history.length - 1];
    this.set({_history: history.slice(0, -1), stack, corrections});
    this.expect('corrected');
  }
  grab(e, slot) {
    if (e.button) return;
    const card = e.currentTarget, cards = () => [...this.stack.querySelectorAll('.ai-card')], from = cards().indexOf(card), start = e.clientY;
    let to = from, moving = false;
    card.setPointerCapture(e.pointerId);
    const move = m => {
      const dy = m.clientY - start;
      if (!moving && Math.abs(dy) < 4) return;
      if (!moving) { moving = true; card.classList.add('ai-drag'); }
      card.style.transform = `translateY(${dy}px)`;
      const others = cards().filter(o => o !== card);
      to = others.filter(o => { const b = o.getBoundingClientRect(); return b.top + b.height / 2 < m.clientY; }).length;
      others.forEach((o, at) => { o.classList.toggle('ai-before', at === to && to !== from); o.classList.toggle('ai-after', to === others.length && at === to - 1 && to !== from); });
    };
    const up = m => {
      for (const [k, f] of [['pointermove', move], ['pointerup', up], ['pointercancel', up]]) card.removeEventListener(k, f);
      if (!moving) return;
      card.classList.remove('ai-drag'); card.style.transform = '';
      for (const o of cards()) o.classList.remove('ai-before', 'ai-after');
      const sequence = this.sequence.map(s => s + 1);
      if (m.type === 'pointercancel' || to === from) return;
      sequence.splice(to, 0, sequence.splice(from, 1)[0]);
      this.restack(slot, sequence, from, to);
    };
    for (const [k, f] of [['pointermove', move], ['pointerup', up], ['pointercancel', up]]) card.addEventListener(k, f);
  }

  // ------------------------------------------------ kernel

  expect(what) { // an answer; if none comes, say so, and offer what would be lost
    clearTimeout(this.waiting);
    try { this.model.send({type: what}); } catch { return this.orphaned(); }
    this.waiting = setTimeout(() => this.orphaned(), this.get('_patience'));
  }
  orphaned() {
    this.alone = true;
    const n = this.get('corrections').length;
    this.say(n ? `The kernel does not answer; it is gone, or busy. ${n === 1 ? 'The correction is' : `All ${n} corrections are`} kept in this page only: download ${n === 1 ? 'it' : 'them'} before you close it.` : 'The kernel does not answer; it is gone, or busy. Looking and correcting still work here; download corrections to keep them.',
      ...n ? [el('button', {type: 'button', className: 'ai-tool ai-primary', on: {click: () => this.download()}}, 'Download')] : []);
  }
  save() { this.expect('save'); }
  receive(message) {
    if (message.type === 'exact') { if (message.key === this.exactKey(message.pixel)) { this.exact = message; this.read(); } return; }
    clearTimeout(this.waiting);
    if (this.alone) this.notice.hidden = !(this.alone = false); // it was only busy
    if (message.type === 'saved') this.say(message.text, el('button', {type: 'button', className: 'ai-tool', on: {click: () => this.expect('unsave')}}, 'Undo saving'));
    if (message.type === 'unsaved') this.say(message.text);
    if (message.type === 'failed') this.say(message.text, el('button', {type: 'button', className: 'ai-tool ai-primary', on: {click: () => this.download()}}, 'Download instead'));
  }
  sceneJson() { // `with_corrections` of nbs/12_inspect.ipynb
    const corrections = this.get('corrections'), kept = this.meta.known.filter(([f, b]) => !corrections.some(([i, j]) => (f === i && b === j) || (f === j && b === i)));
    return {version: 1, pairs: [...kept, ...corrections].map(([front, back]) => ({front, back}))};
  }
  download() {
    const url = URL.createObjectURL(new Blob([JSON.stringify(this.sceneJson(), null, 1)], {type: 'application/json'}));
    const link = el('a', {href: url, download: `${this.meta.id}_scene.json`});
    document.body.append(link); link.click(); link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }
}

export default {
  render({model, el: root}) {
    const inspector = new Inspector(model, root);
    root.inspector = inspector; // for the tests, and the curious
    return () => inspector.destroy();
  },
};
