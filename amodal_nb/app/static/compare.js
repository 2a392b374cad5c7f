// The one toolbar of several linked inspectors, and where their fusions differ.

import {actOnKey, el, suppressShortcuts} from './elements.js';
import {joinGroup, leaveGroup, linkedTo} from './groups.js';
import {toolbar} from './toolbar.js';
import {traits} from './traits.js';
import {SHARED} from './views.js';

// A pixel differs if its colour does by more than this, as the mean of the channels, 0..1.
const VISIBLE_DIFFERENCE = 0.02;
// Of more differing pairs than this, the others are folded.
const SHOWN_PAIRS = 8;

class CompareBar {
  constructor(model, root) {
    Object.assign(this, {model, root, id: `ac${Math.random().toString(36).slice(2, 8)}`, unfolded: new WeakSet()});
    this.build();
    joinGroup(this);
    for (const k of SHARED) this.on(`change:${k}`, () => this.refresh());
    this.refresh();
  }

  inspectors() {
    return linkedTo(this).filter(o => o.fusion);
  }

  has(kind) {
    return this.inspectors().every(o => o.has(kind));
  }

  build() {
    const {root} = this;
    root.classList.add('amodal-inspector', 'ai-compare');
    suppressShortcuts(root);
    root.addEventListener('keydown', e => this.onKey(e));
    this.summary = el('div', {className: 'ai-summary', role: 'status'});
    root.replaceChildren(
      el('div', {className: 'ai-title'}, el('strong', {}, this.get('title')), this.summary),
      this.buildViews(),
      this.buildFields(),
    );
  }

  // Keys do what they do in the first inspector; corrections are of one inspector, so none is undone here.
  onKey(e) {
    const [first] = this.inspectors();
    if (first && !e.ctrlKey && !e.metaKey) actOnKey(e, first.keyAction(e));
  }

  refresh() {
    this.refreshToolbar();
    const [first, ...others] = this.inspectors();
    const key = [first, ...others].map(o => `${o?.meta.title} ${o?.fusion.version}`).join();
    if (this.summarized === key) return;
    this.summarized = key;
    this.summary.replaceChildren(...others.map(o => this.describe(first, o)));
  }

  // Say in which pairs a fusion differs from the first one, and in how much of the mask.
  describe(first, other) {
    const pairs = other.fusion.differingPairs(first.fusion);
    const which = pairs.length > 1 ? 'pairs' : 'pair';
    const {title} = first.meta;
    const text = pairs.length ? ` differs from ${title} in the ${which} ` : ` has the order of ${title}`;
    const share = other.fusion.differingShare(first.fusion, VISIBLE_DIFFERENCE);
    const size = share === null ? '' : ` · ${(100 * share).toFixed(1)}% of the mask looks different`;
    return el('span', {}, el('strong', {}, other.meta.title), text, ...this.pairList(pairs, other), size);
  }

  // Buttons of pairs; where there are many, the rest is folded, and stays as a person left it.
  pairList(pairs, owner) {
    const buttons = pairs.map(([a, b]) => this.pairButton(a, b));
    if (pairs.length <= SHOWN_PAIRS) return buttons;
    const rest = el('span', {className: 'ai-rest'}, ...buttons.splice(SHOWN_PAIRS));
    const more = el('button', {type: 'button', className: 'ai-more'});
    const show = () => {
      rest.hidden = !this.unfolded.has(owner);
      more.ariaExpanded = String(!rest.hidden);
      more.textContent = rest.hidden ? `${pairs.length - SHOWN_PAIRS} more` : 'fewer';
    };
    more.addEventListener('click', () => {
      if (!this.unfolded.delete(owner)) this.unfolded.add(owner);
      show();
    });
    show();
    return [...buttons, more, rest];
  }

  // A pair that leads to the view of the difference.
  pairButton(a, b) {
    const title = `Show the difference, and choose ${a}`;
    const show = () => this.set({slot: a, ...(this.has('difference') ? {view: 'difference'} : {})});
    return el('button', {type: 'button', className: 'ai-pick', title, on: {click: show}}, `${a}–${b}`);
  }

  destroy() {
    leaveGroup(this);
    this.ignoreAll();
  }
}
Object.assign(CompareBar.prototype, traits, toolbar);

export default {
  render({model, el: root}) {
    const bar = new CompareBar(model, root);
    root.compare = bar;
    return () => bar.destroy();
  },
};
