/** Another attempt after a failure that may pass: exponential backoff, full jitter, a limit. */

import { cancelled, UploadError } from "./errors.js";

/**
 * @typedef {object} Wait
 * @property {UploadError} error why
 * @property {number} seconds how long
 * @property {number} attempt the number of the coming attempt, from 2
 * @property {number} attempts how many there are at most
 *
 * @typedef {object} RetryOptions
 * @property {AbortSignal} [signal]
 * @property {(wait: Wait) => void} [onWait]
 * @property {number} [attempts]
 * @property {number} [longestFirstWait] seconds; doubles with each attempt
 * @property {() => number} [random] in [0, 1)
 */

const SHORTEST_WAIT = 0.5;
const LONGEST_RETRY_AFTER = 300;

/**
 * Run `attempt` until it succeeds, fails for good, or has failed `attempts` times. With the defaults the four waits take
 * 30 seconds on average. A network that comes back ends a wait at once.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {RetryOptions} [options]
 * @returns {Promise<T>}
 */
export async function retry(attempt, { signal, onWait, attempts = 5, longestFirstWait = 4, random = Math.random } = {}) {
  let previous = null;
  for (let number = 1; ; number += 1) {
    signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (number === attempts || !passing(error, previous)) throw error;
      const seconds = waitFor(error, longestFirstWait * 2 ** (number - 1) * random());
      onWait?.({ error, seconds, attempt: number + 1, attempts });
      await pause(seconds, { signal, untilOnline: error.retryAfter === null });
      previous = error;
    }
  }
}

/**
 * @param {unknown} error
 * @param {UploadError | null} previous
 * @returns {error is UploadError}
 */
function passing(error, previous) {
  if (!(error instanceof UploadError) || !error.transient) return false;
  if ((error.retryAfter ?? 0) > LONGEST_RETRY_AFTER) return false;
  // Missing CORS does not pass, but a server that is just starting looks the same: believe it the second time.
  return !(error.code.endsWith("_cors") && error.code === previous?.code);
}

/** @param {UploadError} error @param {number} jittered seconds */
function waitFor(error, jittered) {
  return Math.max(SHORTEST_WAIT, jittered, error.retryAfter ?? 0);
}

/**
 * @param {number} seconds
 * @param {{signal?: AbortSignal, untilOnline: boolean}} options
 * @returns {Promise<void>}
 */
function pause(seconds, { signal, untilOnline }) {
  return new Promise((resolve, reject) => {
    const over = new AbortController();
    const end = (/** @type {() => void} */ settle) => {
      over.abort();
      clearTimeout(timer);
      settle();
    };
    const timer = setTimeout(() => end(resolve), seconds * 1000);
    signal?.addEventListener("abort", () => end(() => reject(cancelled())), { signal: over.signal });
    if (untilOnline) globalThis.addEventListener("online", () => end(resolve), { signal: over.signal });
  });
}

/**
 * The Retry-After header in seconds: a number, or a date.
 * @param {string | null | undefined} header
 * @returns {number | null}
 */
export function retryAfter(header) {
  if (!header) return null;
  if (/^\d+$/.test(header.trim())) return Number(header);
  const until = Date.parse(header);
  return Number.isNaN(until) ? null : Math.max(0, (until - Date.now()) / 1000);
}
