// The gallery: a grid that holds only the cards in view. It asks the kernel for a few cards at a time, those in view
// first.

import {clamp, el, showNotice, suppressShortcuts} from './elements.js';
import {cards} from './gallery_cards.js';
import {fields} from './gallery_fields.js';
import {tags} from './gallery_tags.js';

// Cards that are asked for at once, at most, and ms that they may take, as a click waits for them; px between cards,
// and px of the text under a picture; ms in which cards keep their places after somebody pointed at them.
const BATCH = 6;
const BATCH_MS = 1000;
const GAP_PX = 10;
const CAPTION_PX = 68;
const SETTLE_MS = 1500;

// Traits that decide which cards are shown, and where.
const ARRANGED_BY = ['text', 'sort', 'show', 'limits', 'tags', 'size'];

class Gallery {
  constructor(model, root) {
    Object.assign(this, {model, root, cards: new Map(), nodes: new Map(), asked: new Set()});
    Object.assign(this, {focus: 0, touched: 0, batch: 1});
    this.items = model.get('items').map((name, index) => ({name, index, text: name.toLowerCase()}));
    this.build();
    this.onMessage = (message, buffers) => this.receive(message, buffers);
    model.on('msg:custom', this.onMessage);
    this.onChange = () => this.arrange();
    for (const k of ARRANGED_BY) model.on(`change:${k}`, this.onChange);
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.scroller);
    this.arrange();
    if (this.get('alone')) this.open(this.list[0]);
    else this.ask();
  }
  destroy() {
    this.model.off('msg:custom', this.onMessage);
    for (const k of ARRANGED_BY) this.model.off(`change:${k}`, this.onChange);
    this.sized.disconnect();
    clearTimeout(this.later);
    clearTimeout(this.tidy);
    for (const o of this.cards.values()) URL.revokeObjectURL(o.url);
    this.gone = true;
  }

  get(k) {
    return this.model.get(k);
  }

  // Set traits; without a kernel they change in this page only.
  keep(values) {
    for (const [k, v] of Object.entries(values)) this.model.set(k, v);
    try {
      this.model.save_changes();
    } catch {
      /* without a kernel the page keeps the values */
    }
  }

  build() {
    const {root} = this;
    this.id = `ag${Math.random().toString(36).slice(2, 8)}`;
    root.classList.add('amodal-gallery');
    root.style.setProperty('--height', this.get('height'));
    suppressShortcuts(root);
    this.count = el('span', {className: 'ai-dim', role: 'status'});
    this.bar = el('progress', {max: 1, value: 0, 'aria-label': 'Scenes measured'});
    this.notice = el('div', {className: 'ai-notice', role: 'status', hidden: true});
    this.room = el('div', {className: 'ag-room', role: 'list', 'aria-label': 'Scenes'});
    const touch = () => (this.touched = Date.now());
    this.scroller = el(
      'div',
      {
        className: 'ag-scroll',
        tabIndex: -1,
        on: {scroll: () => this.draw(), keydown: e => this.onKey(e), pointermove: touch, focusin: touch},
      },
      this.room,
    );
    this.empty = el('div', {className: 'ag-empty ai-dim', hidden: true}, 'No scene passes the filters.');
    const title = el('div', {className: 'ai-title'}, el('strong', {}, this.get('title')), this.count, this.bar);
    const header = el('div', {className: 'ai-head'}, title, this.buildFields(this.id));
    root.replaceChildren(header, this.limits, this.notice, this.empty, this.scroller);
  }

  // Filter and sort the scenes; those without a measure come last, and after them those that were not measured yet.
  arrange() {
    const words = this.get('text').toLowerCase().split(/\s+/).filter(Boolean);
    const key = this.get('sort');
    const down = this.get('orders').find(o => o[0] === key)?.[2] ? -1 : 1;
    const value = o => this.cards.get(o.index)?.values[key] ?? null;
    const known = o => (value(o) !== null ? 0 : this.cards.has(o.index) ? 1 : 2);
    this.list = this.items.filter(o => words.every(w => o.text.includes(w)) && this.passes(o));
    if (key !== 'name')
      this.list.sort((a, b) => known(a) - known(b) || down * (value(a) - value(b)) || a.index - b.index);
    this.empty.hidden = this.list.length > 0;
    this.refreshFields();
    for (const [index, node] of this.nodes) this.fill(this.items[index], node);
    this.draw();
  }

  draw() {
    const width = this.scroller.clientWidth - 2;
    const height = this.scroller.clientHeight;
    if (width < 50) return this.leave(); // hidden, or not laid out yet
    const cols = Math.max(1, Math.floor((width + GAP_PX) / (this.get('size') + GAP_PX)));
    const side = (width - (cols - 1) * GAP_PX) / cols;
    const row = side * this.ratio() + CAPTION_PX + GAP_PX;
    Object.assign(this, {cols, row});
    this.room.style.height = `${Math.ceil(this.list.length / cols) * row}px`;
    if (this.returning !== undefined) this.comeBack();
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
    const chosen = clamp(this.focus, from, to - 1);
    this.visible.forEach((o, k) => this.put(o, from + k, k, {side, chosen}));
    this.showCount();
    if (this.refocus === undefined) return;
    this.nodes.get(this.refocus)?.firstChild.focus({preventScroll: true});
    this.refocus = undefined;
  }
  // Height over width of most pictures, so that they fill their cards.
  ratio() {
    const known = [...this.cards.values()].filter(o => o.ratio).map(o => o.ratio);
    return known.length ? clamp(known.sort((a, b) => a - b)[known.length >> 1], 0.5, 1.2) : 0.75;
  }
  put(o, rank, k, {side, chosen}) {
    let node = this.nodes.get(o.index);
    if (!node) {
      node = this.card(o);
      this.nodes.set(o.index, node);
    }
    // a screen reader and Tab go through the cards in the order of the grid
    if (this.room.children[k] !== node) this.room.insertBefore(node, this.room.children[k] ?? null);
    const x = (rank % this.cols) * (side + GAP_PX);
    const y = Math.floor(rank / this.cols) * this.row;
    node.style.cssText = `width:${side}px;height:${this.row - GAP_PX}px;transform:translate(${x}px,${y}px)`;
    node.place = rank;
    node.firstChild.tabIndex = rank === chosen ? 0 : -1;
    node.setAttribute('aria-posinset', rank + 1);
    node.setAttribute('aria-setsize', this.list.length);
  }
  showCount() {
    const filtered = this.list.length === this.items.length ? '' : `${this.list.length} of `;
    const measured = this.cards.size < this.items.length ? ` · ${this.cards.size} measured` : '';
    const broken = [...this.cards.values()].filter(o => o.error).length;
    const unusable = broken ? ` · ${broken} cannot be used` : '';
    const scenes = `${this.items.length} scene${this.items.length > 1 ? 's' : ''}`;
    const text = `${this.openingText()}${filtered}${scenes}${measured}${unusable}`;
    if (this.count.textContent !== text) this.count.textContent = text;
    this.bar.value = this.cards.size / Math.max(1, this.items.length);
    this.bar.hidden = this.cards.size === this.items.length;
  }

  // What a click waits for: the kernel answers in the order in which it was asked.
  openingText() {
    if (!this.opening) return '';
    const n = this.asked.size;
    const before = n ? ` after ${n} more measurement${n > 1 ? 's' : ''}` : '';
    return `opening ${this.opening.name}${before} · `;
  }

  onKey(e) {
    if (e.altKey || e.ctrlKey || e.metaKey) return;
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.cols, ArrowDown: this.cols, Home: -1e9, End: 1e9}[e.key];
    const node = e.target.closest('.ag-card');
    if (e.key === 't' && node) this.editTags(this.list[node.place], node);
    else if (!by) return;
    else this.focusOn(clamp(this.focus + by, 0, this.list.length - 1));
    e.preventDefault();
  }
  focusOn(rank) {
    this.focus = rank;
    this.refocus = this.list[rank]?.index;
    this.scrollTo(rank);
    this.draw();
  }
  scrollTo(rank) {
    const y = Math.floor(rank / this.cols) * this.row;
    const {scrollTop, clientHeight} = this.scroller;
    if (y < scrollTop) this.scroller.scrollTop = y;
    else if (y + this.row > scrollTop + clientHeight) this.scroller.scrollTop = y + this.row - clientHeight;
  }
  // A scene is shown in place of the grid: its card gives the focus to the button that leads back, once that is there.
  leave(tries = 30) {
    if (!this.opening || this.gone) return;
    const back = this.root.parentElement?.querySelector('.jupyter-button');
    if (!back && tries) return setTimeout(() => this.leave(tries - 1), 100);
    this.markOpening(null);
    if (document.activeElement === document.body) back?.focus({preventScroll: true});
  }
  // The scene that was open has the focus again, where the grid still shows it.
  comeBack() {
    const rank = this.list.findIndex(o => o.index === this.returning);
    this.returning = undefined;
    if (rank < 0) return;
    this.focus = rank;
    this.refocus = this.list[rank].index;
    this.scrollTo(rank);
  }

  // Ask for the next few cards, those in view first.
  ask() {
    if (this.gone || this.asked.size) return;
    const open = o => !this.cards.has(o.index);
    const hidden = this.opening || !this.scroller.clientWidth; // the inspector has the kernel for itself
    const next = hidden
      ? []
      : [...(this.visible ?? []).filter(open), ...this.list.filter(open), ...this.items.filter(open)];
    const some = [...new Set(next.map(o => o.index))].slice(0, this.batch);
    if (some.length) {
      this.asked = new Set(some);
      this.askedAt = Date.now();
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
    showNotice(this.notice, 'The kernel does not answer: run the cell again');
  }
  receive(message, buffers) {
    if (message.type === 'failed') return showNotice(this.notice, message.text);
    if (message.type === 'focus') {
      this.returning = message.at;
      return this.draw();
    }
    if (message.type !== 'card' || this.cards.has(message.at)) return;
    const url = buffers[0]?.byteLength ? URL.createObjectURL(new Blob([buffers[0]], {type: 'image/jpeg'})) : null;
    this.cards.set(message.at, {...message, url});
    const node = this.nodes.get(message.at);
    if (node) this.fill(this.items[message.at], node);
    this.asked.delete(message.at);
    this.showCount();
    this.settle();
    if (!this.asked.size) {
      clearTimeout(this.later);
      const fitting = Math.floor((BATCH_MS * this.batch) / (Date.now() - this.askedAt + 1));
      this.batch = clamp(fitting, 1, BATCH);
      this.ask();
    }
  }
  // Put the cards where they belong, but not under somebody's pointer.
  settle() {
    const busy = this.get('sort') === 'name' ? 0 : this.touched + SETTLE_MS - Date.now();
    const wait = Math.max(busy, this.cards.size === this.items.length ? 0 : 400);
    this.tidy ??= setTimeout(() => {
      this.tidy = null;
      if (this.gone) return;
      if (this.get('sort') !== 'name' && Date.now() < this.touched + SETTLE_MS) this.settle();
      else this.arrange();
    }, wait);
  }
  // Say at once on the card of a scene, and in the head, that it is being opened; null: none is.
  markOpening(o) {
    const changed = [this.opening, o].filter(Boolean);
    this.opening = o;
    for (const k of changed) if (this.nodes.has(k.index)) this.fill(k, this.nodes.get(k.index));
    this.showCount();
  }
  open(o) {
    const card = this.cards.get(o.index);
    if (card?.error) {
      showNotice(this.notice, `${o.name}: ${card.error}`);
      return;
    }
    try {
      this.model.send({type: 'open', at: o.index, list: this.list.map(k => k.index)});
      this.markOpening(o);
    } catch {
      this.lost();
    }
  }
}
Object.assign(Gallery.prototype, cards, fields, tags);

export default {
  render({model, el: root}) {
    const gallery = new Gallery(model, root);
    root.gallery = gallery;
    return () => gallery.destroy();
  },
};
