/** Complete an upload: the server verifies the stored file and publishes it. */

import { completeUpload, requireApi } from "./api.js";
import { fileInfo } from "./content_type.js";
import { hasCode, UploadError } from "./errors.js";
import { pause, retry } from "./retry.js";

/**
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").StoredObject} StoredObject
 *
 * @typedef {"retrying" | "offline" | "verifying" | "inspecting"} CompletionState
 *   "offline": the browser has no network, so nothing is sent until it has. "verifying": the server verifies the stored
 *   file. "inspecting": the server has no verdict yet, and is asked again.
 *
 * @typedef {object} OwnCompletionOptions
 * @property {string} api URL of the server that issues tickets, such as "https://app.example.com/files"
 * @property {AbortSignal} [signal] cancels requests and waits
 * @property {number} [attempts] for each request, 5 by default
 * @property {(state: CompletionState, wait?: Wait) => void} [onState] `wait` comes with "retrying"
 *
 * @typedef {OwnCompletionOptions & import("./api.js").ServerOptions} CompletionOptions
 */

/** A scan for malware may take two minutes, and it may have to wait for another one. */
const MAX_INSPECTION_MS = 300_000;
const DEFAULT_INSPECTION_WAIT_SECONDS = 5;
const MIN_INSPECTION_WAIT_SECONDS = 0.5;

/**
 * Complete the upload of a file that is stored already, and return what is stored. No byte of the file is sent.
 *
 * `token` is the `token` of an UploadError or of the ticket. Failures are repeated and thrown as `upload` does.
 * @param {string} token
 * @param {CompletionOptions & {file?: Blob & {name?: string}}} options `file` is used for messages only
 * @returns {Promise<StoredObject>}
 */
export async function complete(token, { file = new Blob(), ...options }) {
  requireApi(options);
  const run = () => completeWhenInspected(token, fileInfo(file), options);
  return withUploadErrors(options.signal, run, (error) => {
    if (!isVerdict(error)) error.token = token;
  });
}

/**
 * Complete the upload; as long as the server has no verdict, wait as it asked, and ask again.
 * @param {string} token
 * @param {FileInfo} file
 * @param {CompletionOptions} options
 * @returns {Promise<StoredObject>}
 */
export async function completeWhenInspected(token, file, options) {
  const { signal } = options;
  /** @type {number | null} */
  let endMs = null;
  const onState = (/** @type {CompletionState} */ state, /** @type {Wait | undefined} */ wait) => {
    // The minutes without a network are not minutes of the inspection.
    if (state === "offline") endMs = null;
    options.onState?.(state, wait);
  };
  /** @type {"verifying" | "inspecting"} */
  let state = "verifying";
  for (;;) {
    try {
      return await withRetries(state, { ...options, onState }, () => completeUpload(token, file, options));
    } catch (error) {
      if (!hasCode(error, "completion_pending")) throw error;
      endMs ??= performance.now() + MAX_INSPECTION_MS;
      const { retryAfter } = /** @type {UploadError} */ (error);
      const seconds = Math.max(MIN_INSPECTION_WAIT_SECONDS, retryAfter ?? DEFAULT_INSPECTION_WAIT_SECONDS);
      if (performance.now() + seconds * 1000 > endMs) throw error;
      state = "inspecting";
      onState(state, undefined);
      await pause(seconds, { signal });
    }
  }
}

/**
 * Announce the state before each attempt, and what the retries wait for.
 * @template T
 * @template {string} S
 * @param {S} state
 * @param {object} options
 * @param {AbortSignal} [options.signal]
 * @param {number} [options.attempts]
 * @param {(state: S | "retrying" | "offline", wait?: Wait) => void} [options.onState]
 * @param {() => Promise<T>} attempt
 * @returns {Promise<T>}
 */
export function withRetries(state, { signal, attempts, onState }, attempt) {
  const announcedAttempt = () => {
    onState?.(state);
    return attempt();
  };
  const onWait = (/** @type {Wait} */ wait) => onState?.("retrying", wait);
  return retry(announcedAttempt, { signal, attempts, onWait, onOffline: () => onState?.("offline") });
}

/**
 * Run, and throw nothing but an UploadError.
 * @template T
 * @param {AbortSignal | undefined} signal
 * @param {() => Promise<T>} run
 * @param {(error: UploadError) => void} [onError] may add to the error before it is thrown
 * @returns {Promise<T>}
 */
export async function withUploadErrors(signal, run, onError) {
  try {
    return await run();
  } catch (cause) {
    const error = toUploadError(cause, signal);
    onError?.(error);
    throw error;
  }
}

/** @param {unknown} error @param {AbortSignal | undefined} signal */
function toUploadError(error, signal) {
  if (signal?.aborted) return new UploadError("cancelled", { cause: error });
  if (error instanceof UploadError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  return new UploadError("unexpected", { details: { reason }, cause: error });
}

/**
 * Say whether the server will never complete this upload. After any other error, the same token may be completed later.
 * @param {unknown} error
 */
export function isVerdict(error) {
  return hasCode(error, "invalid_token", "token_expired", "not_uploaded", "upload_ended", "rule_violated", "rejected");
}
