// The cards of the grid: a picture, a name, measures, what to look at, and tags.

import {el, percent} from './elements.js';

export const shownValue = v => (v === null || v === undefined ? '–' : Number.isInteger(v) ? String(v) : v.toFixed(3));

const pairNames = pairs =>
  pairs
    .slice(0, 2)
    .map(([a, b]) => `${a}–${b}`)
    .join(', ') + (pairs.length > 2 ? ', …' : '');

const pill = (kind, text) => el('span', {className: kind}, text);

const flagsOf = card => {
  const flags = [];
  if (card.wrong.length) flags.push(pill('ag-wrong', `sure and wrong: ${pairNames(card.wrong)}`));
  const n = card.guessed.length;
  if (n) flags.push(pill('ai-guess', n > 1 ? `${n} guesses` : `guess: ${pairNames(card.guessed)}`));
  if (card.values.uncovered > 0.0005) flags.push(pill('ag-flag', `${percent(card.values.uncovered)} uncovered`));
  return flags;
};

export const cards = {
  card(o) {
    const node = el('div', {className: 'ag-card', role: 'listitem'});
    const open = el(
      'button',
      {type: 'button', className: 'ag-open', on: {click: () => this.open(o), focus: () => (this.focus = node.place)}},
      el('span', {className: 'ag-picture'}),
      el('span', {className: 'ag-name'}, o.name),
      el('span', {className: 'ag-values ai-dim'}, '…'),
      el('span', {className: 'ag-flags'}),
    );
    const properties = {
      type: 'button',
      className: 'ag-tagger',
      tabIndex: -1, // the key T does the same
      title: 'Tag (T)',
      'aria-label': `Tag ${o.name}`,
      on: {click: () => this.editTags(o, node)},
    };
    node.append(open, el('button', properties, '#'));
    this.fill(o, node);
    return node;
  },

  fill(o, node) {
    const card = this.cards.get(o.index);
    const [open] = node.children;
    const [picture, , values, flags] = open.children;
    const tags = this.tagsOf(o).map(tag => pill('ag-flag', `# ${tag}`));
    node.classList.toggle('ag-opening', o === this.opening);
    values.textContent = this.valuesText(o, card);
    if (!card) {
      open.title = `${o.name}\nnot measured yet`;
      flags.replaceChildren(...tags);
      return;
    }
    node.classList.toggle('ag-bad', !!card.error);
    open.title = [o.name, card.error ?? this.describe(card), ...this.tagsOf(o).map(tag => `# ${tag}`)].join('\n');
    if (card.error) picture.replaceChildren(el('span', {className: 'ag-reason'}, card.error));
    else if (!picture.children.length && card.url)
      picture.append(el('img', {src: card.url, alt: '', decoding: 'async', draggable: false}));
    flags.replaceChildren(...(card.error ? [] : flagsOf(card)), ...tags);
  },

  valuesText(o, card) {
    if (o === this.opening) return 'opening …';
    if (!card) return '…';
    return card.error ? 'cannot be used' : this.summary(card);
  },

  // One line of a card's measures.
  summary(card) {
    const known = this.get('captions').filter(key => card.values[key] !== null);
    const measures = known.map(key => `${key} ${shownValue(card.values[key])}`);
    const sure = card.values.confidence;
    return [sure === null ? 'no overlaps' : `${percent(sure)} sure`, ...measures].join(' · ');
  },

  describe(card) {
    const lines = Object.entries(card.values).map(([k, v]) => `${k} ${shownValue(v)}`);
    return lines.join('\n');
  },
};
