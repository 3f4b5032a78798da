/** Try again after a transient failure: exponential backoff with full jitter, and a limited number of attempts. */

import { UploadError } from "./errors.js";

/**
 * @typedef {object} Wait
 * @property {UploadError} error the failure
 * @property {number} seconds the length of the wait
 * @property {number} attempt the number of the next attempt, from 2
 * @property {number} attempts the largest number of attempts
 *
 * @typedef {object} RetryOptions
 * @property {AbortSignal} [signal]
 * @property {(wait: Wait) => void} [onWait]
 * @property {() => void} [onOffline] the attempt failed without a network; the next one comes when there is one
 * @property {number} [attempts]
 */

const MIN_WAIT_SECONDS = 0.5;

/** Doubles with each attempt. */
const MAX_FIRST_WAIT_SECONDS = 4;
const MAX_RETRY_AFTER_SECONDS = 300;

/** A server on the same machine answers without a network, and a browser can be wrong about having none. */
const OFFLINE_CHECK_SECONDS = 30;

/**
 * Return what `attempt` returns. Repeat it after a transient UploadError; throw any other error, and the last one.
 *
 * With the defaults the four waits take 30 seconds on average. A wait ends early when the browser comes back online.
 * An attempt that fails while the browser is offline does not count: the next one comes when it is online, or after 30
 * seconds, and after that all attempts are there again.
 * @template T
 * @param {() => Promise<T>} attempt
 * @param {RetryOptions} [options]
 * @returns {Promise<T>}
 */
export async function retry(attempt, { signal, onWait, onOffline, attempts = 5 } = {}) {
  let previous = null;
  for (let number = 1; ; number += 1) {
    signal?.throwIfAborted();
    const { wasOffline, stop } = watchNetwork();
    try {
      return await attempt();
    } catch (error) {
      signal?.throwIfAborted();
      if (wasOffline() && isNetworkFailure(error)) {
        onOffline?.();
        if (isOffline()) await pause(OFFLINE_CHECK_SECONDS, { signal, endWhenOnline: true });
        number = 0;
        continue;
      }
      if (number >= attempts || !shouldRetry(error, previous)) throw error;
      const seconds = waitSeconds(error, MAX_FIRST_WAIT_SECONDS * 2 ** (number - 1) * Math.random());
      onWait?.({ error, seconds, attempt: number + 1, attempts });
      await pause(seconds, { signal, endWhenOnline: error.retryAfter === null });
      previous = error;
    } finally {
      stop();
    }
  }
}

/** Remember whether there was a time without a network: it may be over when the cause of a failure is known. */
function watchNetwork() {
  let wasOffline = isOffline();
  const listening = new AbortController();
  globalThis.addEventListener?.("offline", () => (wasOffline = true), { signal: listening.signal });
  return { wasOffline: () => wasOffline, stop: () => listening.abort() };
}

/**
 * @param {unknown} error
 * @param {UploadError | null} previous
 * @returns {error is UploadError}
 */
function shouldRetry(error, previous) {
  if (!(error instanceof UploadError) || !error.transient) return false;
  if ((error.retryAfter ?? 0) > MAX_RETRY_AFTER_SECONDS) return false;
  // Missing CORS rules are not transient, but a server that is starting looks the same. A second time is proof.
  return !(error.code.endsWith("_cors") && error.code === previous?.code);
}

function isOffline() {
  return globalThis.navigator?.onLine === false;
}

/** Say whether no answer came. @param {unknown} error */
function isNetworkFailure(error) {
  return error instanceof UploadError && error.transient && error.details.status === undefined;
}

/** @param {UploadError} error @param {number} backoff seconds */
function waitSeconds(error, backoff) {
  return Math.max(MIN_WAIT_SECONDS, backoff, error.retryAfter ?? 0);
}

/**
 * Wait; an abort ends the wait with the signal's reason.
 * @param {number} seconds
 * @param {{signal?: AbortSignal, endWhenOnline?: boolean}} options
 * @returns {Promise<void>}
 */
export function pause(seconds, { signal, endWhenOnline = false }) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const listeners = new AbortController();
    const end = (/** @type {() => void} */ settle) => {
      listeners.abort();
      clearTimeout(timer);
      settle();
    };
    const timer = setTimeout(() => end(resolve), seconds * 1000);
    signal?.addEventListener("abort", () => end(() => reject(signal.reason)), { signal: listeners.signal });
    if (endWhenOnline) globalThis.addEventListener?.("online", () => end(resolve), { signal: listeners.signal });
  });
}

/**
 * Return the seconds that a Retry-After header asks for, from a number or a date; null without a valid header.
 * @param {string | null | undefined} header
 * @param {number} [now] milliseconds since 1970
 * @returns {number | null}
 */
export function parseRetryAfter(header, now = Date.now()) {
  if (!header?.trim()) return null;
  const seconds = /^\s*\d+\s*$/.test(header) ? Number(header) : (Date.parse(header) - now) / 1000;
  return Number.isNaN(seconds) ? null : Math.max(0, seconds);
}
