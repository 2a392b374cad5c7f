// The views as a row of buttons, and what lies over the picture: of an inspector, or of several linked ones.

import {el} from './elements.js';
import {ABOUT, KEYS, OVERLAYS, viewName, VIEWS} from './views.js';

const STEPS = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity};

export const pressButton = (button, is) => {
  button.setAttribute('aria-pressed', is);
  button.classList.toggle('ai-is', is);
};

const field = (...children) => el('span', {className: 'ai-field'}, ...children);

export const toolbar = {
  buildViews() {
    const shown = VIEWS.filter(([kind]) => kind !== 'difference' || this.get('group'));
    this.views = shown.map(([kind, name], index) => this.viewButton(kind, name, KEYS[index].toUpperCase()));
    const properties = {className: 'ai-views', role: 'toolbar', 'aria-label': 'View'};
    return el('div', {...properties, on: {keydown: e => this.onViewKey(e)}}, ...this.views);
  },

  viewButton(kind, name, key) {
    const properties = {
      type: 'button',
      className: 'ai-view',
      title: `${ABOUT[kind]} (key ${key})`,
      'data-view': kind,
      on: {click: () => this.set({view: kind})},
    };
    return el('button', properties, el('kbd', {'aria-hidden': 'true'}, key), name);
  },

  // The row of views is one tab stop; arrows go from one to the next.
  onViewKey(e) {
    const step = STEPS[e.key];
    if (!step || e.altKey || e.ctrlKey || e.metaKey || e.shiftKey) return;
    e.preventDefault();
    e.stopPropagation();
    const enabled = this.views.filter(b => !b.disabled);
    const from = enabled.indexOf(e.target.closest('.ai-view'));
    const {length} = enabled;
    const to = Number.isFinite(step) ? (from + step + length) % length : step < 0 ? 0 : length - 1;
    this.set({view: enabled[to].dataset.view});
    enabled[to].focus();
  },

  // Return a label and a menu of [value, name] that sets a trait.
  menu(label, key, options) {
    const select = el(
      'select',
      {id: `${this.id}${key}`, 'data-key': key, on: {change: () => this.set({[key]: select.value})}},
      ...options.map(([v, name]) => el('option', {value: v}, name)),
    );
    return [el('label', {htmlFor: select.id}, label), select];
  },

  checkbox(key, text, title) {
    const change = e => this.set({[key]: e.target.checked});
    const box = el('input', {type: 'checkbox', id: `${this.id}${key}`, 'data-key': key, title, on: {change}});
    return [box, el('label', {htmlFor: box.id, title}, text)];
  },

  slider(key, label, step, on) {
    return el('input', {type: 'range', min: 0, max: 1, step, 'data-key': key, 'aria-label': label, on});
  },

  buildFields() {
    const overlays = OVERLAYS.map(kind => [kind, viewName(kind)]);
    const others = VIEWS.filter(([kind]) => kind !== 'difference');
    const modes = [
      ['wipe', 'wipe'],
      ['checker', 'checkerboard'],
    ];
    const [shown, shownLabel] = this.checkbox('overlay_on', 'Overlay', 'Tint the result by what stands beside (space)');
    const [marks, marksLabel] = this.checkbox('marks', 'Marks', 'Outline of the mask; hatching where nothing covers');
    const [, over] = this.menu('Overlay', 'overlay', overlays);
    const [againstLabel, against] = this.menu('Compare with', 'against', [['', 'nothing'], ...others]);
    const [modeLabel, mode] = this.menu('by', 'mode', modes);
    over.setAttribute('aria-label', 'What the overlay shows');
    Object.assign(this, {shown, marks, over, against, mode});
    this.buildSliders();
    this.againstExtra = field(modeLabel, mode, this.wiped);
    return el(
      'div',
      {className: 'ai-fields'},
      field(shown, shownLabel, over, this.opacity, this.opacityText),
      field(marks, marksLabel),
      field(againstLabel, against),
      this.againstExtra,
    );
  },

  buildSliders() {
    const opacity = save => this.set({opacity: +this.opacity.value}, save);
    const wipe = () => this.set({wipe: +this.wiped.value}, false);
    const on = {input: () => opacity(false), change: () => opacity(true)};
    this.opacity = this.slider('opacity', 'Opacity of the overlay', 0.01, on);
    this.opacity.id = `${this.id}op`;
    this.opacityText = el('output', {htmlFor: this.opacity.id, className: 'ai-number'});
    this.wiped = this.slider('wipe', 'Place of the wipe', 0.005, {input: wipe});
  },

  // Return the view that is shown: the result, where the one that was asked for is not known.
  shownView() {
    const view = this.get('view');
    return this.has(view) ? view : 'result';
  },

  // Return the view beside it, or ''.
  shownAgainst() {
    const against = this.get('against');
    return against && this.has(against) ? against : '';
  },

  // Set the elements of the toolbar to the traits. The overlay lies on the result only.
  refreshToolbar() {
    const view = this.shownView();
    const [on, isOver] = [this.get('overlay_on'), view === 'result'];
    for (const b of this.views) {
      pressButton(b, b.dataset.view === view);
      b.disabled = !this.has(b.dataset.view);
      b.tabIndex = b.dataset.view === view ? 0 : -1;
    }
    for (const menu of [this.over, this.against])
      for (const o of menu.options) o.disabled = o.value !== '' && !this.has(o.value);
    for (const e of [this.over, this.mode]) e.value = this.get(e.dataset.key);
    for (const e of [this.shown, this.marks]) e.checked = this.get(e.dataset.key);
    this.opacity.value = this.get('opacity');
    this.wiped.value = this.get('wipe');
    this.opacityText.textContent = `${Math.round(100 * this.get('opacity'))}%`;
    this.shown.disabled = !isOver;
    this.over.disabled = this.opacity.disabled = !isOver || !on;
    this.over.parentElement.title = isOver ? '' : 'The overlay lies on the result only';
    this.against.value = this.shownAgainst();
    this.againstExtra.hidden = !this.shownAgainst();
    this.wiped.hidden = this.get('mode') !== 'wipe';
  },
};
