import type { Dllm } from '../../lib/models/dllm';

/** Logits [rows, V] of a row of ids, prefix and suffix included, as the dLLM's graph gives them in float32. */
export async function logitsOf(dllm: Dllm, ids: number[], rows: number[]): Promise<Float32Array> {
  const { session, logits, ids: name, rows: takesRows } = dllm.graph();
  const inputs = dllm.constantInputs(ids.length, rows);
  inputs.push({ name, data: BigInt64Array.from(ids, BigInt), rowShape: [ids.length] });
  const given = takesRows === '' ? ids.length : rows.length;
  const all = await (await session.run(1, inputs, logits, [given, dllm.vocab])).read();
  if (takesRows !== '') return all;
  return Float32Array.from(rows.flatMap((row) => [...all.subarray(row * dllm.vocab, (row + 1) * dllm.vocab)]));
}
