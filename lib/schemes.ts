// Names that the engine knows too, in the header that each list names; it refuses any other.

/** The orders in which positions may open (open.h). */
export const orders = ['random', 'confidence', 'entropy', 'margin'] as const;
/**
 * Which masked positions open at a step: `random` each by chance (MDLM), the others equal counts a step, most certain
 * first: by the drawn token's probability (`confidence`, LLaDA), the row's entropy (`entropy`, Dream) or its two largest
 * probabilities' difference (`margin`, Dream).
 * @useDeclaredType
 */
export type Order = (typeof orders)[number];

/** How ancestors are drawn from the weights (resample.h). */
export const resamplingSchemes = ['multinomial', 'stratified', 'residual', 'systematic'] as const;
/**
 * How K ancestors are drawn in proportion to the weights: `multinomial` independently, `stratified` one from each K-th of their
 * sum, `systematic` likewise but with one random number for all of them, `residual` the whole multiples first and the rest by
 * chance. Equal weights keep every particle in all schemes but `multinomial`.
 * @useDeclaredType
 */
export type ResamplingScheme = (typeof resamplingSchemes)[number];

/** The instruction sets that the vectorised kernels are compiled for (instruction_set.h), the best one last. */
export const instructionSets = ['baseline', 'avx2', 'avx512'] as const;
/**
 * Instructions that the kernels run in: `avx2` (with FMA and F16C) and `avx512` (AVX-512F) of x86-64, and `baseline`, what
 * every processor of the platform has.
 * @useDeclaredType
 */
export type InstructionSet = (typeof instructionSets)[number];

/** Types of logits (logits.h). */
export const logitsTypes = ['float32', 'float16', 'bfloat16'] as const;
/**
 * Type of logits: `float32` in a Float32Array, the bits of `float16` or `bfloat16` in a Uint16Array.
 * @useDeclaredType
 */
export type LogitsType = (typeof logitsTypes)[number];

/** What copies between host and device are for (cpp/particles/transfer.h). */
export const copyPurposes = ['setUp', 'tokenIds', 'textIds', 'rewards', 'ancestors', 'result'] as const;
/**
 * What a copy between host and device is for: what is set up before the first step; in the steps token ids, CLIP's ids of
 * texts, rewards and ancestors; the result.
 * @useDeclaredType
 */
export type CopyPurpose = (typeof copyPurposes)[number];
