// The controls above the grid, and which scenes they let through.

import {el} from './elements.js';

// What a card is marked with: key -> [label, whether a card has it].
export const FLAGS = {
  guesses: ['Guesses', card => card.values.guesses > 0],
  wrong: ['Sure and wrong', card => card.values['sure and wrong'] > 0],
  uncovered: ['Uncovered', card => card.values.uncovered > 0.0005],
  broken: ['Cannot be used', card => !!card.error],
};

const labelled = (id, label, control) =>
  el('span', {className: 'ai-field'}, el('label', {htmlFor: (control.id = id)}, label), control);

const isWithin = (v, [low, high]) => v !== null && (low === null || v >= low) && (high === null || v <= high);

export const fields = {
  buildFields(id) {
    this.text = el('input', {
      type: 'search',
      placeholder: 'part of a name',
      on: {input: () => this.keep({text: this.text.value})},
    });
    this.show = el('select', {on: {change: () => this.keep({show: this.show.value})}});
    const orders = this.get('orders').map(([key, label]) => el('option', {value: key}, label));
    this.sort = el('select', {on: {change: () => this.keep({sort: this.sort.value})}}, ...orders);
    const sizes = {type: 'range', min: 110, max: 420, step: 10};
    this.size = el('input', {...sizes, on: {input: () => this.keep({size: +this.size.value})}});
    this.limitsButton = el(
      'button',
      {type: 'button', className: 'ai-tool', 'aria-controls': `${id}l`, on: {click: () => this.openLimits()}},
      'Limits',
    );
    this.limits = el('div', {className: 'ai-fields ag-limits', id: `${id}l`, hidden: true}, ...this.buildLimits());
    this.openLimits(false);
    return el(
      'div',
      {className: 'ai-fields ag-fields'},
      labelled(`${id}t`, 'Filter', this.text),
      labelled(`${id}f`, 'Show', this.show),
      this.limitsButton,
      labelled(`${id}s`, 'Sort by', this.sort),
      labelled(`${id}z`, 'Size', this.size),
    );
  },

  openLimits(open = this.limits.hidden) {
    this.limits.hidden = !open;
    this.limitsButton.setAttribute('aria-expanded', open);
  },

  // Two numbers for each measure; an empty field is no limit.
  buildLimits() {
    this.bounds = new Map();
    const groups = this.get('bounded').map(([key, label]) => {
      const bound = name =>
        el('input', {
          type: 'number',
          step: 'any',
          'aria-label': `${label}, ${name}`,
          on: {input: () => this.keepLimits()},
        });
      const pair = [bound('at least'), bound('at most')];
      this.bounds.set(key, pair);
      return el('span', {className: 'ai-field', role: 'group', 'aria-label': label}, label, pair[0], '–', pair[1]);
    });
    const clear = el('button', {type: 'button', className: 'ai-tool', on: {click: () => this.clearLimits()}}, 'Clear');
    return [...groups, clear];
  },
  keepLimits() {
    const limits = {};
    for (const [key, pair] of this.bounds) {
      const [low, high] = pair.map(o => (o.value === '' ? null : +o.value));
      if (low !== null || high !== null) limits[key] = [low, high];
    }
    this.keep({limits});
  },
  clearLimits() {
    for (const o of [...this.bounds.values()].flat()) o.value = '';
    this.keepLimits();
  },

  // Set the controls to the traits.
  refreshFields() {
    for (const key of ['text', 'sort', 'size']) this[key].value = this.get(key);
    const limits = this.get('limits');
    for (const [key, pair] of this.bounds)
      pair.forEach((o, k) => {
        const v = limits[key]?.[k] ?? null;
        if (v === null ? o.value !== '' : +o.value !== v || o.value === '') o.value = v ?? '';
      });
    const count = Object.keys(limits).length;
    this.limitsButton.textContent = count ? `Limits (${count})` : 'Limits';
    this.refreshShow();
  },

  // List the flags and tags that there are, with the number of scenes.
  refreshShow() {
    const cards = [...this.cards.values()];
    const options = [['', 'all scenes']];
    for (const [key, [label, has]] of Object.entries(FLAGS))
      options.push([key, `${label} (${cards.filter(has).length})`]);
    const tags = this.items.flatMap(o => this.tagsOf(o));
    for (const tag of [...new Set(tags)].sort())
      options.push([`#${tag}`, `# ${tag} (${tags.filter(t => t === tag).length})`]);
    const show = this.get('show');
    if (!options.some(([key]) => key === show)) options.push([show, `${show.replace('#', '# ')} (0)`]);
    const text = JSON.stringify(options);
    if (text !== this.listed) {
      this.listed = text;
      this.show.replaceChildren(...options.map(([value, label]) => el('option', {value}, label)));
    }
    this.show.value = show;
  },

  // Whether a scene is within all limits, and has the flag or tag.
  passes(o) {
    const values = this.cards.get(o.index)?.values ?? {};
    const within = ([key, limits]) => isWithin(values[key] ?? null, limits);
    return Object.entries(this.get('limits')).every(within) && this.isMarked(o, this.get('show'));
  },
  isMarked(o, mark) {
    if (!mark) return true;
    if (mark[0] === '#') return this.tagsOf(o).includes(mark.slice(1));
    const card = this.cards.get(o.index);
    return !!card && !!FLAGS[mark]?.[1](card);
  },
};
