// The gallery: a grid of which only what is seen exists. It asks the kernel for a few cards at a time, those in view first.

const BATCH = 6, GAP = 10, CAPTION = 44;

function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k === 'on') for (const [event, f] of Object.entries(v)) e.addEventListener(event, f);
    else if (k in e && !k.startsWith('aria')) e[k] = v;
    else if (v !== null && v !== undefined) e.setAttribute(k, v);
  }
  e.append(...children.filter(o => o !== null && o !== undefined));
  return e;
}
const shown = v => v === null || v === undefined ? '–' : Number.isInteger(v) ? String(v) : v.toFixed(3);

class Gallery {
  constructor(model, root) {
    Object.assign(this, {model, root, cards: new Map(), nodes: new Map(), asked: new Set(), focus: 0});
    this.items = model.get('items').map((name, at) => ({name, at, text: name.toLowerCase()}));
    this.build();
    this.onMessage = (message, buffers) => this.receive(message, buffers);
    model.on('msg:custom', this.onMessage);
    this.onChange = () => { this.text.value = model.get('text'); this.sort.value = model.get('sort'); this.arrange(); };
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
    const {model, root} = this, id = `ag${Math.random().toString(36).slice(2, 8)}`;
    root.classList.add('amodal-gallery');
    root.setAttribute('data-lm-suppress-shortcuts', 'true');
    const keep = values => { for (const [k, v] of Object.entries(values)) model.set(k, v); try { model.save_changes(); } catch { /* it stays as it is here */ } };
    this.text = el('input', {type: 'search', id: `${id}t`, placeholder: 'part of a name', value: model.get('text'), on: {input: () => keep({text: this.text.value})}});
    this.sort = el('select', {id: `${id}s`, on: {change: () => keep({sort: this.sort.value})}}, ...model.get('orders').map(([key, label]) => el('option', {value: key}, label)));
    this.sort.value = model.get('sort');
    this.count = el('span', {className: 'ai-dim', role: 'status'});
    this.bar = el('progress', {max: 1, value: 0, 'aria-label': 'Scenes measured'});
    this.room = el('div', {className: 'ag-room', role: 'list', 'aria-label': 'Scenes'});
    this.scroller = el('div', {className: 'ag-scroll', tabIndex: -1, on: {scroll: () => this.draw(), keydown: e => this.key(e)}}, this.room);
    this.scroller.style.height = model.get('height');
    this.empty = el('div', {className: 'ag-empty ai-dim', hidden: true}, 'No scene has this in its name.');
    root.replaceChildren(el('header', {className: 'ai-head'},
      el('div', {className: 'ai-title'}, el('strong', {}, model.get('title')), this.count),
      el('div', {className: 'ai-fields ag-fields'}, this.bar, el('span', {className: 'ai-field'}, el('label', {htmlFor: `${id}t`}, 'Filter'), this.text),
        el('span', {className: 'ai-field'}, el('label', {htmlFor: `${id}s`}, 'Sort by'), this.sort))), this.empty, this.scroller);
  }

  arrange() { // what is shown, in which order; what is not measured yet comes last
    const words = this.model.get('text').toLowerCase().split(/\s+/).filter(Boolean), key = this.model.get('sort');
    const down = this.model.get('orders').find(o => o[0] === key)?.[2] ? -1 : 1, value = o => this.cards.get(o.at)?.values?.[key] ?? null;
    this.list = this.items.filter(o => words.every(w => o.text.includes(w)));
    if (key !== 'name') this.list.sort((a, b) => {
      const [p, q] = [value(a), value(b)];
      return p === null || q === null ? (p === null) - (q === null) || a.at - b.at : down * (p - q) || a.at - b.at;
    });
    this.key_ = key;
    this.empty.hidden = this.list.length > 0;
    this.draw();
  }
  draw() {
    const width = this.scroller.clientWidth - 2, height = this.scroller.clientHeight;
    if (width < 50) return; // hidden, or not laid out yet
    const cols = Math.max(1, Math.floor((width + GAP) / (170 + GAP))), side = (width - (cols - 1) * GAP) / cols, row = side * .75 + CAPTION + GAP;
    Object.assign(this, {cols, row});
    this.room.style.height = `${Math.ceil(this.list.length / cols) * row}px`;
    const top = this.scroller.scrollTop, from = Math.max(0, (Math.floor(top / row) - 1) * cols), to = Math.min(this.list.length, (Math.ceil((top + height) / row) + 1) * cols);
    this.seen = this.list.slice(from, to);
    const wanted = new Set(this.seen.map(o => o.at));
    for (const [at, node] of this.nodes) if (!wanted.has(at)) { node.remove(); this.nodes.delete(at); }
    this.seen.forEach((o, k) => {
      const at = from + k;
      let node = this.nodes.get(o.at);
      if (!node) { node = this.card(o); this.nodes.set(o.at, node); }
      if (this.room.children[k] !== node) this.room.insertBefore(node, this.room.children[k] ?? null); // read, and reached by Tab, in the order in which they are seen
      node.style.cssText = `width:${side}px;height:${row - GAP}px;transform:translate(${(at % cols) * (side + GAP)}px,${Math.floor(at / cols) * row}px)`;
      node.place = at;
      node.tabIndex = at === clampTo(this.focus, from, to - 1) ? 0 : -1;
      node.setAttribute('aria-posinset', at + 1); node.setAttribute('aria-setsize', this.list.length);
    });
    this.count.textContent = `${this.list.length === this.items.length ? '' : `${this.list.length} of `}${this.items.length} scenes${this.cards.size < this.items.length ? ` · ${this.cards.size} measured` : ''}`;
    this.bar.value = this.cards.size / Math.max(1, this.items.length);
    this.bar.hidden = this.cards.size === this.items.length;
  }
  card(o) {
    const node = el('button', {type: 'button', className: 'ag-card', role: 'listitem', on: {click: () => this.open(o), focus: () => { this.focus = node.place; }}},
      el('span', {className: 'ag-picture'}), el('span', {className: 'ag-name'}, o.name), el('span', {className: 'ag-values ai-dim'}, '…'));
    this.fill(o, node);
    return node;
  }
  fill(o, node) {
    const card = this.cards.get(o.at);
    node.title = o.name;
    if (!card) { node.setAttribute('aria-label', `${o.name}, not measured yet`); return; }
    const [picture, , values] = node.children, said = card.error ?? this.model.get('captions').map(([key, label]) => `${label} ${shown(card.values[key])}`).join(' · ');
    if (card.url) picture.replaceChildren(el('img', {src: card.url, alt: '', decoding: 'async', draggable: false}));
    values.textContent = card.error ? 'cannot be used' : said;
    node.classList.toggle('ag-bad', !!card.error);
    node.title = card.error ?? `${o.name}\n${Object.entries(card.values).map(([k, v]) => `${k} ${shown(v)}`).join('\n')}`;
    node.setAttribute('aria-label', `${o.name}, ${said}`);
  }
  key(e) {
    const by = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.cols, ArrowDown: this.cols, Home: -1e9, End: 1e9}[e.key];
    if (!by || e.altKey || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    this.focus = clampTo(this.focus + by, 0, this.list.length - 1);
    const y = Math.floor(this.focus / this.cols) * this.row, {scrollTop, clientHeight} = this.scroller;
    if (y < scrollTop) this.scroller.scrollTop = y;
    else if (y + this.row > scrollTop + clientHeight) this.scroller.scrollTop = y + this.row - clientHeight;
    this.draw();
    this.nodes.get(this.list[this.focus]?.at)?.focus({preventScroll: true});
  }

  ask() { // the next few: in view first
    if (this.gone || this.asked.size) return;
    const open = o => !this.cards.has(o.at);
    const hidden = !this.scroller.clientWidth; // an inspector is open: the kernel is left to it
    const next = hidden ? [] : [...(this.seen ?? []).filter(open), ...this.list.filter(open), ...this.items.filter(open)];
    const some = [...new Set(next.map(o => o.at))].slice(0, BATCH);
    if (some.length) {
      this.asked = new Set(some);
      try { this.model.send({type: 'want', some}); } catch { return this.lost(); }
      this.later = setTimeout(() => this.lost(), 60000);
    } else if (this.cards.size < this.items.length) this.later = setTimeout(() => this.ask(), 300);
  }
  lost() { this.asked.clear(); this.count.textContent = 'The kernel does not answer: run the cell again'; }
  receive(message, buffers) {
    if (message.type !== 'card') return;
    const bytes = buffers[0], known = this.cards.get(message.at);
    if (known) return;
    this.cards.set(message.at, {values: message.values, error: message.error, url: bytes?.byteLength ? URL.createObjectURL(new Blob([bytes], {type: 'image/jpeg'})) : null});
    const node = this.nodes.get(message.at);
    if (node) this.fill(this.items[message.at], node);
    this.asked.delete(message.at);
    this.tidy ??= setTimeout(() => { this.tidy = null; if (!this.gone) this.arrange(); }, this.cards.size === this.items.length ? 0 : 400); // cards do not jump at every turn
    if (!this.asked.size) { clearTimeout(this.later); this.ask(); }
  }
  open(o) {
    const card = this.cards.get(o.at);
    if (card?.error) { this.count.textContent = card.error; return; }
    try { this.model.send({type: 'open', at: o.at, list: this.list.map(k => k.at)}); } catch { this.lost(); }
  }
}
const clampTo = (v, low, high) => Math.min(high, Math.max(low, v));

export default {
  render({model, el: root}) {
    const gallery = new Gallery(model, root);
    root.gallery = gallery;
    return () => gallery.destroy();
  },
};
