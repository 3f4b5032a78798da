/** One request for several files: those that ask while a request is under way wait, and share the next request. */

import { askServer } from "./api.js";
import { UploadError } from "./errors.js";

/**
 * @typedef {import("./api.js").Answer} Answer
 * @typedef {import("./api.js").RequestOptions} RequestOptions
 *
 * @typedef {object} Waiter one file's request
 * @property {object} content
 * @property {AbortSignal | undefined} signal
 * @property {boolean} isAhead
 * @property {(answer: Answer | Promise<Answer>) => void} resolve
 * @property {(error: unknown) => void} reject
 */

/** How many files a list has at most. */
export const MAX_FILES = 100;

/** A list is as slow as its slowest file. After this time, the next list does not wait for it any more. */
const SLOW_MS = 1000;

/** These say nothing about lists. With any other status, the server may be an older one, which takes no lists. */
const NOT_ABOUT_LISTS = [401, 403, 429];
const FIRST_GATEWAY_STATUS = 502;

const NOT_ASKED = { status: 0, body: null, retryAfter: null };

/** Requests to one path of one server, with the same headers, credentials and function. */
export class Lists {
  /** How many files a list may have; 1 if the server takes no lists. */
  #maxFiles = MAX_FILES;
  /** Whether the next list waits for one that is under way. */
  #isBusy = false;
  /** @type {Waiter[]} */
  #waiting = [];
  /** Whether the server has answered a list. */
  areTaken = false;

  /** @param {string} path @param {RequestOptions} options */
  constructor(path, options) {
    this.path = path;
    this.options = options;
  }

  /**
   * Return the answer for one file, as a request of its own gets it.
   * @param {object} content
   * @param {AbortSignal} [signal] gives up this file alone
   * @param {boolean} [isAhead] the answer is not needed yet, and not worth a request of its own
   * @returns {Promise<Answer>}
   */
  async ask(content, signal, isAhead = false) {
    if (this.#maxFiles === 1) return isAhead ? NOT_ASKED : this.#askServer(content, signal);
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      this.#waiting.push({ content, signal, isAhead, resolve, reject });
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
      // Files that ask at the same moment share one request.
      queueMicrotask(() => this.#send());
    });
  }

  #send() {
    this.#waiting = this.#waiting.filter(({ signal }) => !signal?.aborted);
    while (this.#waiting.length > 0 && !this.#isBusy) {
      const next = this.#waiting.splice(0, this.#maxFiles);
      if (next.length === 1 && next[0].isAhead) next[0].resolve(NOT_ASKED);
      else this.#exchange(next);
    }
  }

  /** @param {Waiter[]} waiters */
  async #exchange(waiters) {
    this.#isBusy = true;
    let isAwaited = true;
    const release = () => {
      if (!isAwaited) return;
      isAwaited = this.#isBusy = false;
      this.#send();
    };
    const timer = setTimeout(release, SLOW_MS);
    const controller = new AbortController();
    const abort = () => waiters.every(({ signal }) => signal?.aborted) && controller.abort();
    for (const { signal } of waiters) signal?.addEventListener("abort", abort, { once: true });
    const contents = waiters.map(({ content }) => content);
    try {
      const answer = await this.#askServer(contents.length > 1 ? contents : contents[0], controller.signal);
      if (contents.length > 1) this.#deliver(answer, waiters);
      else waiters[0].resolve(answer);
    } catch (error) {
      // Each file needs an error of its own, because the error will hold that file's token.
      for (const { reject } of waiters) reject(error instanceof UploadError ? new UploadError(error.code, error) : error);
    } finally {
      clearTimeout(timer);
      release();
    }
  }

  /** @param {Answer} answer @param {Waiter[]} waiters */
  #deliver(answer, waiters) {
    const { status, body } = answer;
    if (status === 200 && Array.isArray(body) && body.length === waiters.length) {
      this.areTaken = true;
      for (const [index, { status, body: own, retry_after }] of body.entries()) {
        waiters[index].resolve({ status, body: own, retryAfter: retry_after >= 0 ? +retry_after : null });
      }
    } else if (status >= FIRST_GATEWAY_STATUS || NOT_ABOUT_LISTS.includes(status)) {
      for (const { resolve } of waiters) resolve(answer);
    } else {
      this.areTaken = false;
      const limit = body?.code === "too_many_files" && body.limit;
      // With any other limit, the same list would be refused again, without end.
      this.#maxFiles = Math.max(1, limit < waiters.length ? limit | 0 : 1);
      for (const { content, signal, isAhead, resolve } of waiters) {
        if (!signal?.aborted) resolve(this.ask(content, signal, isAhead));
      }
    }
  }

  /** @param {object} content @param {AbortSignal} [signal] */
  #askServer(content, signal) {
    return askServer(this.path, content, { ...this.options, signal });
  }
}
