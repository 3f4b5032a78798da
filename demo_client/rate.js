/** How fast an upload is, and how long it still takes. Pure: the time is an argument. */

const WINDOW_MS = 5000;
const FIRST_WORD_AFTER_MS = 800;

export class Rate {
  /** @type {{at: number, loaded: number}[]} */
  #samples = [];

  /**
   * @param {number} loaded bytes; fewer than before means that a new attempt began
   * @param {number} at milliseconds on a monotonic clock
   */
  add(loaded, at) {
    if (loaded < (this.#samples.at(-1)?.loaded ?? 0)) this.#samples = [];
    this.#samples.push({ at, loaded });
    while (this.#samples.length > 2 && at - this.#samples[1].at > WINDOW_MS) this.#samples.shift();
  }

  /** Bytes per second, or null while it is too early to tell. */
  get speed() {
    const [first, last] = [this.#samples[0], this.#samples.at(-1)];
    if (!first || !last || last.at - first.at < FIRST_WORD_AFTER_MS || last.loaded === first.loaded) return null;
    return ((last.loaded - first.loaded) * 1000) / (last.at - first.at);
  }
}
