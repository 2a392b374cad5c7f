// The weight-map inspector: all that is drawn is computed here, so it needs no kernel, and outlives one.
// Python sees the traits of the model; nbs/9_app/01_inspector.ipynb explains both sides.

import {camera} from './camera.js';
import {controls} from './controls.js';
import {Fusion} from './fusion.js';
import {input} from './input.js';
import {kernel} from './kernel.js';
import {orderPanel} from './order_panel.js';
import {Painter} from './painter.js';
import {readout} from './readout.js';
import {stage} from './stage.js';
import {SHARED} from './views.js';

const groups = (globalThis.amodalInspectors ??= new Map());

class Inspector {
  constructor(model, root) {
    Object.assign(this, {model, root});
    this.fusion = new Fusion(model.get('_meta'), model.get('_data'));
    this.painter = new Painter(this.fusion);
    this.meta = this.fusion.meta;
    this.pointer = null;
    this.build();
    this.listen();
    this.recompute();
    this.join();
  }

  get(k) {
    return this.model.get(k);
  }

  // Set traits; without a kernel they change in this page only.
  set(values, save = true) {
    for (const [k, v] of Object.entries(values)) this.model.set(k, v);
    if (save)
      try {
        this.model.save_changes();
      } catch {
        /* `request` reports a lost kernel where that matters */
      }
    const shared = Object.fromEntries(Object.entries(values).filter(([k]) => SHARED.includes(k)));
    if (Object.keys(shared).length)
      this.updateLinked(o => {
        for (const [k, v] of Object.entries(shared)) o.model.set(k, v);
      });
  }

  updateLinked(f) {
    for (const o of groups.get(this.get('group')) ?? []) if (o !== this) f(o);
  }

  join() {
    const group = this.get('group');
    if (group) groups.set(group, [...(groups.get(group) ?? []), this]);
  }

  destroy() {
    const group = this.get('group');
    if (group)
      groups.set(
        group,
        (groups.get(group) ?? []).filter(o => o !== this),
      );
    this.sized.disconnect();
    this.model.off('msg:custom', this.onMessage);
    for (const [k, f] of this.bound) this.model.off(k, f);
    clearTimeout(this.waiting);
  }
}
Object.assign(Inspector.prototype, camera, controls, input, stage, readout, orderPanel, kernel);

export default {
  render({model, el: root}) {
    const inspector = new Inspector(model, root);
    root.inspector = inspector; // for the tests, and the curious
    return () => inspector.destroy();
  },
};
