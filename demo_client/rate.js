/** The speed of an upload, measured over the last seconds. */

const WINDOW_MS = 5000;
const MIN_MEASURED_MS = 800;

export class Rate {
  /** @type {{atMs: number, loaded: number}[]} */
  #samples = [];

  /**
   * Add a measurement.
   * @param {number} loaded bytes; fewer than before means that a new attempt began
   * @param {number} atMs on a monotonic clock
   */
  add(loaded, atMs) {
    if (loaded < (this.#samples.at(-1)?.loaded ?? 0)) this.reset();
    this.#samples.push({ atMs, loaded });
    while (this.#samples.length > 2 && atMs - this.#samples[1].atMs > WINDOW_MS) this.#samples.shift();
  }

  /** Forget all measurements: what is sent from now on has a speed of its own. */
  reset() {
    this.#samples = [];
  }

  /** The speed, or null while too little was measured. */
  get bytesPerSecond() {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || last.atMs - first.atMs < MIN_MEASURED_MS || last.loaded === first.loaded) return null;
    return ((last.loaded - first.loaded) * 1000) / (last.atMs - first.atMs);
  }
}
