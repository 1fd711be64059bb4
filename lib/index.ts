/**
 * From a reference image to an edit-friendly prompt. {@link Inverter} is where to begin.
 * @module fkinv-native
 */
export { FkinvError, errorCodes, type ErrorCode } from './errors';
export type { ImageInput, RawImage } from './images/image';
export type { Coupling, Finished, Inversion, Particle, Timings, TraceStep } from './inversion';
export { Inverter, type LoadOptions } from './inverter';
export type { ImageItem, ImageItems, ImageJob } from './scheduling/invert-all';
export type { AsFinishedOptions, Device, ImageOptions, InvertAllOptions, InvertOptions } from './options';
export type {
  CopiedBytes,
  Profile,
  ProfileCopies,
  ProfileEntry,
  ProfileEvent,
  ProfileLimits,
  ProfileParts,
} from './profiling/profile';
export type { CopyPurpose, Order, ResamplingScheme } from './schemes';
export type { PullProgress } from './store/progress';
export { pull, type PulledModel, type PullOptions } from './store/pull';
export { chromeTrace, type ChromeEvent, type ChromeMetadata, type ChromeTrace } from './profiling/trace';
