// Messages to the kernel and from it, and the download that needs none.

import {downloadText, el} from './elements.js';

export const kernel = {
  // Send a request. If no answer comes, tell the person, and offer a download of what would be lost.
  request(type) {
    clearTimeout(this.waiting);
    try {
      this.model.send({type});
    } catch {
      return this.reportNoAnswer();
    }
    this.waiting = setTimeout(() => this.reportNoAnswer(), this.get('_patience'));
  },

  reportNoAnswer() {
    this.kernelLost = true;
    const n = this.get('corrections').length;
    const gone = 'The kernel does not answer; it is gone, or busy.';
    if (!n) return this.notify(`${gone} Looking and correcting still work here; download corrections to keep them.`);
    const kept = n === 1 ? 'The correction is' : `All ${n} corrections are`;
    const advice = `download ${n === 1 ? 'it' : 'them'} before you close it.`;
    this.notify(`${gone} ${kept} kept in this page only: ${advice}`, this.downloadButton('Download'));
  },

  downloadButton(text) {
    const className = 'ai-tool ai-primary';
    return el('button', {type: 'button', className, on: {click: () => this.download()}}, text);
  },

  save() {
    this.request('save');
  },

  receive(message) {
    if (message.type === 'exact') {
      if (message.key === this.exactKey(message.pixel)) {
        this.exact = message;
        this.showPixel();
      }
      return;
    }
    clearTimeout(this.waiting);
    if (this.kernelLost) this.notice.hidden = true; // it was only busy
    this.kernelLost = false;
    if (message.type === 'saved') this.notify(message.text, this.unsaveButton());
    if (message.type === 'unsaved') this.notify(message.text);
    if (message.type === 'failed') this.notify(message.text, this.downloadButton('Download instead'));
  },

  unsaveButton() {
    const properties = {type: 'button', className: 'ai-tool', on: {click: () => this.request('unsave')}};
    return el('button', properties, 'Undo saving');
  },

  // Return the scene file with the corrections, as `write_corrections` writes it.
  sceneJson() {
    const corrections = this.get('corrections').map(([front, back]) => ({front, back}));
    return {...this.meta.record, corrections};
  },

  download() {
    downloadText(`${this.meta.id}_scene.json`, JSON.stringify(this.sceneJson(), null, 1));
  },
};
