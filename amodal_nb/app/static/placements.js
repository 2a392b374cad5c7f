// Edits of a refitted photograph and where they put its layers, as `apply_edit` of amodal_nb.fusion.edit has it.

// Keys of an edit that adds up, and the value that changes nothing.
const NEUTRAL = {move: {dx: 0, dy: 0}, scale: {by: 1}, turn: {degrees: 0}};

// Return a placement for each layer, front to back. `id` is what edits call it: its name, or where two have the same
// name its number.
export function initialPlacements(layers) {
  const isShared = name => layers.filter(o => o.name === name).length > 1;
  const still = {dx: 0, dy: 0, scale: 1, degrees: 0, shown: true};
  return layers.map(({name, number}, layer) => {
    return {layer, number, name, id: isShared(name) ? number : name, ...still};
  });
}

export const isMoved = p => p.dx !== 0 || p.dy !== 0 || p.scale !== 1 || p.degrees !== 0;

// Return the index of the layer that an edit calls by name or number; the original lies behind its duplicates.
export function findPlacement(placements, layer) {
  const found = placements.flatMap((p, i) => (p.name === layer || p.number === layer ? [i] : []));
  if (typeof layer === 'number') found.splice(0, found.length - 1);
  if (found.length !== 1) throw new Error(`${found.length} layers are called ${layer}`);
  return found[0];
}

const changed = {
  move: (p, e) => ({...p, dx: p.dx + e.dx, dy: p.dy + e.dy}),
  scale: (p, e) => ({...p, scale: p.scale * e.by}),
  turn: (p, e) => ({...p, degrees: p.degrees + e.degrees}),
  hide: p => ({...p, shown: false}),
  show: p => ({...p, shown: true}),
};

export function applyEdit(placements, edit) {
  const i = findPlacement(placements, edit.layer);
  const p = placements[i];
  const rest = placements.toSpliced(i, 1);
  if (edit.op === 'delete') return rest;
  if (edit.op === 'reorder') return rest.toSpliced(edit.position - 1, 0, p);
  if (edit.op === 'duplicate') return placements.toSpliced(i, 0, {...p, name: edit.name, id: edit.name});
  return placements.with(i, changed[edit.op](p, edit));
}

export const isNeutral = edit =>
  edit.op in NEUTRAL && Object.entries(NEUTRAL[edit.op]).every(([k, v]) => edit[k] === v);

// Whether an edit, or all edits of a placement, stay within the limits of `check_edit` and `check_placement`.
export function isWithin({scale: [least, most], value}, {dx = 0, dy = 0, degrees = 0, by = 1, scale = by}) {
  return scale >= least && scale <= most && [dx, dy, degrees].every(v => Math.abs(v) <= value);
}

// Return one edit in place of two of the same kind and layer.
export function mergeEdits(a, b) {
  if (a.op === 'scale') return {...a, by: +(a.by * b.by).toFixed(4)};
  return {...a, ...Object.fromEntries(Object.keys(NEUTRAL[a.op]).map(k => [k, a[k] + b[k]]))};
}
