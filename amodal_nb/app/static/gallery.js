// The gallery: a grid that holds only the cards in view. It asks the kernel for a few cards at a time, those in view
// first.

import {clamp, el, suppressShortcuts} from './elements.js';

// Cards that are asked for at once; px between cards, and px of the text under a picture.
const BATCH = 6;
const GAP_PX = 10;
const CAPTION_PX = 44;

const shown = v => (v === null || v === undefined ? '–' : Number.isInteger(v) ? String(v) : v.toFixed(3));

class Gallery {
  constructor(model, root) {
    Object.assign(this, {model, root, cards: new Map(), nodes: new Map(), asked: new Set(), focus: 0});
    this.items = model.get('items').map((name, index) => ({name, index, text: name.toLowerCase()}));
    this.build();
    this.onMessage = (message, buffers) => this.receive(message, buffers);
    model.on('msg:custom', this.onMessage);
    this.onChange = () => {
      this.text.value = model.get('text');
      this.sort.value = model.get('sort');
      this.arrange();
    };
    for (const k of ['text', 'sort']) model.on(`change:${k}`, this.onChange);
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.scroller);
    this.arrange();
    this.ask();
  }
  destroy() {
    this.model.off('msg:custom', this.onMessage);
    for (const k of ['text', 'sort']) this.model.off(`change:${k}`, this.onChange);
    this.sized.disconnect();
    clearTimeout(this.later);
    for (const o of this.cards.values()) URL.revokeObjectURL(o.url);
    this.gone = true;
  }

  build() {
    const {model, root} = this;
    const id = `ag${Math.random().toString(36).slice(2, 8)}`;
    root.classList.add('amodal-gallery');
    suppressShortcuts(root);
    const keep = values => {
      for (const [k, v] of Object.entries(values)) model.set(k, v);
      try {
        model.save_changes();
      } catch {
        /* without a kernel the page keeps the values */
      }
    };
    this.text = el('input', {
      type: 'search',
      id: `${id}t`,
      placeholder: 'part of a name',
      value: model.get('text'),
      on: {input: () => keep({text: this.text.value})},
    });
    this.sort = el(
      'select',
      {id: `${id}s`, on: {change: () => keep({sort: this.sort.value})}},
      ...model.get('orders').map(([key, label]) => el('option', {value: key}, label)),
    );
    this.sort.value = model.get('sort');
    this.count = el('span', {className: 'ai-dim', role: 'status'});
    this.bar = el('progress', {max: 1, value: 0, 'aria-label': 'Scenes measured'});
    this.room = el('div', {className: 'ag-room', role: 'list', 'aria-label': 'Scenes'});
    this.scroller = el(
      'div',
      {className: 'ag-scroll', tabIndex: -1, on: {scroll: () => this.draw(), keydown: e => this.onKey(e)}},
      this.room,
    );
    this.scroller.style.height = model.get('height');
    this.empty = el('div', {className: 'ag-empty ai-dim', hidden: true}, 'No scene has this in its name.');
    root.replaceChildren(
      el(
        'header',
        {className: 'ai-head'},
        el('div', {className: 'ai-title'}, el('strong', {}, model.get('title')), this.count),
        el(
          'div',
          {className: 'ai-fields ag-fields'},
          this.bar,
          el('span', {className: 'ai-field'}, el('label', {htmlFor: `${id}t`}, 'Filter'), this.text),
          el('span', {className: 'ai-field'}, el('label', {htmlFor: `${id}s`}, 'Sort by'), this.sort),
        ),
      ),
      this.empty,
      this.scroller,
    );
  }

  // Filter and sort the scenes; those without a measure come last.
  arrange() {
    const words = this.model.get('text').toLowerCase().split(/\s+/).filter(Boolean);
    const key = this.model.get('sort');
    const down = this.model.get('orders').find(o => o[0] === key)?.[2] ? -1 : 1;
    const value = o => this.cards.get(o.index)?.values?.[key] ?? null;
    this.list = this.items.filter(o => words.every(w => o.text.includes(w)));
    if (key !== 'name')
      this.list.sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        return p === null || q === null
          ? (p === null) - (q === null) || a.index - b.index
          : down * (p - q) || a.index - b.index;
      });
    this.empty.hidden = this.list.length > 0;
    this.draw();
  }
  draw() {
    const width = this.scroller.clientWidth - 2;
    const height = this.scroller.clientHeight;
    if (width < 50) return; // hidden, or not laid out yet
    const cols = Math.max(1, Math.floor((width + GAP_PX) / (170 + GAP_PX)));
    const side = (width - (cols - 1) * GAP_PX) / cols;
    const row = side * 0.75 + CAPTION_PX + GAP_PX;
    Object.assign(this, {cols, row});
    this.room.style.height = `${Math.ceil(this.list.length / cols) * row}px`;
    const top = this.scroller.scrollTop;
    const from = Math.max(0, (Math.floor(top / row) - 1) * cols);
    const to = Math.min(this.list.length, (Math.ceil((top + height) / row) + 1) * cols);
    this.visible = this.list.slice(from, to);
    const wanted = new Set(this.visible.map(o => o.index));
    for (const [index, node] of this.nodes)
      if (!wanted.has(index)) {
        node.remove();
        this.nodes.delete(index);
      }
    this.visible.forEach((o, k) => {
      const rank = from + k;
      let node = this.nodes.get(o.index);
      if (!node) {
        node = this.card(o);
        this.nodes.set(o.index, node);
      }
      // a screen reader and Tab go through the cards in the order of the grid
      if (this.room.children[k] !== node) this.room.insertBefore(node, this.room.children[k] ?? null);
      const x = (rank % cols) * (side + GAP_PX);
      const y = Math.floor(rank / cols) * row;
      node.style.cssText = `width:${side}px;height:${row - GAP_PX}px;transform:translate(${x}px,${y}px)`;
      node.place = rank;
      node.tabIndex = rank === clamp(this.focus, from, to - 1) ? 0 : -1;
      node.setAttribute('aria-posinset', rank + 1);
      node.setAttribute('aria-setsize', this.list.length);
    });
    const filtered = this.list.length === this.items.length ? '' : `${this.list.length} of `;
    const measured = this.cards.size < this.items.length ? ` · ${this.cards.size} measured` : '';
    this.count.textContent = `${filtered}${this.items.length} scenes${measured}`;
    this.bar.value = this.cards.size / Math.max(1, this.items.length);
    this.bar.hidden = this.cards.size === this.items.length;
  }
  card(o) {
    const node = el(
      'button',
      {
        type: 'button',
        className: 'ag-card',
        role: 'listitem',
        on: {
          click: () => this.open(o),
          focus: () => {
            this.focus = node.place;
          },
        },
      },
      el('span', {className: 'ag-picture'}),
      el('span', {className: 'ag-name'}, o.name),
      el('span', {className: 'ag-values ai-dim'}, '…'),
    );
    this.fill(o, node);
    return node;
  }
  fill(o, node) {
    const card = this.cards.get(o.index);
    node.title = o.name;
    if (!card) {
      node.setAttribute('aria-label', `${o.name}, not measured yet`);
      return;
    }
    const [picture, , values] = node.children;
    const text =
      card.error ??
      this.model
        .get('captions')
        .map(([key, label]) => `${label} ${shown(card.values[key])}`)
        .join(' · ');
    if (card.url) picture.replaceChildren(el('img', {src: card.url, alt: '', decoding: 'async', draggable: false}));
    values.textContent = card.error ? 'cannot be used' : text;
    node.classList.toggle('ag-bad', !!card.error);
    node.title =
      card.error ??
      `${o.name}\n${Object.entries(card.values)
        .map(([k, v]) => `${k} ${shown(v)}`)
        .join('\n')}`;
    node.setAttribute('aria-label', `${o.name}, ${text}`);
  }
  onKey(e) {
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.cols, ArrowDown: this.cols, Home: -1e9, End: 1e9}[e.key];
    if (!by || e.altKey || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    this.focus = clamp(this.focus + by, 0, this.list.length - 1);
    const y = Math.floor(this.focus / this.cols) * this.row;
    const {scrollTop, clientHeight} = this.scroller;
    if (y < scrollTop) this.scroller.scrollTop = y;
    else if (y + this.row > scrollTop + clientHeight) this.scroller.scrollTop = y + this.row - clientHeight;
    this.draw();
    this.nodes.get(this.list[this.focus]?.index)?.focus({preventScroll: true});
  }

  // Ask for the next few cards, those in view first.
  ask() {
    if (this.gone || this.asked.size) return;
    const open = o => !this.cards.has(o.index);
    const hidden = !this.scroller.clientWidth; // an inspector is open: it has the kernel for itself
    const next = hidden
      ? []
      : [...(this.visible ?? []).filter(open), ...this.list.filter(open), ...this.items.filter(open)];
    const some = [...new Set(next.map(o => o.index))].slice(0, BATCH);
    if (some.length) {
      this.asked = new Set(some);
      try {
        this.model.send({type: 'want', some});
      } catch {
        return this.lost();
      }
      this.later = setTimeout(() => this.lost(), 60000);
    } else if (this.cards.size < this.items.length) this.later = setTimeout(() => this.ask(), 300);
  }
  lost() {
    this.asked.clear();
    this.count.textContent = 'The kernel does not answer: run the cell again';
  }
  receive(message, buffers) {
    if (message.type !== 'card') return;
    const bytes = buffers[0];
    const known = this.cards.get(message.at);
    if (known) return;
    this.cards.set(message.at, {
      values: message.values,
      error: message.error,
      url: bytes?.byteLength ? URL.createObjectURL(new Blob([bytes], {type: 'image/jpeg'})) : null,
    });
    const node = this.nodes.get(message.at);
    if (node) this.fill(this.items[message.at], node);
    this.asked.delete(message.at);
    const wait = this.cards.size === this.items.length ? 0 : 400; // ms: cards move at most so often
    this.tidy ??= setTimeout(() => {
      this.tidy = null;
      if (!this.gone) this.arrange();
    }, wait);
    if (!this.asked.size) {
      clearTimeout(this.later);
      this.ask();
    }
  }
  open(o) {
    const card = this.cards.get(o.index);
    if (card?.error) {
      this.count.textContent = card.error;
      return;
    }
    try {
      this.model.send({type: 'open', at: o.index, list: this.list.map(k => k.index)});
    } catch {
      this.lost();
    }
  }
}

export default {
  render({model, el: root}) {
    const gallery = new Gallery(model, root);
    root.gallery = gallery;
    return () => gallery.destroy();
  },
};
