// The inspector's elements, and what keeps them equal to the traits.

import {el, showNotice, suppressShortcuts, toolButton} from './elements.js';
import {ABOUT, KEYS, OF_SLOT, OVERLAYS, viewName, VIEWS} from './views.js';

const HELP = [
  'Keys: 1–9, G view',
  '←→ slot',
  'space overlay',
  'Shift+arrows move the pixel, Enter pins it',
  '+ − 0 zoom',
  'Alt+↑↓ on a card moves it',
  'Ctrl+Z undo',
].join(' · ');

// Show that a button is pressed, or is not.
const press = (button, is) => {
  button.setAttribute('aria-pressed', is);
  button.classList.toggle('ai-is', is);
};

const field = (...children) => el('span', {className: 'ai-field'}, ...children);

export const controls = {
  build() {
    const {meta, root} = this;
    this.id = `ai${Math.random().toString(36).slice(2, 8)}`;
    root.classList.add('amodal-inspector');
    suppressShortcuts(root);
    this.views = VIEWS.map(([kind, name], index) => this.viewButton(kind, name, KEYS[index].toUpperCase()));
    this.rows = meta.slots.map((_, s) => this.weightRow(s));
    this.canvas = el('canvas', {
      className: 'ai-canvas',
      tabIndex: 0,
      role: 'img',
      'aria-describedby': `${this.id}keys`,
    });
    this.notice = el('div', {className: 'ai-notice', role: 'status', 'aria-live': 'polite', hidden: true});
    root.replaceChildren(
      this.buildHeader(),
      el('div', {className: 'ai-views', role: 'group', 'aria-label': 'View'}, ...this.views),
      this.buildFields(),
      this.notice,
      el('div', {className: 'ai-body'}, this.buildMain(), this.buildSide()),
    );
    if (meta.note) this.notify(meta.note);
  },

  // Whether the fusion can show a view: two of them need the true picture.
  has(kind) {
    return kind === 'error' || kind === 'target' ? !!this.fusion.target : true;
  },

  viewButton(kind, name, key) {
    const properties = {
      type: 'button',
      className: 'ai-view',
      title: `${ABOUT[kind]} (key ${key})`,
      disabled: !this.has(kind),
      'aria-pressed': 'false',
      'data-view': kind,
      on: {click: () => this.set({view: kind})},
    };
    return el('button', properties, el('kbd', {'aria-hidden': 'true'}, key), name);
  },

  weightRow(s) {
    const bar = el('span', {className: 'ai-fill', css: {background: this.meta.colours[s]}});
    const value = el('span', {className: 'ai-number'}, '–');
    const hasPicture = s < this.meta.n || this.fusion.background;
    const properties = {
      type: 'button',
      className: 'ai-row',
      title: `Choose ${this.slotName(s)}`,
      on: {click: () => this.set({slot: s + 1})},
    };
    const row = el(
      'button',
      properties,
      this.badge(s),
      el('span', {className: 'ai-thumb ai-small'}, hasPicture ? this.painter.thumbnail(s, 22) : ''),
      el('span', {className: 'ai-bar'}, bar),
      value,
    );
    return {row, bar, value};
  },

  buildHeader() {
    const {meta} = this;
    const counts = `${meta.n} completion${meta.n > 1 ? 's' : ''} · ${meta.masked} masked`;
    const bare = meta.uncovered ? ` · ${meta.uncovered} of it uncovered` : '';
    const size = `${meta.full[0]} × ${meta.full[1]} px · ${counts}${bare}`;
    const file = `${meta.id}_scene.json`;
    const primary = {className: 'ai-tool ai-primary'};
    this.count = el('span', {className: 'ai-dim'});
    this.undoButton = toolButton('Undo', 'Undo the last correction (Ctrl+Z)', () => this.undo());
    this.saveButton = toolButton('Save', `Write the corrections to ${file}`, () => this.save(), primary);
    this.dropButton = toolButton('Download', `Download ${file} with the corrections`, () => this.download());
    return el(
      'header',
      {className: 'ai-head'},
      el('div', {className: 'ai-title'}, el('strong', {}, meta.title), el('span', {className: 'ai-dim'}, size)),
      el('div', {className: 'ai-actions'}, this.count, this.undoButton, this.dropButton, this.saveButton),
    );
  },

  // Return a label and a menu of [value, name] that sets a trait; `parse` makes its value of the option's text.
  menu(label, key, options, parse = String) {
    const select = el(
      'select',
      {id: `${this.id}${key}`, 'data-key': key, on: {change: () => this.set({[key]: parse(select.value)})}},
      ...options.map(([v, name]) => el('option', {value: v, disabled: v !== '' && !this.has(v)}, name)),
    );
    return [el('label', {htmlFor: select.id}, label), select];
  },

  buildFields() {
    const overlays = OVERLAYS.map(kind => [kind, viewName(kind)]);
    const modes = [
      ['wipe', 'wipe'],
      ['checker', 'checkerboard'],
    ];
    const slots = this.meta.slots.map((_, s) => [s + 1, this.slotName(s)]);
    const [slotLabel, slotPick] = this.menu('Slot', 'slot', slots, Number);
    const [overLabel, over] = this.menu('Overlay', 'overlay', overlays);
    const [againstLabel, against] = this.menu('Compare with', 'against', [['', 'nothing'], ...VIEWS]);
    const [modeLabel, mode] = this.menu('by', 'mode', modes);
    Object.assign(this, {slotPick, over, against, mode});
    this.buildOverlayControls();
    this.buildWipe();
    this.againstExtra = field(modeLabel, mode, this.wiped);
    return el(
      'div',
      {className: 'ai-fields'},
      field(slotLabel, slotPick),
      field(this.shown, overLabel, over, this.opacity, this.opacityText),
      field(againstLabel, against),
      this.againstExtra,
    );
  },

  buildOverlayControls() {
    this.shown = el('input', {
      type: 'checkbox',
      id: `${this.id}on`,
      'data-key': 'overlay_on',
      'aria-label': 'Overlay on',
      on: {change: () => this.set({overlay_on: this.shown.checked})},
    });
    this.opacity = el('input', {
      type: 'range',
      id: `${this.id}op`,
      min: 0,
      max: 1,
      step: 0.01,
      'data-key': 'opacity',
      'aria-label': 'Opacity of the overlay',
      on: {
        input: () => this.set({opacity: +this.opacity.value}, false),
        change: () => this.set({opacity: +this.opacity.value}),
      },
    });
    this.opacityText = el('output', {htmlFor: `${this.id}op`, className: 'ai-number'});
  },

  buildWipe() {
    this.wiped = el('input', {
      type: 'range',
      id: `${this.id}wi`,
      min: 0,
      max: 1,
      step: 0.005,
      'aria-label': 'Place of the wipe',
      on: {input: () => this.set({wipe: +this.wiped.value}, false)},
    });
  },

  buildMain() {
    this.zoomText = el('output', {className: 'ai-number', 'aria-label': 'Zoom'});
    this.legend = el('div', {className: 'ai-legend', role: 'list', 'aria-label': 'Colours'});
    const zoom = el(
      'div',
      {className: 'ai-zoom', role: 'group', 'aria-label': 'Zoom'},
      toolButton('−', 'Zoom out (−)', () => this.zoom(1 / 1.5)),
      this.zoomText,
      toolButton('+', 'Zoom in (+)', () => this.zoom(1.5)),
      toolButton('Fit', 'Fit the picture (0)', () => this.fit()),
    );
    return el(
      'div',
      {className: 'ai-main'},
      el('div', {className: 'ai-stage'}, this.canvas, zoom),
      this.legend,
      el('div', {className: 'ai-keys ai-dim', id: `${this.id}keys`}, HELP),
    );
  },

  buildSide() {
    this.place = el('div', {className: 'ai-place', 'aria-live': 'off'});
    this.why = el('div', {className: 'ai-why'});
    this.stack = el('ol', {className: 'ai-stack', 'aria-label': 'Completions, front to back'});
    this.pairs = el('div', {className: 'ai-pairs'});
    this.pairsTitle = el('summary', {}, 'Pairs');
    const hint = el('span', {className: 'ai-dim'}, 'front to back; drag to correct');
    const rows = el('div', {className: 'ai-rows'}, ...this.rows.map(o => o.row));
    const details = {className: 'ai-details', open: this.fusion.overlaps.length <= 6};
    return el(
      'aside',
      {className: 'ai-side'},
      el('section', {'aria-label': 'Pixel'}, el('h3', {}, 'Pixel', this.place), rows, this.why),
      el('section', {'aria-label': 'Order'}, el('h3', {}, 'Order', hint), this.stack),
      el('details', details, this.pairsTitle, this.pairs),
    );
  },

  // Set the controls to the traits.
  refresh() {
    const view = this.get('view');
    const slot = this.get('slot');
    const on = this.get('overlay_on');
    for (const b of this.views) press(b, b.dataset.view === view);
    for (const k of ['over', 'against', 'mode']) {
      const e = this[k];
      e.value = this.get(e.dataset.key);
    }
    this.slotPick.value = slot;
    this.shown.checked = on;
    this.opacity.value = this.get('opacity');
    this.opacity.disabled = !on;
    this.wiped.value = this.get('wipe');
    this.opacityText.textContent = `${Math.round(100 * this.get('opacity'))}%`;
    this.againstExtra.hidden = !this.get('against');
    this.wiped.hidden = this.get('mode') !== 'wipe';
    this.rows.forEach(({row}, s) => press(row, s === slot - 1));
    for (const card of this.stack.querySelectorAll('.ai-card')) {
      const is = +card.dataset.slot === slot;
      card.classList.toggle('ai-is', is);
      if (is) card.setAttribute('aria-current', 'true');
      else card.removeAttribute('aria-current');
    }
    if (this.listed !== slot && this.fusion.overlaps.length > 12) this.listPairs();
    const ofSlot = OF_SLOT.includes(view) ? `: ${this.slotName(slot - 1)}` : '';
    const overlay = on ? `, with overlay ${this.get('overlay')}` : '';
    this.canvas.setAttribute('aria-label', `${ABOUT[view]}${ofSlot}${overlay}`);
    this.drawLegend();
    this.draw();
  },

  slotName(s) {
    if (s >= this.meta.n) return 'Background';
    return this.meta.names[s] ?? `Completion ${s + 1}`;
  },

  badge(s) {
    return el(
      'span',
      {
        className: 'ai-badge',
        css: {background: this.meta.colours[s], color: this.meta.inks[s]},
        'aria-label': this.slotName(s),
      },
      s < this.meta.n ? String(s + 1) : 'B',
    );
  },

  notify(text, ...actions) {
    showNotice(this.notice, text, ...actions);
  },
};
