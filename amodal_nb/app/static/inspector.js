// The weight-map inspector: all that is drawn is computed here, so it needs no kernel, and outlives one.
// Python sees the traits of the model; nbs/9_app/01_inspector.ipynb explains both sides.

import {camera} from './camera.js';
import {controls} from './controls.js';
import {Fusion} from './fusion.js';
import {joinGroup, leaveGroup, linkedTo} from './groups.js';
import {input} from './input.js';
import {kernel} from './kernel.js';
import {layerPanel} from './layer_panel.js';
import {orderPanel} from './order_panel.js';
import {Painter} from './painter.js';
import {readout} from './readout.js';
import {saveView} from './save_view.js';
import {stage} from './stage.js';
import {toolbar} from './toolbar.js';
import {traits} from './traits.js';

class Inspector {
  constructor(model, root) {
    Object.assign(this, {model, root});
    this.fusion = new Fusion(model.get('_meta'), model.get('_data'));
    this.painter = new Painter(this.fusion);
    this.meta = this.fusion.meta;
    this.pointer = null;
    this.build();
    this.listen();
    joinGroup(this);
    this.findRivals();
    this.recompute();
  }

  // The other inspectors of the group.
  rivals() {
    return linkedTo(this).filter(o => o.fusion);
  }

  updateLinked(f) {
    this.rivals().forEach(f);
  }

  // The toolbars of the group.
  summaries() {
    return linkedTo(this).filter(o => !o.fusion);
  }

  // The view `difference` shows the distance to the first other inspector of the group.
  findRivals() {
    for (const o of [this, ...this.rivals()]) {
      const rival = o.rivals().find(k => String(k.meta.shown) === String(o.meta.shown));
      o.fusion.rival = rival?.fusion ?? null;
    }
  }

  destroy() {
    leaveGroup(this);
    this.findRivals();
    this.sized.disconnect();
    this.ignoreAll();
    clearTimeout(this.waiting);
  }
}
const parts = [traits, camera, toolbar, controls, input, stage, readout, layerPanel, orderPanel, saveView, kernel];
Object.assign(Inspector.prototype, ...parts);

export default {
  render({model, el: root}) {
    const inspector = new Inspector(model, root);
    root.inspector = inspector; // for the tests, and the curious
    return () => inspector.destroy();
  },
};
