export { FkinvError, errorCodes, type ErrorCode } from './errors';
export type { ImageInput, RawImage } from './image';
export type { Coupling, Inversion, Particle, Timings, TraceStep } from './inversion';
export { Inverter, type LoadOptions } from './inverter';
export type { InvertOptions } from './options';
