// The editor's elements, and what keeps them equal to the edits.

import {downloadText, el, makeCanvas, showNotice, suppressShortcuts, thumbnailOf, toolButton} from './elements.js';

const EDITOR_HELP = [
  'Drag an object, its corner ■ scales, ● turns it',
  'arrows move by 1 px, with Shift by 10',
  'Shift+wheel or + − scale, Alt+wheel or , . turn',
  '[ ] order',
  'D copy',
  'H hide',
  'Delete',
  'Ctrl+Z, Ctrl+Shift+Z',
  'Ctrl+wheel zoom, 0 fit',
].join(' · ');

const signed = v => `${v < 0 ? '−' : '+'}${+Math.abs(v).toFixed(1)}`;

// Return what was done to a placement, as text.
const describePlacement = p =>
  [
    p.dx || p.dy ? `${signed(p.dx)}, ${signed(p.dy)} px` : '',
    p.scale === 1 ? '' : `× ${p.scale.toFixed(2)}`,
    p.degrees ? `${signed(p.degrees)}°` : '',
    p.shown ? '' : 'hidden',
  ]
    .filter(Boolean)
    .join(' · ');

export const editorControls = {
  build() {
    const {root, layers} = this;
    this.id = `ae${Math.random().toString(36).slice(2, 8)}`;
    root.classList.add('amodal-inspector', 'amodal-editor');
    suppressShortcuts(root);
    this.image = new globalThis.ImageData(layers.pixels, layers.w, layers.h);
    this.picture = makeCanvas(layers.w, layers.h, data => data.set(layers.pixels));
    this.canvas = el('canvas', {
      className: 'ai-canvas',
      tabIndex: 0,
      role: 'application',
      'aria-describedby': `${this.id}keys`,
    });
    this.notice = el('div', {className: 'ai-notice', role: 'status', 'aria-live': 'polite', hidden: true});
    root.replaceChildren(
      this.buildHeader(),
      this.buildTools(),
      this.notice,
      el('div', {className: 'ai-body'}, this.buildMain(), this.buildSide()),
      el('div', {className: 'ai-keys ai-dim', id: `${this.id}keys`}, EDITOR_HELP),
    );
    if (this.meta.note) this.notify(this.meta.note);
  },

  notify(text, ...actions) {
    showNotice(this.notice, text, ...actions);
  },

  buildHeader() {
    const [w, h] = this.meta.full;
    const objects = `${this.meta.layers.length} object${this.meta.layers.length === 1 ? '' : 's'}`;
    this.count = el('span', {className: 'ai-dim', role: 'status'});
    this.undoButton = toolButton('Undo', 'Undo the last edit (Ctrl+Z)', () => this.undo());
    this.redoButton = toolButton('Redo', 'Redo the edit that was undone last (Ctrl+Shift+Z)', () => this.redo());
    const primary = {className: 'ai-tool ai-primary'};
    const copy = toolButton('Copy edits', 'Copy edits as JSON, for amodal edit', () => this.copy(), primary);
    return el(
      'div',
      {className: 'ai-head'},
      el(
        'div',
        {className: 'ai-title'},
        el('strong', {}, this.meta.id),
        el('span', {className: 'ai-dim'}, `${w} × ${h} px · ${objects}`),
      ),
      el('div', {className: 'ai-actions'}, this.count, this.undoButton, this.redoButton, copy),
    );
  },

  // Return a checkbox that is equal to a trait, with its label.
  traitBox(key, text, title) {
    const box = el('input', {type: 'checkbox', id: `${this.id}${key}`, 'data-key': key, title});
    box.addEventListener('change', () => this.set({[key]: box.checked}));
    this.boxes = [...(this.boxes ?? []), box];
    return el('span', {className: 'ai-field'}, box, el('label', {htmlFor: box.id, title}, text));
  },

  buildTools() {
    const tools = [
      ['Forward', 'Bring the object forward ( ] )', () => this.shift(-1)],
      ['Backward', 'Send the object backward ( [ )', () => this.shift(1)],
      ['−', 'Scale the object down by 2 % ( − )', () => this.scale(0.98)],
      ['+', 'Scale the object up by 2 % ( + )', () => this.scale(1.02)],
      ['↺', 'Turn the object by 2° counter-clockwise ( , )', () => this.turn(2)],
      ['↻', 'Turn the object by 2° clockwise ( . )', () => this.turn(-2)],
      ['Duplicate', 'Duplicate the object: a copy lies in front of it (D)', () => this.duplicate()],
      ['Hide', 'Hide the object, or show it again (H)', () => this.toggle()],
      ['Delete', 'Delete the object (Delete)', () => this.remove()],
    ];
    this.tools = tools.map(([text, title, f]) => toolButton(text, title, f));
    const group = el('div', {className: 'ae-tools', role: 'group', 'aria-label': 'Selected object'}, ...this.tools);
    return el(
      'div',
      {className: 'ai-fields'},
      group,
      this.traitBox('shadows_follow', 'Shadows follow', 'What no layer explains, as a shadow, goes with its object'),
      this.traitBox(
        'show_unpainted',
        'Show what nobody painted',
        'Hatch the pixels that show inpainted background',
      ),
    );
  },

  buildMain() {
    this.zoomText = el('output', {className: 'ai-number', 'aria-label': 'Zoom'});
    const zoom = el(
      'div',
      {className: 'ai-zoom', role: 'group', 'aria-label': 'Zoom'},
      toolButton('−', 'Zoom out (Ctrl+wheel)', () => this.zoom(1 / 1.5)),
      this.zoomText,
      toolButton('+', 'Zoom in (Ctrl+wheel)', () => this.zoom(1.5)),
      toolButton('Fit', 'Fit the picture (0)', () => this.fit()),
    );
    return el('div', {className: 'ai-main'}, el('div', {className: 'ai-stage'}, this.canvas, zoom));
  },

  buildSide() {
    this.list = el('ol', {className: 'ai-stack', 'aria-label': 'Layers, front to back'});
    this.about = el('div', {className: 'ai-why', role: 'status', 'aria-live': 'polite'});
    const hint = el('span', {className: 'ai-dim'}, 'front to back');
    return el(
      'aside',
      {className: 'ai-side'},
      el('section', {'aria-label': 'Layers'}, el('h3', {}, 'Layers', hint), this.list, this.about),
    );
  },

  // Return an object as it was refitted, alone, or null for an empty one.
  cutOut(layer) {
    const start = this.layers.start[layer];
    const {x, y, w, h} = this.layers.silhouette(start);
    if (!w) return null;
    const cut = makeCanvas(w, h, () => {});
    for (const o of this.layers.object(start)) {
      const part = makeCanvas(o.w, o.h, data => data.set(o.rgba));
      cut.getContext('2d').drawImage(part, o.x - x, o.y - y);
    }
    return cut;
  },

  thumbnail(layer) {
    this.thumbs ??= new Map();
    if (!this.thumbs.has(layer)) this.thumbs.set(layer, this.cutOut(layer));
    return thumbnailOf(this.thumbs.get(layer), 30);
  },

  layerCard(p, rank) {
    const name = `${p.name}, ${rank + 1} of ${this.placements.length} from the front`;
    const properties = {
      className: `ai-card ae-layer${p.shown ? '' : ' ae-hidden'}`,
      tabIndex: 0,
      'data-layer': p.id,
      'aria-label': p.shown ? name : `${name}, hidden`,
      on: {click: () => this.select(p.id), focus: () => this.select(p.id)},
    };
    return el(
      'li',
      properties,
      this.eye(p),
      el('span', {className: 'ai-thumb'}, this.thumbnail(p.layer)),
      el('span', {className: 'ai-name', title: p.name}, p.name),
      el('span', {className: 'ai-moves'}, this.rankButton(p, rank, -1), this.rankButton(p, rank, 1)),
    );
  },

  eye(p) {
    const title = p.shown ? `Hide ${p.name}` : `Show ${p.name}`;
    const click = e => {
      e.stopPropagation();
      this.toggle(p);
    };
    const properties = {type: 'button', className: 'ae-eye', title, 'aria-label': title, 'aria-pressed': p.shown};
    return el('button', {...properties, tabIndex: -1, on: {click}}, p.shown ? '◉' : '○');
  },

  rankButton(p, rank, by) {
    const label = `${by < 0 ? 'Bring' : 'Send'} ${p.name} ${by < 0 ? 'forward' : 'backward'}`;
    const click = e => {
      e.stopPropagation();
      this.select(p.id);
      this.shift(by);
    };
    const disabled = rank + by < 0 || rank + by >= this.placements.length;
    const properties = {type: 'button', tabIndex: -1, title: label, 'aria-label': label, disabled, on: {click}};
    return el('button', properties, by < 0 ? '↑' : '↓');
  },

  groundCard() {
    this.groundThumb ??= makeCanvas(this.layers.w, this.layers.h, data => {
      const {background} = this.layers;
      for (let q = 0, p = 0; p < data.length; p += 4, q += 3)
        data.set([background[q], background[q + 1], background[q + 2], 255], p);
    });
    return el(
      'li',
      {className: 'ai-card ae-ground', 'aria-label': 'Background, behind all objects'},
      el('span', {className: 'ae-eye'}),
      el('span', {className: 'ai-thumb'}, thumbnailOf(this.groundThumb, 30)),
      el('span', {className: 'ai-name'}, 'Background'),
    );
  },

  // Set the elements to the edits and the selection.
  refresh() {
    this.refreshList();
    const edits = this.get('edits');
    const placement = this.chosen();
    this.count.textContent = edits.length ? `${edits.length} edit${edits.length === 1 ? '' : 's'}` : 'no edits';
    this.enable(this.undoButton, edits.length > 0);
    this.enable(this.redoButton, this.undone.length > 0);
    for (const b of this.tools) this.enable(b, !!placement);
    for (const box of this.boxes) box.checked = this.get(box.dataset.key);
    const nothing = 'Click an object to select it.';
    const state = placement ? describePlacement(placement) || 'as in the photograph' : '';
    this.about.textContent = placement ? `${placement.name}: ${state}` : nothing;
    this.canvas.setAttribute('aria-label', `Picture of ${this.placements.length} objects. ${this.about.textContent}`);
  },

  // Enable a button or not. One that has the focus gives it to the canvas, as a disabled button swallows all keys.
  enable(button, is) {
    if (!is && document.activeElement === button) this.canvas.focus({preventScroll: true});
    button.disabled = !is;
  },

  // Write the list again where its rows changed, else mark the selected one.
  refreshList() {
    const rows = JSON.stringify(this.placements.map(p => [p.id, p.shown]));
    if (rows !== this.rows) {
      const focused = this.list.contains(document.activeElement);
      this.rows = rows;
      this.list.replaceChildren(...this.placements.map((p, rank) => this.layerCard(p, rank)), this.groundCard());
      if (focused) (this.cardOf(this.selected) ?? this.canvas).focus({preventScroll: true});
    }
    for (const card of this.list.querySelectorAll('.ae-layer')) {
      const is = card.dataset.layer === String(this.selected);
      card.classList.toggle('ai-is', is);
      if (is) card.setAttribute('aria-current', 'true');
      else card.removeAttribute('aria-current');
    }
  },

  cardOf(id) {
    return [...this.list.children].find(card => card.dataset.layer === String(id));
  },

  async copy() {
    const text = JSON.stringify({version: 1, edits: this.get('edits')}, null, 1);
    try {
      await globalThis.navigator.clipboard.writeText(text);
      const option = this.get('shadows_follow') ? '' : ' --no-residual-follows';
      this.notify(`The edits are on the clipboard: save them as edits.json, for amodal edit${option}.`);
    } catch {
      const download = () => downloadText('edits.json', text);
      const button = toolButton('Download', 'Download the edits as edits.json', download);
      this.notify('The clipboard cannot be used here.', button);
    }
  },
};
