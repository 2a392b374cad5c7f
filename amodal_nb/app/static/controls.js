// The inspector's elements, and what keeps them equal to the traits.

import {el, showNotice, suppressShortcuts, toolButton} from './elements.js';
import {ABOUT, OF_SLOT} from './views.js';
import {pressButton} from './toolbar.js';

const HELP = [
  'Keys: 1–9, G view',
  '←→ slot',
  'H hide it, S show it alone',
  'space overlay',
  'Shift+arrows move the pixel, Enter pins it',
  '+ − 0 zoom',
  'Alt+↑↓ on a layer moves it',
  'Ctrl+Z undo, Ctrl+Shift+Z redo',
].join(' · ');

// Below this width of the widget, in px, all stands in one column, the picture first. Linked widgets stand side by
// side, and have equal columns.
const NARROW_PX = 680;
const NARROW_LINKED_PX = 1000;

// Above this number of slots the layers are listed in less height.
const FEW_SLOTS = 8;

// px of the window that are not the picture's: the widget's own rows and JupyterLab's.
const OTHER_ROWS_PX = 330;

export const controls = {
  build() {
    const {meta, root} = this;
    this.id = `ai${Math.random().toString(36).slice(2, 8)}`;
    root.classList.add('amodal-inspector');
    root.classList.toggle('ai-linked', !this.get('_toolbar'));
    root.classList.toggle('ai-many', meta.slots.length > FEW_SLOTS);
    root.classList.toggle('ai-harmonised', meta.done.some(o => o?.changed)); // such legends are long
    suppressShortcuts(root);
    this.buildHeader();
    this.viewRow = this.buildViews();
    this.fields = this.buildFields();
    this.viewRow.hidden = this.fields.hidden = !this.get('_toolbar');
    this.buildStage();
    this.buildLegend();
    this.buildSide();
    this.help = el('div', {className: 'ai-keys ai-dim', id: `${this.id}keys`, title: HELP}, HELP);
    this.main = el('div', {className: 'ai-main'});
    this.body = el('div', {className: 'ai-body'}, this.main, this.side);
    this.arrange();
    if (meta.note) this.notify(meta.note);
  },

  // Put the rows in their order: where there is little width, the picture and the weights come first.
  arrange() {
    const width = this.root.clientWidth;
    const isNarrow = width > 0 && width < (this.get('_toolbar') ? NARROW_PX : NARROW_LINKED_PX);
    if (isNarrow === this.isNarrow) return;
    this.isNarrow = isNarrow;
    const {root, header, viewRow, fields, legend, body, help} = this;
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    root.classList.toggle('ai-narrow', isNarrow);
    this.main.replaceChildren(...(isNarrow ? [this.stage, viewRow, legend] : [fields, legend, this.stage, help]));
    root.replaceChildren(header, ...(isNarrow ? [body, fields, help] : [viewRow, body]));
    focused?.focus({preventScroll: true});
  },

  // Return the largest height of the picture, in px.
  stageHeight() {
    const {innerHeight} = globalThis;
    if (!this.isNarrow) return innerHeight - OTHER_ROWS_PX - this.check.offsetHeight;
    return (this.meta.slots.length > FEW_SLOTS ? 0.34 : 0.44) * innerHeight;
  },

  // Whether the fusion can show a view: two of them need the true picture, one another inspector.
  has(kind) {
    if (kind === 'difference') return !!this.fusion.rival;
    return kind === 'error' || kind === 'target' ? !!this.fusion.target : true;
  },

  describeScene() {
    const {meta} = this;
    const region = meta.masked ? `${meta.masked} masked` : 'no mask';
    const counts = `${meta.n} completion${meta.n > 1 ? 's' : ''} · ${region}`;
    const bare = meta.uncovered ? ` · ${meta.uncovered} of it uncovered` : '';
    return `${meta.full[0]} × ${meta.full[1]} px · ${counts}${bare}`;
  },

  buildHeader() {
    const {meta} = this;
    const file = `${meta.id}_scene.json`;
    const primary = {className: 'ai-tool ai-primary'};
    const resetTitle = "Reset to the model's order: drop all corrections";
    this.count = el('span', {className: 'ai-dim', role: 'status'});
    this.undoButton = toolButton('↶', 'Undo the last correction (Ctrl+Z)', () => this.undo());
    this.redoButton = toolButton('↷', 'Redo what was undone last (Ctrl+Shift+Z)', () => this.redo());
    this.resetButton = toolButton('Reset', resetTitle, () => this.reset());
    const saveTitle = `Save order: write the corrections to ${file}`;
    this.saveButton = toolButton('Save order', saveTitle, () => this.save(), primary);
    this.dropButton = toolButton('Download', `Download ${file} with the corrections`, () => this.download());
    const buttons = [this.undoButton, this.redoButton, this.resetButton, this.dropButton, this.saveButton];
    const title = el('strong', {}, meta.title);
    const size = this.get('_toolbar') ? el('span', {className: 'ai-dim'}, this.describeScene()) : null;
    this.check = this.suspicionNote();
    this.header = el(
      'div',
      {className: 'ai-head'},
      el('div', {className: 'ai-title'}, ...[title, size, this.guessCount()].filter(Boolean)),
      el('div', {className: 'ai-actions'}, this.count, ...buttons),
      this.check,
    );
  },

  // What is odd about the inputs, a line each.
  suspicionNote() {
    const lines = this.meta.suspicions ?? [];
    const note = {className: 'ai-check', role: 'note', 'aria-label': 'Check', hidden: !lines.length};
    return el('div', note, ...lines.map(line => el('div', {}, line)));
  },

  // What a view shows; what the result is depends on the mask.
  about(view) {
    const {masked, uncovered} = this.meta;
    if (view !== 'result') return ABOUT[view];
    if (!masked) return 'The photograph itself, as nothing of it is to be restored: what came out is the order';
    return `${ABOUT[view]}${uncovered ? '; hatched where nothing covers it' : ''}`;
  },

  buildStage() {
    const describedBy = {role: 'img', 'aria-describedby': `${this.id}keys`};
    this.canvas = el('canvas', {className: 'ai-canvas', tabIndex: 0, ...describedBy});
    this.notice = el('div', {className: 'ai-notice', role: 'status', 'aria-live': 'polite', hidden: true});
    this.zoomText = el('output', {className: 'ai-number', 'aria-label': 'Zoom'});
    const tools = el(
      'div',
      {className: 'ai-zoom', role: 'group', 'aria-label': 'Zoom and save'},
      toolButton('−', 'Zoom out (−)', () => this.zoom(1 / 1.5)),
      this.zoomText,
      toolButton('+', 'Zoom in (+)', () => this.zoom(1.5)),
      toolButton('Fit', 'Fit the picture (0)', () => this.fit()),
      el('span', {className: 'ai-rule'}),
      toolButton('PNG', 'Save this view as PNG', () => this.saveView('png')),
      toolButton('PDF', 'Save this view as PDF', () => this.saveView('pdf')),
    );
    this.stage = el('div', {className: 'ai-stage'}, this.canvas, this.notice, tools);
  },

  buildSide() {
    this.place = el('div', {className: 'ai-place', 'aria-live': 'off'});
    this.why = el('div', {className: 'ai-why'});
    this.covering = el('div', {className: 'ai-covering'});
    this.stack = el('ol', {className: 'ai-stack', 'aria-label': 'Layers, front to back'});
    this.pairs = el('div', {className: 'ai-pairs'});
    this.pairsTitle = el('summary', {}, 'Pairs');
    const hint = el('span', {className: 'ai-dim'}, 'drag to correct');
    const few = this.fusion.overlaps.length <= 6;
    this.side = el(
      'div',
      {className: 'ai-side'},
      el(
        'section',
        {},
        el('h3', {}, 'Layers, front to back', hint),
        el('div', {className: 'ai-pixel'}, this.place, this.covering, this.why),
        this.stack,
      ),
      el('details', {className: 'ai-details', open: few}, this.pairsTitle, this.pairs),
    );
  },

  // Set the controls to the traits.
  refresh() {
    const view = this.shownView();
    const slot = this.get('slot');
    this.refreshToolbar();
    this.refreshLegend();
    this.refreshLayers();
    if (this.listed !== slot && this.fusion.overlaps.length > 12) this.listPairs();
    const ofSlot = OF_SLOT.includes(view) ? `: ${this.slotName(slot - 1)}` : '';
    const overlay = this.showsOverlay() ? `, with overlay ${this.get('overlay')}` : '';
    this.canvas.setAttribute('aria-label', `${this.about(view)}${ofSlot}${overlay}`);
    this.draw();
  },

  // Mark the button of the chosen slot in a row that is one tab stop, and keep the focus there.
  chooseOne(buttons, chosen) {
    const focused = buttons.includes(document.activeElement);
    buttons.forEach((b, s) => {
      pressButton(b, s === chosen);
      b.tabIndex = s === chosen ? 0 : -1;
    });
    if (focused) buttons[chosen].focus({preventScroll: true});
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
        role: 'img',
        'aria-label': this.slotName(s),
      },
      s < this.meta.n ? String(s + 1) : 'B',
    );
  },

  notify(text, ...actions) {
    showNotice(this.notice, text, ...actions);
  },
};
