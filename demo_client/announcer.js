/** The live region: what a screen reader says. One file gets sentences of its own, many files get a summary. */

const MAX_SENTENCES = 3;
const BURST_MS = 200;
const PAUSE_MS = 2000;
const PAUSE_AFTER_SUMMARY_MS = 10_000;
const VISIBLE_MS = 10_000;

export class Announcer {
  #region;
  #summarize;
  /** @type {string[]} */
  #sentences = [];
  /** @type {ReturnType<typeof setTimeout> | null} */
  #timer = null;
  #quietUntilMs = 0;

  /**
   * @param {HTMLElement} region with `aria-live`
   * @param {() => string} summarize returns how all files stand, or ""; said instead of more than three sentences
   */
  constructor(region, summarize) {
    this.#region = region;
    this.#summarize = summarize;
  }

  /** Say a sentence soon, or a summary if there are many. @param {string} sentence */
  say(sentence) {
    this.#sentences.push(sentence);
    const waitMs = Math.max(BURST_MS, this.#quietUntilMs - performance.now());
    this.#timer ??= setTimeout(() => this.#speak(), waitMs);
  }

  #speak() {
    const isSummary = this.#sentences.length > MAX_SENTENCES;
    this.#quietUntilMs = performance.now() + (isSummary ? PAUSE_AFTER_SUMMARY_MS : PAUSE_MS);
    const texts = isSummary ? [this.#summarize()] : this.#sentences;
    for (const text of texts.filter(Boolean)) {
      const line = document.createElement("p");
      line.textContent = text;
      this.#region.append(line);
      setTimeout(() => line.remove(), VISIBLE_MS);
    }
    this.#sentences = [];
    this.#timer = null;
  }
}
