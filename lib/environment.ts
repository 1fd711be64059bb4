/** Every environment variable this package reads. */
export const environment = {
  /** `FKINV_ONNXRUNTIME`: path of the libonnxruntime to use instead of the one that `onnxruntime-node` ships. */
  get onnxruntime(): string | undefined {
    const path = process.env['FKINV_ONNXRUNTIME'];
    return path === '' ? undefined : path;
  },
};
