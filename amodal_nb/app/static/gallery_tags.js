// Tags of scenes: what a person found, written beside the scenes by the kernel.

import {el} from './elements.js';

const parseTags = text => [...new Set(text.split(',').map(t => t.trim().replace(/^#\s*/, '')))].filter(Boolean);

export const tags = {
  tagsOf(o) {
    return this.get('tags')[o.name] ?? [];
  },

  setTags(o, list) {
    const all = {...this.get('tags')};
    if (list.length) all[o.name] = list;
    else delete all[o.name];
    this.keep({tags: all});
  },

  // Ask for a scene's tags, in a field on its card.
  editTags(o, node) {
    const id = `${this.id}d`;
    const known = [...new Set(Object.values(this.get('tags')).flat())].sort();
    const field = el('input', {
      value: this.tagsOf(o).join(', '),
      placeholder: 'tags, with commas',
      'aria-label': `Tags of ${o.name}`,
    });
    field.setAttribute('list', id);
    const options = known.map(value => el('option', {value}));
    const editor = el('div', {className: 'ag-editor'}, field, el('datalist', {id}, ...options));
    let open = true;
    const end = (save, refocus) => {
      if (!open) return;
      open = false; // as removing the field takes its focus away
      editor.remove();
      if (refocus) node.firstChild.focus({preventScroll: true});
      if (save) this.setTags(o, parseTags(field.value));
    };
    field.addEventListener('keydown', e => {
      e.stopPropagation();
      if (e.key === 'Enter') end(true, true);
      else if (e.key === 'Escape') end(false, true);
    });
    field.addEventListener('blur', () => end(true, false));
    node.append(editor);
    field.focus({preventScroll: true});
    field.select();
  },
};
