/** A limit on the bytes that are held at a time. First come, first served; what takes more than the limit is held alone. */
export class Budget {
  #held = 0;
  readonly #waiting: { bytes: number; begin: () => void }[] = [];

  constructor(readonly limit: number) {}

  /** Does `work`, which holds `bytes` until it settles: at once where they are free, else when it is its turn. */
  async use<T>(bytes: number, work: () => Promise<T>): Promise<T> {
    if (this.#waiting.length === 0 && this.#hasRoom(bytes)) this.#held += bytes;
    else await new Promise<void>((begin) => this.#waiting.push({ bytes, begin }));
    try {
      return await work();
    } finally {
      this.#held -= bytes;
      this.#beginWaiting();
    }
  }

  #hasRoom(bytes: number): boolean {
    return this.#held === 0 || this.#held + bytes <= this.limit;
  }

  #beginWaiting(): void {
    for (let [next] = this.#waiting; next !== undefined && this.#hasRoom(next.bytes); [next] = this.#waiting) {
      this.#waiting.shift();
      this.#held += next.bytes;
      next.begin();
    }
  }
}

/** What pictures may take of memory between their files and the models. */
export class PictureMemory {
  /** The budget for decoded pixels, with what the decoder holds for them. */
  readonly pixels: Budget;
  /** The budget for image files, which are held from reading until they are decoded. */
  readonly files: Budget;

  /** Allows `bytes` for pixels, and a quarter as much for files. */
  constructor(bytes: number) {
    this.pixels = new Budget(bytes);
    this.files = new Budget(bytes / 4);
  }
}
