// Order and compositing, as `amodal_nb.core.compositing` and `amodal_nb.app.inspector` compute them.

import {clamp} from './elements.js';

// Log-odds of the stack alone and of a correction; distance of probabilities from 0 and 1.
export const STACK_LOG_ODDS = 1e-3;
export const CORRECTED_LOG_ODDS = 1e3;
export const PROBABILITY_EPS = 1e-6;

// Log-odds, 55 %, from which a pair counts in a cycle: a pair near one half contradicts none.
export const CYCLE_LOG_ODDS = 0.2;

// Difference of log-odds up to which rounding decides, and the lower slot comes first.
export const TIE_LOG_ODDS = 1e-5;

// Return the slots in `members`, which ascend, front first: next comes the one against which the least evidence stands.
export function frontToBack(members, order) {
  const waiting = [...members];
  const sequence = [];
  while (waiting.length) {
    const scores = waiting.map(j => {
      let against = 0;
      for (const i of waiting) if (order[i][j] > 0) against += order[i][j];
      return against;
    });
    const least = Math.min(...scores);
    const best = scores.findIndex(score => score <= least + TIE_LOG_ODDS);
    sequence.push(waiting.splice(best, 1)[0]);
  }
  return sequence;
}

// Return log-odds [N][N] that the row is in front of the column. Pairs that overlap replace the stack, corrections
// replace pairs.
export function correctedOrder(n, pairs, stack, corrections) {
  const order = Array.from({length: n}, () => new Float32Array(n));
  const put = (i, j, value) => {
    order[i][j] = value;
    order[j][i] = -value;
  };
  stack.forEach((i, rank) => stack.slice(rank + 1).forEach(j => put(i - 1, j - 1, STACK_LOG_ODDS)));
  for (const {a, b, p_a_front: p} of pairs)
    if (p !== 0.5) {
      const q = clamp(p, PROBABILITY_EPS, 1 - PROBABILITY_EPS);
      put(a - 1, b - 1, Math.log(q / (1 - q)));
    }
  for (const [front, back] of corrections) put(front - 1, back - 1, CORRECTED_LOG_ODDS);
  return order;
}

// Return the pairs that a sequence of completion numbers, front first, agrees with: in a cycle it contradicts some.
export function consistentPairs(pairs, sequence) {
  const rank = new Map(sequence.map((k, i) => [k, i]));
  return pairs.filter(o => o.p_a_front > 0.5 === rank.get(o.a) < rank.get(o.b));
}

// Return the weight of each layer under the over operator, front first, and last the light that passes through all.
export function compositeWeights(alphas) {
  const weights = [];
  let through = 1;
  for (const alpha of alphas) {
    const weight = alpha * through;
    weights.push(weight);
    through -= weight;
  }
  weights.push(through);
  return weights;
}

// Return for each pair whether a path leads from the row to the column, by Warshall's algorithm.
function transitiveClosure(n, front) {
  const reach = Array.from({length: n}, (_row, i) => Uint8Array.from({length: n}, (_, j) => front(i, j)));
  for (let k = 0; k < n; k++) {
    for (let i = 0; i < n; i++) {
      if (reach[i][k]) for (let j = 0; j < n; j++) reach[i][j] |= reach[k][j];
    }
  }
  return reach;
}

// Return groups of slots that are in front of one another in a ring.
export function findCycles(n, front) {
  const reach = transitiveClosure(n, front);
  const groups = [];
  const grouped = new Set();
  for (let i = 0; i < n; i++) {
    if (!reach[i][i] || grouped.has(i)) continue;
    const group = Array.from(reach.keys()).filter(j => reach[i][j] && reach[j][i]);
    for (const j of group) grouped.add(j);
    groups.push(group);
  }
  return groups;
}
