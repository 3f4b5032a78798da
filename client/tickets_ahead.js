/** Tickets of files that wait for their turn: asked for together, shortly before they are needed. */

import { MAX_FILES } from "./lists.js";

/**
 * @typedef {import("./api.js").Answer} Answer
 * @typedef {import("./upload.js").Upload} Upload
 *
 * @typedef {object} TicketAhead
 * @property {Promise<Answer | null>} answer null if there is none
 * @property {number} askedAtMs
 * @property {AbortController} controller
 */

const MIN_FILES = 8;

/** How long the tickets of one request should last. If they are used sooner, the next request is for more files. */
const USE_MS = 2000;

export class TicketsAhead {
  /** For how many files the next request should be. */
  #files = MIN_FILES;
  #lastAskedAtMs = 0;
  /** @type {Map<Upload, TicketAhead>} */
  #byUpload = new Map();

  /** Whether it is time to ask for more. */
  get isLow() {
    return this.#byUpload.size < this.#files / 2;
  }

  /**
   * Ask for the tickets of the next files.
   * @param {Upload[]} waiting in the order of their turn, and as many as one request may have
   * @param {(upload: Upload, signal: AbortSignal) => Promise<Answer>} ask
   */
  fill(waiting, ask) {
    const missing = waiting.filter((upload) => !this.#byUpload.has(upload));
    if (missing.length === 0) return;
    const askedAtMs = performance.now();
    const isFast = askedAtMs - this.#lastAskedAtMs < USE_MS;
    this.#files = Math.min(MAX_FILES, Math.max(MIN_FILES, isFast ? 2 * this.#files : this.#files / 2));
    this.#lastAskedAtMs = askedAtMs;
    for (const upload of missing.slice(0, this.#files - this.#byUpload.size)) {
      const controller = new AbortController();
      const answer = ask(upload, controller.signal).catch(() => null);
      this.#byUpload.set(upload, { answer, askedAtMs, controller });
    }
  }

  /**
   * Return the ticket of a file whose turn it is, as if it had been asked for now. Null if it is too old, and for a
   * file without a ticket: the server then says why, when it is asked again.
   * @param {Upload} upload
   * @returns {Promise<Answer | null>}
   */
  async take(upload) {
    const ahead = this.#byUpload.get(upload);
    const answer = await ahead?.answer;
    // Meanwhile, the ticket may have been dropped, and another one asked for.
    if (this.#byUpload.get(upload) === ahead) this.#byUpload.delete(upload);
    if (!ahead || !answer?.body) return null;
    const ageMs = performance.now() - ahead.askedAtMs;
    const { now, expires_at } = answer.body;
    const nowMs = Date.parse(now);
    const isFresh = ageMs < (Date.parse(expires_at) - nowMs) / 2;
    return isFresh ? { ...answer, body: { ...answer.body, now: new Date(nowMs + ageMs).toISOString() } } : null;
  }

  /** Forget the ticket of a file that does not wait any more. @param {Upload} upload */
  drop(upload) {
    this.#byUpload.get(upload)?.controller.abort();
    this.#byUpload.delete(upload);
  }
}
