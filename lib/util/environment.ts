/** A variable's value; undefined where it is not set, or empty. */
function valueOf(name: string): string | undefined {
  const value = process.env[name];
  return value === '' ? undefined : value;
}

/** Every environment variable this package reads, but those of proxies, which undici reads. */
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
  /** `HF_ENDPOINT`: address of the Hugging Face Hub, or of a mirror. */
  get hubEndpoint(): string | undefined {
    return valueOf('HF_ENDPOINT');
  },
  /** `HF_HUB_CACHE` (once `HUGGINGFACE_HUB_CACHE`): folder of what was fetched from the Hub; default `hub` in {@link hubHome}. */
  get hubCache(): string | undefined {
    return valueOf('HF_HUB_CACHE') ?? valueOf('HUGGINGFACE_HUB_CACHE');
  },
  /** `HF_HOME`: folder of all that is of Hugging Face; default `huggingface` in `XDG_CACHE_HOME`, or in `~/.cache`. */
  get hubHome(): string | undefined {
    return valueOf('HF_HOME');
  },
  get cacheHome(): string | undefined {
    return valueOf('XDG_CACHE_HOME');
  },
  /** `HF_TOKEN` (once `HUGGING_FACE_HUB_TOKEN`): who asks the Hub; default what the file `HF_TOKEN_PATH` holds, or `token` in {@link hubHome}. */
  get hubToken(): string | undefined {
    return valueOf('HF_TOKEN') ?? valueOf('HUGGING_FACE_HUB_TOKEN');
  },
  get hubTokenFile(): string | undefined {
    return valueOf('HF_TOKEN_PATH');
  },
  /** `HF_HUB_OFFLINE` (1, on, yes or true): nothing is fetched. */
  get isHubOffline(): boolean {
    return /^(1|on|yes|true)$/i.test(valueOf('HF_HUB_OFFLINE') ?? '');
  },
  /** `TERM=dumb`: a terminal on which the command draws no progress bar, as it cannot be drawn over. */
  get isDumbTerminal(): boolean {
    return process.env['TERM'] === 'dumb';
  },
};
