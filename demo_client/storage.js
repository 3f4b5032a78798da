/** Sends exactly what a ticket holds, with progress. Knows no cloud. */

import { connectionLost, corsNotSetUp, fileChanged, fromStorage, unreachable } from "./errors.js";
import { pageOrigin, reachable } from "./reachability.js";
import { retryAfter } from "./retry.js";

/**
 * @typedef {import("./api.js").Ticket} Ticket
 * @typedef {import("./errors.js").Subject} Subject
 * @typedef {(loaded: number, total: number) => void} OnProgress bytes of the file
 */

/** fetch() reports no upload progress, hence XMLHttpRequest; it has no time-out for a connection that went silent. */
const SILENCE_WHILE_SENDING_MS = 60_000;
const SILENCE_BEFORE_ANSWER_MS = 300_000;

/** The browser sets these itself and complains when a page does. */
const BROWSERS_OWN_HEADERS = new Set(["content-length", "host"]);

/** Origins that took bytes from this page: CORS is set up there, whatever else may fail later. @type {Set<string>} */
const welcoming = new Set();

/**
 * One attempt.
 * @param {Ticket} ticket
 * @param {Blob} file
 * @param {Subject} subject
 * @param {{signal?: AbortSignal, onProgress?: OnProgress}} [options]
 * @returns {Promise<string | null>} the Location header, where the storage sends one and lets us read it
 */
export async function send(ticket, file, subject, { signal, onProgress } = {}) {
  const { xhr, sent } = await transmit(ticket, file, { signal, onProgress });
  signal?.throwIfAborted();
  if (xhr.status === 0) throw await silence(ticket, file, subject, sent);
  if (xhr.status < 200 || xhr.status > 299) {
    throw fromStorage(xhr.status, xhr.responseText, subject, retryAfter(readable(xhr, "retry-after")));
  }
  return absolute(readable(xhr, "location"), ticket.url);
}

/**
 * Settles when there is an answer (status > 0) or certainly none (status 0); never rejects for the network's sake.
 * @param {Ticket} ticket
 * @param {Blob} file
 * @param {{signal?: AbortSignal, onProgress?: OnProgress}} options
 * @returns {Promise<{xhr: XMLHttpRequest, sent: number}>} `sent` is the share of the body that left, 0 to 1
 */
function transmit(ticket, file, { signal, onProgress }) {
  return new Promise((resolve) => {
    const xhr = new XMLHttpRequest();
    const watch = watchdog(() => xhr.abort());
    const abort = () => xhr.abort();
    let sent = 0;
    xhr.upload.onprogress = ({ loaded, total }) => {
      sent = total ? loaded / total : 0;
      if (loaded > 0) welcoming.add(new URL(ticket.url).origin);
      watch.reset(sent < 1 ? SILENCE_WHILE_SENDING_MS : SILENCE_BEFORE_ANSWER_MS);
      // A form is longer than its file: a share is what can be told of the file.
      onProgress?.(Math.round(sent * file.size), file.size);
    };
    xhr.onloadend = () => {
      watch.stop();
      signal?.removeEventListener("abort", abort);
      resolve({ xhr, sent });
    };
    signal?.addEventListener("abort", abort);
    xhr.open(ticket.method, ticket.url);
    setHeaders(xhr, ticket.headers ?? {});
    watch.reset(SILENCE_WHILE_SENDING_MS);
    xhr.send(body(ticket, file));
  });
}

/** @param {Ticket} ticket @param {Blob} file */
function body(ticket, file) {
  // A slice has no type of its own, so that the browser adds no Content-Type that the ticket does not hold.
  if (ticket.method === "PUT") return file.slice();
  const form = new FormData();
  for (const [name, value] of Object.entries(ticket.fields ?? {})) form.append(name, value);
  // S3 and Google ignore every field after the file.
  form.append("file", file);
  return form;
}

/** @param {XMLHttpRequest} xhr @param {Record<string, string>} headers */
function setHeaders(xhr, headers) {
  for (const [name, value] of Object.entries(headers)) {
    if (!BROWSERS_OWN_HEADERS.has(name.toLowerCase())) xhr.setRequestHeader(name, value);
  }
}

/** @param {() => void} bark */
function watchdog(bark) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const stop = () => clearTimeout(timer);
  const reset = (/** @type {number} */ ms) => {
    stop();
    timer = setTimeout(bark, ms);
  };
  return { reset, stop };
}

/**
 * Why there was no answer. The browser does not tell, so look at what can be seen.
 * @param {Ticket} ticket
 * @param {Blob} file
 * @param {Subject} subject
 * @param {number} sent share of the body
 */
async function silence(ticket, file, subject, sent) {
  const changed = await unreadable(file);
  if (changed) return fileChanged(subject, changed);
  const { origin } = new URL(ticket.url);
  if (!(await reachable(origin))) return unreachable("storage", origin);
  if (sent === 0 && !welcoming.has(origin)) return corsNotSetUp("storage", pageOrigin());
  return connectionLost(sent === 1);
}

/** @param {Blob} file @returns {Promise<unknown>} why, or null */
async function unreadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return null;
  } catch (error) {
    return error;
  }
}

/**
 * getResponseHeader() writes an error to the console for a header that CORS does not expose; this does not.
 * @param {XMLHttpRequest} xhr
 * @param {string} name lower case
 */
function readable(xhr, name) {
  const lines = xhr.getAllResponseHeaders().split("\r\n");
  const line = lines.find((header) => header.toLowerCase().startsWith(`${name}:`));
  return line ? line.slice(name.length + 1).trim() : null;
}

/** @param {string | null} location @param {string} base */
function absolute(location, base) {
  return location && URL.canParse(location, base) ? new URL(location, base).href : null;
}
