// Elements of the page, and numbers as text: what the inspector and the gallery share.

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
