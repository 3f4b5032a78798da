/** The requests to the application's server: ask for a ticket, and complete the upload. */

import { unlessAborted } from "./abort.js";
import { canHash } from "./checksum.js";
import { fromProblem, UploadError } from "./errors.js";
import { explainNoAnswer, originsWithCors } from "./reachability.js";
import { parseRetryAfter } from "./retry.js";

/**
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").StoredObject} StoredObject
 * @typedef {import("./types.js").Ticket} Ticket
 *
 * @typedef {Record<string, string>} RequestHeaders
 *
 * @typedef {object} ServerOptions how to send requests to the application's server; nothing of it goes to the storage
 * @property {RequestHeaders | (() => RequestHeaders | Promise<RequestHeaders>)} [headers] such as a CSRF token or
 *   "Authorization"; a function is called for each attempt, so that it can renew an access token
 * @property {RequestCredentials} [credentials] "include" sends cookies to a server on another origin
 * @property {typeof fetch} [fetch] instead of the browser's; the file goes to the storage without it
 *
 * @typedef {ServerOptions & {api: string, signal?: AbortSignal, ask?: Ask}} RequestOptions `api` is the URL of the
 *   server, and `ask` replaces the request of one file's ticket or completion
 *
 * @typedef {object} Answer of the server
 * @property {number} status
 * @property {any} body null when it is no JSON object or array
 * @property {number | null} retryAfter seconds
 *
 * @typedef {(path: string, content: object, options: RequestOptions) => Promise<Answer>} Ask
 */

/** No smaller file comes in parts. */
export const MIN_BYTES_IN_PARTS = 5 * 1024 * 1024;

const TIMEOUT_MS = 30_000;

/** The upload is not completed yet, although fetch() calls every status from 200 to 299 a success. */
const STATUS_ACCEPTED = 202;

/**
 * Throw a TypeError for options without the server's address.
 * @param {{api?: unknown} | undefined} options
 */
export function requireApi(options) {
  if (typeof options?.api !== "string") throw new TypeError("api must be the URL of your server");
}

/**
 * Ask the server for a ticket for one file.
 * @param {FileInfo} file
 * @param {string | null} sha256 hexadecimal
 * @param {RequestOptions} options
 * @param {object} [parts] what the client has decided of the file's parts
 * @returns {Promise<Ticket>}
 */
export async function requestTicket(file, sha256, options, parts) {
  const ticket = await post("/upload", ticketContent(file, sha256, parts), file, options);
  if (!["POST", "PUT"].includes(ticket.method) || !URL.canParse(ticket.url)) {
    throw invalidResponse("the ticket has no valid method or no valid URL");
  }
  return ticket;
}

/**
 * Return what the request for a ticket says.
 * @param {FileInfo} file
 * @param {string | null} [sha256]
 * @param {object} [parts]
 */
export function ticketContent(file, sha256, parts) {
  const { type, size } = file;
  // Half of a surrogate pair can be in a file's name, but not in JSON.
  const name = file.name.toWellFormed();
  const hashes_parts = (size >= MIN_BYTES_IN_PARTS && canHash()) || undefined;
  return { type, size, ...(name && { name }), ...(sha256 && { sha256 }), hashes_parts, ...parts };
}

/**
 * Ask the server to verify and publish the stored file. While the server cannot say yet, this throws the UploadError
 * "completion_pending"; any other answer is final.
 * @param {string} token of the ticket
 * @param {FileInfo} file for the error's details
 * @param {RequestOptions} options
 * @returns {Promise<StoredObject>}
 */
export async function completeUpload(token, file, options) {
  return post("/complete", { token }, file, options);
}

/**
 * Send JSON to the server and return the JSON object of its answer; throw an UploadError for a problem document.
 * @param {string} path is added to `api`
 * @param {object} content
 * @param {FileInfo} file
 * @param {RequestOptions} options
 * @returns {Promise<any>}
 */
export async function post(path, content, file, options) {
  const { status, body, retryAfter } = await (options.ask ?? askServer)(path, content, options);
  if (status < 200 || status > 299 || status === STATUS_ACCEPTED) {
    throw fromProblem(status, body ?? {}, file, retryAfter);
  }
  if (body === null) throw invalidResponse("it is not a JSON object");
  return body;
}

/**
 * Send one request and return its answer; throw an UploadError if there is none.
 * @type {Ask}
 */
export async function askServer(path, content, options) {
  const { signal, headers, credentials = "same-origin", fetch = globalThis.fetch } = options;
  const url = new URL(options.api.replace(/\/+$/, "") + path, pageAddress());
  const own = typeof headers === "function" ? await unlessAborted(headers(), signal) : headers;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: contractHeaders(own),
      credentials,
      body: JSON.stringify(content),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    originsWithCors.add(url.origin);
    const retryAfter = parseRetryAfter(response.headers.get("Retry-After"));
    return { status: response.status, body: parseObject(await response.text()), retryAfter };
  } catch (error) {
    if (signal?.aborted) throw error;
    const explained = timeout.aborted ? null : await explainNoAnswer("server", url);
    throw explained ?? new UploadError("server_unreachable", { details: { origin: url.origin }, cause: error });
  }
}

/** @param {RequestHeaders} [own] cannot replace those of the contract, in whatever case they are written */
function contractHeaders(own) {
  const headers = new Headers(own);
  headers.set("Content-Type", "application/json");
  headers.set("Accept", "application/json, application/problem+json");
  return headers;
}

/** @param {string} text */
function parseObject(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** @param {string} reason */
function invalidResponse(reason) {
  return new UploadError("invalid_response", { details: { reason } });
}

/** The base for a relative `api`, such as "/files" on the page's own server. */
function pageAddress() {
  return globalThis.location?.href;
}
