// Names of what the engine knows by number: the order in each list is that of its enumeration in cpp/kernels/.

/** Which positions open first (open.h). */
export const orders = ['random', 'confidence', 'entropy', 'margin'] as const;
export type Order = (typeof orders)[number];

/** How ancestors are drawn from the weights (resample.h). */
export const resamplingSchemes = ['multinomial', 'stratified', 'residual', 'systematic'] as const;
export type ResamplingScheme = (typeof resamplingSchemes)[number];

/** Types of logits (logits.h). */
export const logitsTypes = ['float32', 'float16', 'bfloat16'] as const;
export type LogitsType = (typeof logitsTypes)[number];
