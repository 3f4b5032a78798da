/** Send a file to the storage exactly as its ticket says, with progress. Nothing here depends on a cloud. */

import { fromStorage, UploadError } from "./errors.js";
import { explainNoAnswer, originsWithCors } from "./reachability.js";
import { parseRetryAfter } from "./retry.js";

/**
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {Pick<import("./types.js").Ticket, "method" | "url" | "fields" | "headers">} StorageRequest
 * @typedef {(loaded: number, total: number) => void} OnProgress bytes of the file
 */

/** XMLHttpRequest detects no connection that stopped moving, so these limit the time without progress. */
const SEND_IDLE_TIMEOUT_MS = 60_000;
const RESPONSE_TIMEOUT_MS = 300_000;

/** Browsers ask the storage before a POST whose progress they report, which costs more than the progress is worth. */
const MAX_BYTES_WITHOUT_PROGRESS = 256 * 1024;

/** The browser sets these itself, and reports an error when a page sets them. */
const HEADERS_SET_BY_BROWSER = new Set(["content-length", "host"]);

/**
 * Send the file, or the bytes of a part with PUT, once; throw an UploadError unless the storage accepts it.
 * @param {StorageRequest} ticket
 * @param {Blob | ArrayBuffer} blob
 * @param {FileInfo} file for the error's details
 * @param {{signal?: AbortSignal, onProgress?: OnProgress}} [options]
 * @returns {Promise<void>}
 */
export async function sendFile(ticket, blob, file, { signal, onProgress } = {}) {
  signal?.throwIfAborted();
  const { xhr, sentFraction } = await transmit(ticket, blob, { signal, onProgress });
  signal?.throwIfAborted();
  if (xhr.status === 0) throw await explainMissingResponse(ticket, blob, file, sentFraction);
  originsWithCors.add(new URL(ticket.url).origin);
  if (xhr.status < 200 || xhr.status > 299) {
    // getResponseHeader() writes an error to the console for a header that CORS does not expose.
    const retryAfter = /^retry-after:(.*)$/im.exec(xhr.getAllResponseHeaders())?.[1];
    throw fromStorage(xhr.status, xhr.responseText, file, parseRetryAfter(retryAfter));
  }
}

/**
 * Resolve when the storage responded (status > 0) or the request failed (status 0). Never reject.
 * fetch() reports no upload progress, so this uses XMLHttpRequest.
 * @param {StorageRequest} ticket
 * @param {Blob | ArrayBuffer} blob
 * @param {{signal?: AbortSignal, onProgress?: OnProgress}} options
 * @returns {Promise<{xhr: XMLHttpRequest, sentFraction: number}>} `sentFraction` of the body, from 0 to 1
 */
function transmit(ticket, blob, { signal, onProgress }) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest();
    const abort = () => xhr.abort();
    const timeout = createTimeout(abort);
    let sentFraction = 0;
    const report = (/** @type {number} */ fraction) => {
      sentFraction = fraction;
      timeout.restart(fraction < 1 ? SEND_IDLE_TIMEOUT_MS : RESPONSE_TIMEOUT_MS);
      // A form is longer than its file, so the file's own count can only be derived from the fraction.
      const size = blob instanceof ArrayBuffer ? blob.byteLength : blob.size;
      onProgress?.(Math.round(fraction * size), size);
    };
    const reportsProgress = needsProgress(ticket, blob);
    if (reportsProgress) xhr.upload.onprogress = ({ loaded, total }) => report(total ? loaded / total : 0);
    xhr.onloadend = () => {
      // Without a response, the storage may have the whole file.
      if (!reportsProgress) report(1);
      timeout.stop();
      signal?.removeEventListener("abort", abort);
      resolve({ xhr, sentFraction });
    };
    signal?.addEventListener("abort", abort);
    xhr.open(ticket.method, ticket.url);
    setHeaders(xhr, ticket.headers ?? {});
    timeout.restart(reportsProgress ? SEND_IDLE_TIMEOUT_MS : RESPONSE_TIMEOUT_MS);
    xhr.send(requestBody(ticket, blob));
  });
}

/**
 * Say whether the progress is worth a preflight request. It is if the storage has not answered this page yet, because
 * that request shows whether the storage allows the page's origin.
 * @param {StorageRequest} ticket
 * @param {Blob | ArrayBuffer} blob
 */
function needsProgress({ method, url }, blob) {
  // A part is no Blob, and comes with PUT.
  const { size } = /** @type {Blob} */ (blob);
  return method !== "POST" || size > MAX_BYTES_WITHOUT_PROGRESS || !originsWithCors.has(new URL(url).origin);
}

/** @param {StorageRequest} ticket @param {Blob | ArrayBuffer} blob */
function requestBody(ticket, blob) {
  // A slice has no type, so the browser adds no Content-Type header that is missing in the ticket.
  if (blob instanceof ArrayBuffer) return blob;
  if (ticket.method === "PUT") return blob.slice();
  const form = new FormData();
  for (const [name, value] of Object.entries(ticket.fields ?? {})) form.append(name, value);
  // S3 and Google ignore every field after the file, so the file comes last.
  form.append("file", blob);
  return form;
}

/** @param {XMLHttpRequest} xhr @param {Record<string, string>} headers */
function setHeaders(xhr, headers) {
  for (const [name, value] of Object.entries(headers)) {
    if (!HEADERS_SET_BY_BROWSER.has(name.toLowerCase())) xhr.setRequestHeader(name, value);
  }
}

/** @param {() => void} onTimeout */
function createTimeout(onTimeout) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const stop = () => clearTimeout(timer);
  const restart = (/** @type {number} */ ms) => {
    stop();
    timer = setTimeout(onTimeout, ms);
  };
  return { restart, stop };
}

/**
 * Return the error for a request without a response. The browser does not tell the cause, so each one is tested.
 * @param {StorageRequest} ticket
 * @param {Blob | ArrayBuffer} blob
 * @param {FileInfo} file
 * @param {number} sentFraction
 */
async function explainMissingResponse(ticket, blob, file, sentFraction) {
  const readError = blob instanceof ArrayBuffer ? null : await tryToRead(blob);
  if (readError) return new UploadError("file_unreadable", { details: { file }, cause: readError });
  // A storage that takes bytes from this page has allowed its preflight.
  if (sentFraction > 0) originsWithCors.add(new URL(ticket.url).origin);
  const explained = await explainNoAnswer("storage", ticket.url);
  return explained ?? new UploadError(sentFraction === 1 ? "response_lost" : "connection_lost");
}

/** @param {Blob} blob @returns {Promise<unknown>} the error, or null when the file is readable */
async function tryToRead(blob) {
  try {
    await blob.slice(0, 1).arrayBuffer();
    return null;
  } catch (error) {
    return error;
  }
}
