/** Hash parts beside the page, one after another, so that one part at a time is in memory for it. */

import { digestOf } from "./digest.js";

const TIMEOUT_MS = 60_000;

/** Hashes in a worker. Where none can start, such as with a script from another origin, it hashes on the page. */
export class Hasher {
  /** @type {Promise<unknown>} */
  #turn = Promise.resolve();
  /** @type {Worker | null} */
  #worker = null;
  #isBroken = typeof Worker === "undefined";
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {Blob} part
   * @returns {Promise<string>} hexadecimal; rejected if the part cannot be read
   */
  digest(part) {
    const result = this.#turn.then(() => this.#digest(part));
    this.#turn = result.catch(() => {});
    return result;
  }

  /** Stop hashing. A part that is not hashed yet is not hashed any more. */
  close() {
    this.#stop();
    this.#turn = Promise.resolve();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#worker?.terminate();
    this.#worker = null;
  }

  /** @param {Blob} part */
  async #digest(part) {
    const answer = this.#isBroken ? null : await this.#ask(part);
    if (!answer) return digestOf(part);
    if ("reason" in answer) throw new Error(answer.reason);
    return answer.digest;
  }

  /**
   * @param {Blob} part
   * @returns {Promise<import("./hash_worker.js").Answer | null>} null if there is no working worker
   */
  #ask(part) {
    return new Promise((resolve) => {
      const giveUp = () => {
        this.#isBroken = true;
        this.#stop();
        resolve(null);
      };
      this.#timer = setTimeout(giveUp, TIMEOUT_MS);
      try {
        this.#worker ??= new Worker(new URL("./hash_worker.js", import.meta.url), { type: "module" });
        this.#worker.onerror = giveUp;
        this.#worker.onmessage = ({ data }) => {
          clearTimeout(this.#timer);
          resolve(data);
        };
        this.#worker.postMessage(part);
      } catch {
        giveUp();
      }
    });
  }
}
