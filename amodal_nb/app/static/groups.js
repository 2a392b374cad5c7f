// Linked inspectors and their toolbar: the members of a group, in the order in which they came.

const groups = (globalThis.amodalInspectors ??= new Map());

const membersOf = o => groups.get(o.get('group')) ?? [];

export const linkedTo = o => membersOf(o).filter(k => k !== o);

export function joinGroup(o) {
  const group = o.get('group');
  if (group) groups.set(group, [...membersOf(o), o]);
}

export function leaveGroup(o) {
  if (o.get('group')) groups.set(o.get('group'), linkedTo(o));
}
