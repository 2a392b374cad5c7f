// Elements of the page, and numbers as text: what the widgets share.

export const clamp = (v, low, high) => Math.min(high, Math.max(low, v));

export function el(tag, props = {}, ...children) {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(props)) {
    if (k === 'on') for (const [event, f] of Object.entries(v)) e.addEventListener(event, f);
    else if (k === 'css') for (const [name, value] of Object.entries(v)) e.style.setProperty(name, value);
    else if (k in e && !k.startsWith('aria')) e[k] = v;
    else if (v !== null && v !== undefined) e.setAttribute(k, v);
  }
  e.append(...children.filter(o => o !== null && o !== undefined));
  return e;
}

export const percent = p =>
  p > 0.9995 && p < 1
    ? '>99.9%'
    : p < 0.0005 && p > 0
      ? '<0.1%'
      : `${(100 * p).toFixed(p > 0.995 || p < 0.005 ? 1 : 0)}%`;

export const number = v => (v === 0 || v === 1 ? String(v) : v.toFixed(4));

// Keep keys from JupyterLab. Its bindings match the focused element, which lies below the root, before the attribute
// that suppresses them is looked for; so no plain key may leave the root.
export function suppressShortcuts(root) {
  root.setAttribute('data-lm-suppress-shortcuts', 'true');
  root.addEventListener('keydown', e => {
    if (!e.ctrlKey && !e.metaKey) e.stopPropagation();
  });
}

// Do what a key stands for, and keep the key from all others; null leaves it to them.
export function actOnKey(event, action) {
  if (!action) return;
  event.preventDefault();
  event.stopPropagation();
  action();
}

export const toolButton = (text, title, onClick, extra = {}) =>
  el(
    'button',
    {type: 'button', className: 'ai-tool', title, 'aria-label': title, on: {click: onClick}, ...extra},
    text,
  );

// Show a line of text, and buttons after it, until it is closed.
export function showNotice(line, text, ...actions) {
  const close = () => (line.hidden = true);
  const properties = {type: 'button', className: 'ai-close', 'aria-label': 'Close this notice', on: {click: close}};
  line.replaceChildren(el('span', {}, text), ...actions, el('button', properties, '×'));
  line.hidden = false;
}

// Let the browser save a JSON file.
export const downloadText = (name, text) => downloadBlob(name, new Blob([text], {type: 'application/json'}));

// Let the browser save a file.
export function downloadBlob(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = el('a', {href: url, download: name});
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export function makeCanvas(w, h, fill) {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, {width: w, height: h});
  const context = canvas.getContext('2d');
  const image = context.createImageData(w, h);
  fill(image.data, new Uint32Array(image.data.buffer));
  context.putImageData(image, 0, 0);
  return canvas;
}

// Draw a canvas, or nothing, in the middle of a square.
export function thumbnailOf(cut, side) {
  const canvas = document.createElement('canvas');
  const ratio = globalThis.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(side * ratio);
  canvas.setAttribute('aria-hidden', 'true');
  if (!cut) return canvas;
  const scale = Math.min(canvas.width / cut.width, canvas.height / cut.height);
  const context = canvas.getContext('2d');
  const [w, h] = [cut.width * scale, cut.height * scale];
  context.imageSmoothingQuality = 'high';
  context.drawImage(cut, (canvas.width - w) / 2, (canvas.height - h) / 2, w, h);
  return canvas;
}
