// The editor of a refitted photograph. The list of edits is its state: the picture is composited from it in this page,
// and Python's `edit_layers` makes the same picture of it. nbs/9_app/06_editor.ipynb explains both sides.

import {camera} from './camera.js';
import {editorControls} from './editor_controls.js';
import {editorInput} from './editor_input.js';
import {editorStage} from './editor_stage.js';
import {LayerStack} from './layer_stack.js';
import {applyEdit, isNeutral, isWithin, mergeEdits} from './placements.js';

class Editor {
  constructor(model, root) {
    Object.assign(this, {model, root, meta: model.get('_meta'), undone: [], selected: null, run: null});
    this.layers = new LayerStack(this.meta, model.get('_data'));
    this.build();
    this.listen();
    this.recompute();
    this.notifyOfEmptiness();
  }

  get(k) {
    return this.model.get(k);
  }

  // Set traits; without a kernel they change in this page only.
  set(values) {
    for (const [k, v] of Object.entries(values)) this.model.set(k, v);
    try {
      this.model.save_changes();
    } catch {
      /* the edits stay in this page, and can be copied */
    }
  }

  updateLinked() {}

  // Return the placements after these edits; the same objects as before where nothing changed.
  after(edits) {
    return edits.reduce(applyEdit, this.layers.start);
  }

  // Composite the picture that the traits ask for, and an edit that is not finished.
  recompute(draft = null) {
    this.placements = this.after(draft ? [...this.get('edits'), draft] : this.get('edits'));
    if (!this.chosen()) this.selected = null;
    const rect = this.layers.update(this.placements, this.get('shadows_follow'));
    if (rect) this.picture.getContext('2d').putImageData(this.image, 0, 0, ...this.dirty(rect));
    this.draw();
  }

  // Return a rectangle as `putImageData` takes it.
  dirty([left, top, right, bottom]) {
    return [left, top, right - left, bottom - top];
  }

  // Return the placement that is selected, or undefined.
  chosen() {
    return this.placements.find(p => p.id === this.selected);
  }

  select(id) {
    if (id === this.selected) return;
    this.selected = id;
    this.run = null;
    this.refresh();
    this.draw();
  }

  // Add an edit. One that continues a run of keys or of the wheel is merged with the last.
  commit(edit, continues = false) {
    const edits = this.get('edits');
    const run = continues ? `${edit.op} ${edit.layer}` : null;
    const last = run && run === this.run ? mergeEdits(edits.at(-1), edit) : edit;
    const next = [...(last === edit ? edits : edits.slice(0, -1)), ...(isNeutral(last) ? [] : [last])];
    const problem = this.problemOf(last, this.after(next));
    if (problem) {
      this.notify(problem);
      return this.recompute();
    }
    this.run = isNeutral(last) ? null : run;
    this.undone = [];
    this.setEdits(next);
  }

  // Return why `edit_layers` refuses what an edit leads to, or null.
  problemOf(edit, placements) {
    const {limits} = this.meta;
    const far = placements.find(p => !isWithin(limits, p));
    if (far || !isWithin(limits, edit)) return `${far?.name ?? edit.layer} cannot be moved, scaled or turned further.`;
    const gone = placements.find(p => !this.layers.isOnCanvas(p));
    return gone ? `Nothing of ${gone.name} would be left on the canvas. Move it less, or delete it.` : null;
  }

  setEdits(edits) {
    this.isOwnChange = true;
    this.set({edits});
    this.isOwnChange = false;
  }

  // Edits of this page or of Python: what was undone cannot follow edits that it did not come from.
  onEdits() {
    if (!this.isOwnChange) {
      this.undone = [];
      this.run = null;
    }
    this.recompute();
    this.refresh();
    this.notifyOfEmptiness();
  }

  // Tell that no object is left, as `edit_layers` does, until there is one again.
  notifyOfEmptiness() {
    const isEmpty = this.meta.layers.length > 0 && !this.placements.some(p => p.shown);
    if (isEmpty) this.notify('The edits leave no object, only the background. Undo brings the last one back.');
    else if (this.wasEmpty) this.notice.hidden = true;
    this.wasEmpty = isEmpty;
  }

  undo() {
    const edits = this.get('edits');
    if (!edits.length) return;
    this.run = null;
    this.undone.push(edits.at(-1));
    this.setEdits(edits.slice(0, -1));
  }

  redo() {
    const edit = this.undone.pop();
    if (!edit) return;
    this.run = null;
    this.setEdits([...this.get('edits'), edit]);
  }

  // Do something with the selected layer, if there is one.
  withChosen(f) {
    const placement = this.chosen();
    if (placement) f(placement, placement.id);
  }

  move(dx, dy) {
    this.withChosen((_, layer) => this.commit({op: 'move', layer, dx, dy}, true));
  }

  scale(by) {
    this.withChosen((_, layer) => this.commit({op: 'scale', layer, by}, true));
  }

  turn(degrees) {
    this.withChosen((_, layer) => this.commit({op: 'turn', layer, degrees}, true));
  }

  remove() {
    this.withChosen((_, layer) => this.commit({op: 'delete', layer}));
  }

  toggle(placement = this.chosen()) {
    if (placement) this.commit({op: placement.shown ? 'hide' : 'show', layer: placement.id});
  }

  // Move a layer towards the front, -1, or the back, 1.
  shift(by) {
    this.withChosen((placement, layer) => {
      const position = this.placements.indexOf(placement) + 1 + by;
      if (position >= 1 && position <= this.placements.length) this.commit({op: 'reorder', layer, position});
    });
  }

  // Lay a copy in front of the selected layer, and select it.
  duplicate() {
    this.withChosen((placement, layer) => {
      const isTaken = name => this.placements.some(p => p.name === name);
      const original = placement.name.replace(/ copy( \d+)?$/, '');
      let name = `${original} copy`;
      for (let k = 2; isTaken(name); k++) name = `${original} copy ${k}`;
      this.commit({op: 'duplicate', layer, name});
      this.select(name);
    });
  }

  destroy() {
    this.sized.disconnect();
    for (const [k, f] of this.bound) this.model.off(k, f);
  }
}
Object.assign(Editor.prototype, camera, editorControls, editorInput, editorStage);

export default {
  render({model, el: root}) {
    const editor = new Editor(model, root);
    root.editor = editor; // for the tests, and the curious
    return () => editor.destroy();
  },
};
