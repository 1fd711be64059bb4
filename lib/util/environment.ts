/** Every environment variable this package reads. */
export const environment = {
  /** `FKINV_ONNXRUNTIME`: path of the libonnxruntime to use instead of the one that `onnxruntime-node` ships. */
  get onnxruntime(): string | undefined {
    const path = process.env['FKINV_ONNXRUNTIME'];
    return path === '' ? undefined : path;
  },
  /** `FKINV_INSTRUCTION_SET`: `baseline`, `avx2` or `avx512`, instead of the best that the processor has. */
  get instructionSet(): string | undefined {
    const name = process.env['FKINV_INSTRUCTION_SET'];
    return name === '' ? undefined : name;
  },
  /** `FKINV_REDIS`: address of Redis where `--redis` is not given. Its password is then in no list of processes and no history of a shell. */
  get redis(): string | undefined {
    const address = process.env['FKINV_REDIS'];
    return address === '' ? undefined : address;
  },
  /** `NO_COLOR` (anything) takes the command's colours away, `FORCE_COLOR` (anything but 0 and false) gives them to a pipe too; undefined where neither is set. */
  get colours(): boolean | undefined {
    if ((process.env['NO_COLOR'] ?? '') !== '') return false;
    const force = process.env['FORCE_COLOR'];
    return force === undefined ? undefined : force !== '0' && force !== 'false';
  },
  /** `TERM=dumb`: a terminal on which the command draws no progress bar, as it cannot be drawn over. */
  get isDumbTerminal(): boolean {
    return process.env['TERM'] === 'dumb';
  },
};
