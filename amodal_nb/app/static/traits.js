// The traits of a widget, some of which linked widgets share.

import {linkedTo} from './groups.js';
import {SHARED} from './views.js';

export const traits = {
  get(k) {
    return this.model.get(k);
  },

  // Set traits; without a kernel they change in this page only.
  set(values, save = true) {
    for (const [k, v] of Object.entries(values)) this.model.set(k, v);
    if (save)
      try {
        this.model.save_changes();
      } catch {
        /* `request` reports a lost kernel where that matters */
      }
    const shared = Object.entries(values).filter(([k]) => SHARED.includes(k));
    for (const o of linkedTo(this)) for (const [k, v] of shared) o.model.set(k, v);
  },

  // Call f when a trait changes, until `ignoreAll`.
  on(k, f) {
    this.model.on(k, f);
    (this.bound ??= []).push([k, f]);
  },

  ignoreAll() {
    for (const [k, f] of this.bound ?? []) this.model.off(k, f);
  },
};
