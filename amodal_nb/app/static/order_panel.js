// The order: the list of pairs, and corrections, which can be undone, redone and dropped.

import {CYCLE_LOG_ODDS, findCycles, frontToBack} from './compositing.js';
import {clamp, el, percent} from './elements.js';

const SOURCES = {prior: 'A guess, as nothing shows it:', inferred: 'Inferred from other pairs:'};

export const orderPanel = {
  recompute() {
    const corrections = this.get('corrections');
    const f = this.fusion;
    f.correct(corrections, this.get('stack'), this.get('hidden'));
    this.sequence = frontToBack([...Array(f.n).keys()], f.decisive);
    this.cycles = findCycles(f.n, (i, j) => f.order[i][j] > CYCLE_LOG_ODDS);
    this.exact = null;
    this.drawStack();
    this.listPairs();
    this.showPixel();
    this.refreshActions();
    this.refresh();
    this.tellRivals();
  },

  refreshActions() {
    const n = this.get('corrections').length;
    const isSaved = this.isSaved();
    this.count.textContent = this.describeCorrections(n, isSaved);
    this.saveButton.textContent = n && isSaved ? 'Saved' : 'Save order';
    this.enable(this.undoButton, this.get('_history').length > 0);
    this.enable(this.redoButton, this.get('_undone').length > 0);
    this.enable(this.resetButton, !this.isUncorrected());
    this.enable(this.saveButton, !isSaved);
    this.dropButton.hidden = !n;
  },

  // Whether the folder holds these corrections, in whatever sequence they were made.
  isSaved() {
    const [now, then] = ['corrections', '_saved'].map(k => this.get(k).map(String).sort());
    return String(now) === String(then);
  },

  // Say whose order is shown, and whether the folder holds it: an order that a person has saved opens again.
  describeCorrections(n, isSaved) {
    const count = `${n} correction${n > 1 ? 's' : ''}`;
    if (isSaved) return n ? `your order: ${count}, saved` : '';
    return `${n ? count : 'the model’s order'}, not saved`;
  },

  // Enable a button or not. One that has the focus gives it to the canvas, as a disabled button swallows all keys.
  enable(button, is) {
    if (!is && document.activeElement === button) this.canvas.focus({preventScroll: true});
    button.disabled = !is;
  },

  // Let linked inspectors draw their difference to this one again.
  tellRivals() {
    this.updateLinked(o => {
      o.fusion.forgetDifference();
      o.refresh();
    });
    this.summaries().forEach(o => o.refresh());
  },

  isUncorrected() {
    return !this.get('corrections').length && String(this.get('stack')) === String(this.meta.order);
  },

  // Say how many pairs are guesses, in the title.
  guessCount() {
    const all = this.fusion.overlaps;
    const n = all.filter(o => o.guess).length;
    if (!n) return null;
    const title = 'Nothing shows these orders, or they are near even odds: see the layers and the pairs';
    const text = `${n} of ${all.length} pairs ${n > 1 ? 'are guesses' : 'is a guess'}`;
    return el('span', {className: 'ai-guess', title}, text);
  },

  listPairs() {
    const all = this.fusion.overlaps;
    const slot = this.get('slot');
    const few = all.length <= 12;
    this.listed = slot;
    const shown = few ? all : all.filter(o => o.a === slot || o.b === slot);
    this.pairsTitle.textContent =
      few || slot > this.meta.n
        ? `Pairs that overlap (${all.length})`
        : `Pairs of completion ${slot} (${shown.length} of ${all.length})`;
    this.pairs.replaceChildren(...shown.map(pair => this.pairRow(pair)));
    if (!shown.length) this.pairs.append(el('span', {className: 'ai-dim'}, 'No two completions overlap.'));
  },

  corrected(i, j) {
    return this.get('corrections').some(([f, b]) => (f === i + 1 && b === j + 1) || (f === j + 1 && b === i + 1));
  },

  // The two orders of a pair as buttons.
  pairRow(pair) {
    const {a, b, p_a_front} = pair;
    const mine = this.corrected(a - 1, b - 1);
    const classes = `ai-pair${mine ? ' ai-mine' : ''}`;
    const p = this.fusion.probability(a - 1, b - 1);
    return el(
      'div',
      {className: classes, role: 'group', 'aria-label': `Pair ${a} and ${b}`},
      this.orderButton(pair, a, b, p, p_a_front),
      this.orderButton(pair, b, a, 1 - p, 1 - p_a_front),
    );
  },

  orderButton({overlap_px, why, guess}, front, back, now, given) {
    const source = SOURCES[why] ?? (guess ? 'A guess of the model:' : 'The model says');
    const is = now > 0.5;
    const properties = {
      type: 'button',
      className: is ? 'ai-is' : '',
      'aria-pressed': is,
      title: `${front} in front of ${back}; ${overlap_px} px overlap. ${source} ${percent(given)}`,
      'data-pair': `${front} ${back}`,
      on: {click: () => this.putInFront([[front, back]])},
    };
    const [frontBadge, backBadge] = [this.badge(front - 1), this.badge(back - 1)];
    return el('button', properties, frontBadge, ' in front of ', backBadge, is ? this.verdict(front, back, now) : null);
  },

  verdict(front, back, p) {
    if (this.corrected(front - 1, back - 1)) return el('span', {className: 'ai-number'}, '✓');
    if (this.fusion.isGuess(front - 1, back - 1)) return el('span', {className: 'ai-guess'}, `guess, ${percent(p)}`);
    return el('span', {className: 'ai-number'}, percent(p));
  },

  shift(slot, by) {
    const sequence = this.sequence.map(s => s + 1);
    const from = sequence.indexOf(slot);
    const to = clamp(from + by, 0, sequence.length - 1);
    sequence.splice(to, 0, sequence.splice(from, 1)[0]);
    this.restack(slot, sequence, from, to);
    this.cardOf(slot).focus({preventScroll: true});
  },

  // Correct the order after a card was moved: it is in front of, or behind, all that it passed.
  restack(slot, sequence, from, to) {
    if (from === to) return;
    const passed = from < to ? sequence.slice(from, to) : sequence.slice(to + 1, from + 1);
    const pairs = passed
      .filter(o => this.fusion.overlap(slot - 1, o - 1))
      .map(o => (from < to ? [o, slot] : [slot, o]));
    if (!pairs.length) this.notify(`Completion ${slot} does not overlap what it passed: the picture stays the same.`);
    this.putInFront(pairs, sequence);
  },

  // Add corrections (front, back).
  putInFront(pairs, stack = this.get('stack')) {
    const isReplaced = ([f, b]) => pairs.some(([i, j]) => (f === i && b === j) || (f === j && b === i));
    const kept = this.get('corrections').filter(o => !isReplaced(o));
    this.change({stack, corrections: [...kept, ...pairs]});
  },

  // Drop all corrections: the order is the model's again.
  reset() {
    if (!this.isUncorrected()) this.change({stack: this.meta.order, corrections: []});
  },

  orderNow() {
    return {corrections: this.get('corrections'), stack: this.get('stack')};
  },

  // Change the order, so that it can be undone.
  change(order) {
    this.set({_history: [...this.get('_history'), this.orderNow()], _undone: [], ...order});
    this.request('corrected');
  },

  undo() {
    this.goBack('_history', '_undone');
  },

  redo() {
    this.goBack('_undone', '_history');
  },

  // Return to the last order of one list, and keep the order now in the other.
  goBack(from, to) {
    const orders = this.get(from);
    if (!orders.length) return;
    this.set({[from]: orders.slice(0, -1), [to]: [...this.get(to), this.orderNow()], ...orders.at(-1)});
    this.request('corrected');
  },
};
