// One row of logits by the formulas and in float64: what draws and the orders of opening are held to.

/** What tokens are drawn from: softmax(z/τ) over those that top-k, then top-p keep. */
export interface Proposal {
  temperature: number;
  topK?: number | undefined;
  topP?: number | undefined;
}

const maximum = (row: Float32Array): number => row.reduce((max, z) => Math.max(max, z));

/** log Σ exp(z/τ) over the tokens that are kept, all by default. */
function logMass(row: Float32Array, temperature = 1, keeps: (token: number) => boolean = () => true): number {
  const max = maximum(row);
  const mass = row.reduce((sum, z, token) => sum + (keeps(token) ? Math.exp((z - max) / temperature) : 0), 0);
  return max / temperature + Math.log(mass);
}

/** log softmax(row)[token]. */
export function logModel(row: Float32Array, token: number): number {
  return (row[token] ?? NaN) - logMass(row);
}

/** log τ of a token that was drawn; 0 for the argmax of τ = 0. */
export function logProposal(row: Float32Array, token: number, proposal: Proposal): number {
  const { temperature } = proposal;
  if (temperature === 0) return 0;
  const { lowest } = truncation(row, proposal);
  return (row[token] ?? NaN) / temperature - logMass(row, temperature, (v) => (row[v] ?? NaN) >= lowest);
}

/** Entropy of softmax(row) in nats. */
export function entropy(row: Float32Array): number {
  const whole = logMass(row);
  return row.reduce((sum, z) => sum - (z === -Infinity ? 0 : Math.exp(z - whole) * (z - whole)), 0);
}

/** Largest minus second largest probability of softmax(row); a tied maximum counts twice. */
export function margin(row: Float32Array): number {
  const [second = -Infinity, first = -Infinity] = row.slice().sort().slice(-2);
  const whole = logMass(row);
  return Math.exp(first - whole) - (row.length > 1 ? Math.exp(second - whole) : 0);
}

/** What top-k and then top-p leave of a row. */
export interface Truncation {
  /** Tokens with this logit or more are kept. */
  lowest: number;
  /** How far the mass that decided top-p is from being decided otherwise, as a share of the whole; 1 where nothing is. */
  clearance: number;
}

/** The smallest set whose tempered mass reaches `topP` of what the `topK` most probable have; ties at an edge are kept. */
export function truncation(row: Float32Array, { temperature, topK = row.length, topP = 1 }: Proposal): Truncation {
  const descending = row.slice().sort().reverse();
  const ofTopK = descending[Math.min(topK, row.length) - 1] ?? NaN;
  if (topP === 1) return { lowest: ofTopK, clearance: 1 };
  const mass = new Map<number, number>(); // of each distinct logit, descending
  for (const z of descending.filter((logit) => logit >= ofTopK)) {
    mass.set(z, (mass.get(z) ?? 0) + Math.exp((z - (descending[0] ?? NaN)) / temperature));
  }
  const whole = [...mass.values()].reduce((a, b) => a + b);
  let reached = 0;
  for (const [lowest, m] of mass) {
    const before = reached;
    reached += m / whole;
    if (reached >= topP) return { lowest, clearance: Math.min(reached - topP, topP - before) };
  }
  return { lowest: ofTopK, clearance: 0 }; // rounding left the sum short of p
}
