// The stack of cards and the list of pairs, and corrections made with them.

import {CYCLE_LOG_ODDS, findCycles, frontToBack} from './compositing.js';
import {clamp, el, percent} from './elements.js';

export const orderPanel = {
  recompute() {
    const corrections = this.get('corrections');
    const f = this.fusion;
    f.correct(corrections, this.get('stack'));
    this.sequence = frontToBack([...Array(f.n).keys()], f.order);
    this.cycles = findCycles(f.n, (i, j) => f.order[i][j] > CYCLE_LOG_ODDS);
    this.exact = null;
    this.drawStack();
    this.listPairs();
    this.showPixel();
    this.count.textContent = corrections.length
      ? `${corrections.length} correction${corrections.length > 1 ? 's' : ''}`
      : '';
    this.undoButton.disabled = !this.get('_history').length;
    this.dropButton.hidden = !corrections.length;
    this.saveButton.disabled = !corrections.length;
    this.refresh();
  },

  drawStack() {
    const items = [];
    const focused = this.stack.contains(document.activeElement)
      ? document.activeElement.closest('.ai-card')?.dataset.slot
      : null;
    this.sequence.forEach((s, rank) => {
      items.push(this.card(s, rank));
      if (rank + 1 < this.fusion.n) items.push(this.between(s, this.sequence[rank + 1]));
    });
    this.stack.replaceChildren(...items);
    if (focused) this.stack.querySelector(`[data-slot="${focused}"]`)?.focus({preventScroll: true});
  },

  // The card of a completion: grip, number, thumbnail, name and buttons.
  card(s, rank) {
    const ring = this.cycles.find(group => group.includes(s));
    const place = `place ${rank + 1} of ${this.fusion.n} from the front${ring ? ', in a cycle' : ''}`;
    this.thumbs ??= [];
    this.thumbs[s] ??= this.painter.thumbnail(s, 30);
    return el(
      'li',
      {
        className: 'ai-card',
        tabIndex: 0,
        'data-slot': s + 1,
        on: {pointerdown: e => this.grab(e, s + 1), focus: () => this.set({slot: s + 1})},
        'aria-label': `${this.slotName(s)}, ${place}; Alt+Up and Alt+Down move it`,
      },
      el('span', {className: 'ai-grip', 'aria-hidden': 'true'}, '⠿'),
      this.badge(s),
      el('span', {className: 'ai-thumb'}, this.thumbs[s]),
      el('span', {className: 'ai-name'}, this.slotName(s), ring ? this.ringMark(ring) : null),
      el(
        'span',
        {className: 'ai-moves'},
        this.moveButton('↑', s, rank, -1, 'forward'),
        this.moveButton('↓', s, rank, 1, 'back'),
      ),
    );
  },

  ringMark(ring) {
    const title = `In a cycle: ${ring.map(k => k + 1).join(', ')} are each in front of another`;
    return el('span', {className: 'ai-ring', title}, '⟳ cycle');
  },

  moveButton(text, s, rank, by, direction) {
    const properties = {
      type: 'button',
      tabIndex: -1,
      'aria-label': `Move completion ${s + 1} ${direction}`,
      disabled: rank + by < 0 || rank + by >= this.fusion.n,
      on: {pointerdown: e => e.stopPropagation(), click: () => this.shift(s + 1, by)},
    };
    return el('button', properties, text);
  },

  // What stands between two neighbours of the stack: the probability of their order.
  between(i, j) {
    const pair = this.fusion.overlap(i, j);
    const mine = this.corrected(i, j) ? 'ai-mine' : '';
    if (!pair) return this.gap(`${mine} ai-apart`, `${i + 1} and ${j + 1} do not overlap`, '', 0, 'do not overlap');
    const p = this.fusion.probability(i, j);
    const text = mine ? 'your correction' : `${percent(p)} sure`;
    const label = `${i + 1} in front of ${j + 1}: ${text}`;
    const against = p < 0.5 ? '. The pair alone says otherwise: a cycle is broken here' : '';
    const classes = `${p < 0.5 ? 'ai-against ' : ''}${mine}`;
    return this.gap(classes, label, `${label}; ${pair.overlap_px} px overlap${against}`, p, text);
  },

  gap(classes, label, title, p, text) {
    const bar = el('span', {className: 'ai-sure'}, el('span', {css: {transform: `scaleX(${p})`}}));
    return el('li', {className: `ai-between ${classes}`.trim(), 'aria-label': label, title}, bar, text);
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
  pairRow({a, b, p_a_front, overlap_px, why}) {
    const source = why === 'prior' ? 'A guess, as nothing shows it:' : 'The model says';
    const mine = this.corrected(a - 1, b - 1);
    const p = this.fusion.probability(a - 1, b - 1);
    const choice = (front, back, now, given) =>
      el(
        'button',
        {
          type: 'button',
          className: now > 0.5 ? 'ai-is' : '',
          'aria-pressed': now > 0.5,
          title: `${front} in front of ${back}; ${overlap_px} px overlap. ${source} ${percent(given)}`,
          'data-pair': `${front} ${back}`,
          on: {click: () => this.putInFront([[front, back]])},
        },
        this.badge(front - 1),
        ' in front of ',
        this.badge(back - 1),
        el('span', {className: 'ai-number'}, now > 0.5 ? (mine ? '✓' : percent(now)) : ''),
      );
    return el(
      'div',
      {className: `ai-pair${mine ? ' ai-mine' : ''}`, role: 'group', 'aria-label': `Pair ${a} and ${b}`},
      choice(a, b, p, p_a_front),
      choice(b, a, 1 - p, 1 - p_a_front),
    );
  },

  shift(slot, by) {
    const sequence = this.sequence.map(s => s + 1);
    const from = sequence.indexOf(slot);
    const to = clamp(from + by, 0, sequence.length - 1);
    sequence.splice(to, 0, sequence.splice(from, 1)[0]);
    this.restack(slot, sequence, from, to);
    this.stack.querySelector(`[data-slot="${slot}"]`)?.focus({preventScroll: true});
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
    const old = this.get('corrections');
    const without = old.filter(([f, b]) => !pairs.some(([i, j]) => (f === i && b === j) || (f === j && b === i)));
    this.set({
      _history: [...this.get('_history'), {corrections: old, stack: this.get('stack')}],
      stack,
      corrections: [...without, ...pairs],
    });
    this.undoButton.disabled = false;
    this.request('corrected');
  },

  undo() {
    const history = this.get('_history');
    if (!history.length) return;
    const {corrections, stack} = history[history.length - 1];
    this.set({_history: history.slice(0, -1), stack, corrections});
    this.request('corrected');
  },

  grab(e, slot) {
    if (e.button) return;
    const card = e.currentTarget;
    const cards = () => [...this.stack.querySelectorAll('.ai-card')];
    const from = cards().indexOf(card);
    const start = e.clientY;
    let to = from;
    let moving = false;
    card.setPointerCapture(e.pointerId);
    const move = m => {
      const dy = m.clientY - start;
      if (!moving && Math.abs(dy) < 4) return;
      if (!moving) {
        moving = true;
        card.classList.add('ai-drag');
      }
      card.style.transform = `translateY(${dy}px)`;
      const others = cards().filter(o => o !== card);
      to = others.filter(o => {
        const b = o.getBoundingClientRect();
        return b.top + b.height / 2 < m.clientY;
      }).length;
      others.forEach((o, index) => {
        o.classList.toggle('ai-before', index === to && to !== from);
        o.classList.toggle('ai-after', to === others.length && index === to - 1 && to !== from);
      });
    };
    const up = m => {
      for (const [k, f] of [
        ['pointermove', move],
        ['pointerup', up],
        ['pointercancel', up],
      ])
        card.removeEventListener(k, f);
      if (!moving) return;
      card.classList.remove('ai-drag');
      card.style.transform = '';
      for (const o of cards()) o.classList.remove('ai-before', 'ai-after');
      const sequence = this.sequence.map(s => s + 1);
      if (m.type === 'pointercancel' || to === from) return;
      sequence.splice(to, 0, sequence.splice(from, 1)[0]);
      this.restack(slot, sequence, from, to);
    };
    for (const [k, f] of [
      ['pointermove', move],
      ['pointerup', up],
      ['pointercancel', up],
    ])
      card.addEventListener(k, f);
  },
};
