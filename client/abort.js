/** Give up waiting when a signal is aborted. */

/**
 * Wait for a promise that knows nothing of the signal, and may never be settled: one of the page, or of a disk that is gone.
 * Throw the signal's reason once it is aborted.
 * @template T
 * @param {T | Promise<T>} value
 * @param {AbortSignal} [signal]
 * @returns {Promise<T>}
 */
export async function unlessAborted(value, signal) {
  if (!signal) return value;
  /** @type {() => void} */
  let abort = () => {};
  const aborted = new Promise((_, reject) => {
    abort = () => reject(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort);
  });
  try {
    return /** @type {T} */ (await Promise.race([aborted, value]));
  } finally {
    // A page may use one signal for all of its uploads.
    signal.removeEventListener("abort", abort);
  }
}
