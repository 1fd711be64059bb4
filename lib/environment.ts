/** Every environment variable this package reads. */
export const environment = {
  /** `FKINV_ONNXRUNTIME`: path of the libonnxruntime to use instead of the one that `onnxruntime-node` ships. */
  get onnxruntime(): string | undefined {
    return process.env['FKINV_ONNXRUNTIME'];
  },
};
