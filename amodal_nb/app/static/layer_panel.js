// The layers, front to back: what a pixel takes of them, which are shown, and how sure the order of neighbours is.

import {el, percent} from './elements.js';

const SVG = '<svg viewBox="0 0 16 16" width="16" height="16" fill="none" stroke="currentColor" stroke-width="1.4">';
const EYE = '<path d="M1 8c1.9-3.2 4.2-4.8 7-4.8S13.1 4.8 15 8c-1.9 3.2-4.2 4.8-7 4.800S2.9 11.2 1 8z"/>';
const ICONS = {
  shown: `${SVG}${EYE}<circle cx="8" cy="8" r="2.1" fill="currentColor"/></svg>`,
  hidden: `${SVG}${EYE}<path d="M2.5 13.500l11-11"/></svg>`,
  solo: `${SVG}<circle cx="8" cy="8" r="5.5"/><circle cx="8" cy="8" r="2.3" fill="currentColor"/></svg>`,
};

export const layerPanel = {
  drawStack() {
    const items = [];
    const focused = this.stack.contains(document.activeElement)
      ? document.activeElement.closest('.ai-card')?.dataset.slot
      : null;
    this.rows = [];
    this.sequence.forEach((s, rank) => {
      items.push(this.card(s, rank));
      if (rank + 1 < this.fusion.n) items.push(this.between(s, this.sequence[rank + 1]));
    });
    if (this.fusion.slots > this.fusion.n) items.push(this.groundCard());
    this.stack.replaceChildren(...items);
    if (focused) this.cardOf(focused).focus({preventScroll: true});
  },

  cardOf(slot) {
    return this.stack.querySelector(`[data-slot="${slot}"]`);
  },

  // The card of a completion: grip, eye, number, thumbnail, name, weight and buttons.
  card(s, rank) {
    const ring = this.cycles.find(group => group.includes(s));
    const place = `place ${rank + 1} of ${this.fusion.n} from the front${ring ? ', in a cycle' : ''}`;
    const moves = [this.moveButton('↑', s, rank, -1, 'forward'), this.moveButton('↓', s, rank, 1, 'back')];
    const card = this.layerCard(s, place, el('span', {className: 'ai-grip', 'aria-hidden': 'true'}, '⠿'));
    card.append(el('span', {className: 'ai-moves'}, ...moves));
    if (ring) this.rows[s].name.append(this.ringMark(ring));
    card.addEventListener('pointerdown', e => this.grab(e, s + 1));
    return card;
  },

  // The card of the background, which stays behind all completions.
  groundCard() {
    const card = this.layerCard(this.fusion.n, 'behind all completions', el('span', {className: 'ai-grip'}));
    card.classList.add('ai-ground');
    return card;
  },

  layerCard(s, place, grip) {
    this.thumbs ??= [];
    this.thumbs[s] ??= this.painter.thumbnail(s, 30);
    const bar = el('span', {className: 'ai-fill', css: {background: this.meta.colours[s]}});
    const value = el('span', {className: 'ai-number'}, '–');
    const name = el('span', {className: 'ai-name', title: this.slotName(s)}, this.slotName(s));
    const eye = this.layerButton('ai-eye', s, () => this.toggleHidden(s + 1));
    const solo = this.layerButton('ai-solo', s, () => this.toggleSolo(s + 1));
    const meter = el('span', {className: 'ai-meter'}, name, el('span', {className: 'ai-bar'}, bar));
    this.rows[s] = {bar, value, name, eye, solo};
    const properties = {
      className: 'ai-card',
      tabIndex: -1,
      'data-slot': s + 1,
      'aria-label': `${this.slotName(s)}, ${place}`,
      on: {focus: () => this.set({slot: s + 1})},
    };
    const thumb = el('span', {className: 'ai-thumb'}, this.thumbs[s]);
    this.rows[s].card = el('li', properties, grip, eye, this.badge(s), thumb, meter, value, solo);
    return this.rows[s].card;
  },

  // A button of a card, which is no tab stop of its own: keys do the same for the card that has the focus.
  layerButton(className, s, act) {
    const on = {pointerdown: e => e.stopPropagation(), click: act};
    return el('button', {type: 'button', className: `ai-icon ${className}`, tabIndex: -1, on});
  },

  ringMark(ring) {
    const title = `In a cycle: ${ring.map(k => k + 1).join(', ')} are each in front of another`;
    return el('span', {className: 'ai-ring', title}, '⟳ cycle');
  },

  moveButton(text, s, rank, by, direction) {
    const properties = {
      type: 'button',
      tabIndex: -1,
      'aria-label': `Move ${this.slotName(s)} ${direction}`,
      disabled: rank + by < 0 || rank + by >= this.fusion.n,
      on: {pointerdown: e => e.stopPropagation(), click: () => this.shift(s + 1, by)},
    };
    return el('button', properties, text);
  },

  // What stands between two neighbours: how sure their order is. A guess has no bar.
  between(i, j) {
    const pair = this.fusion.overlap(i, j);
    if (!pair) return this.gap('ai-apart', `${i + 1} and ${j + 1} do not overlap`, '', 'do not overlap');
    const p = this.fusion.probability(i, j);
    const front = `${i + 1} in front of ${j + 1}`;
    const size = `${pair.overlap_px} px overlap`;
    const guess = `${front}: a guess, ${percent(p)}`;
    if (this.corrected(i, j)) return this.gap('ai-mine', `${front}: your correction`, size, 'your correction');
    if (this.fusion.isGuess(i, j)) return this.gap('', guess, size, this.guess(p));
    const against = p < 0.5 ? '. The pair alone says otherwise: a cycle is broken here' : '';
    const bar = el('span', {className: 'ai-sure'}, el('span', {css: {transform: `scaleX(${Math.abs(2 * p - 1)})`}}));
    const text = `${percent(p)} sure${pair.why === 'inferred' ? ', inferred' : ''}`;
    return this.gap(p < 0.5 ? 'ai-against' : '', `${front}: ${text}`, `${size}${against}`, bar, text);
  },

  gap(classes, label, detail, ...children) {
    const title = detail ? `${label}; ${detail}` : label;
    const text = el('span', {'aria-hidden': 'true'}, ...children);
    const spoken = el('span', {className: 'ai-spoken'}, label);
    return el('li', {className: `ai-between ${classes}`.trim(), title}, text, spoken);
  },

  // A guess is called a guess, in amber.
  guess(p) {
    return el('span', {className: 'ai-guess'}, `a guess, ${percent(p)}`);
  },

  toggleHidden(slot) {
    const hidden = this.get('hidden');
    this.set({hidden: hidden.includes(slot) ? hidden.filter(k => k !== slot) : [...hidden, slot]});
  },

  // Show one layer alone; if it is alone, show all.
  toggleSolo(slot) {
    const others = this.meta.slots.map((_, s) => s + 1).filter(k => k !== slot);
    this.set({hidden: this.isAlone(slot) ? [] : others});
  },

  isAlone(slot) {
    const hidden = this.get('hidden');
    return !hidden.includes(slot) && hidden.length === this.meta.slots.length - 1 && hidden.length > 0;
  },

  refreshLayers() {
    const hidden = this.get('hidden');
    const chosen = this.get('slot') - 1;
    this.rows.forEach(({card, eye, solo}, s) => {
      const [name, isHidden, isAlone] = [this.slotName(s), hidden.includes(s + 1), this.isAlone(s + 1)];
      card.classList.toggle('ai-is', s === chosen);
      card.classList.toggle('ai-hidden', isHidden);
      card.tabIndex = s === chosen ? 0 : -1;
      if (s === chosen) card.setAttribute('aria-current', 'true');
      else card.removeAttribute('aria-current');
      this.setIcon(eye, isHidden ? 'hidden' : 'shown', `${isHidden ? 'Show' : 'Hide'} ${name} (H)`, isHidden);
      this.setIcon(solo, 'solo', isAlone ? 'Show all layers (S)' : `Show ${name} alone (S)`, isAlone);
    });
  },

  setIcon(button, icon, title, isPressed) {
    if (button.title === title) return;
    button.innerHTML = ICONS[icon];
    button.title = title;
    button.setAttribute('aria-label', title);
    button.classList.toggle('ai-is', isPressed);
  },

  grab(e, slot) {
    if (e.button) return;
    const card = e.currentTarget;
    const cards = () => [...this.stack.querySelectorAll('.ai-card:not(.ai-ground)')];
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
