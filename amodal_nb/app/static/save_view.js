// The view as a file: a PNG, or a PDF with the same pixels.

import {downloadBlob} from './elements.js';
import {picturePdf} from './pdf.js';
import {OF_SLOT} from './views.js';

// Small pictures are enlarged by a whole factor to this side at least, so that numbers and outlines are drawn finely.
const MIN_SIDE_PX = 1024;
const RATIO = 2; // px of the file to one of the text

export const saveView = {
  // Draw the whole picture as it is shown, without pointer and pin.
  renderView() {
    const {shown, full, step} = this.meta;
    const k = Math.ceil(MIN_SIDE_PX / Math.max(...shown));
    const canvas = document.createElement('canvas');
    Object.assign(canvas, {width: shown[0] * k, height: shown[1] * k});
    const camera = {scale: k / step / RATIO, x: full[0] / 2, y: full[1] / 2};
    const [width, height] = [canvas.width / RATIO, canvas.height / RATIO];
    const copy = Object.assign(Object.create(this), {canvas, camera, width, height, ratio: RATIO, tile: null});
    copy.paintView(canvas.getContext('2d'));
    return canvas;
  },

  viewFileName(type) {
    const view = this.shownView();
    return `${this.meta.id}_${view}${OF_SLOT.includes(view) ? this.get('slot') : ''}.${type}`;
  },

  async saveView(type) {
    const canvas = this.renderView();
    const png = () => new Promise(done => canvas.toBlob(done, 'image/png'));
    const blob = type === 'pdf' ? await picturePdf(canvas) : await png();
    downloadBlob(this.viewFileName(type), blob);
  },
};
