/** The two requests to the application's server: ask for a ticket, and complete the upload. */

import { fromProblem, UploadError } from "./errors.js";
import { isReachable, pageOrigin } from "./reachability.js";
import { parseRetryAfter } from "./retry.js";

/**
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").StoredObject} StoredObject
 * @typedef {import("./types.js").Ticket} Ticket
 */

const TIMEOUT_MS = 30_000;

/** The upload is not completed yet, although fetch() calls every status from 200 to 299 a success. */
const STATUS_ACCEPTED = 202;

/**
 * Ask the server for a ticket for one file.
 * @param {string} api URL of the server, to which "/upload" is added
 * @param {FileInfo} file
 * @param {string | null} sha256 hexadecimal
 * @param {AbortSignal} [signal]
 * @returns {Promise<Ticket>}
 */
export async function requestTicket(api, file, sha256, signal) {
  const { type, size } = file;
  // Half of a surrogate pair can be in a file's name, but not in JSON.
  const name = file.name.toWellFormed();
  const content = { type, size, ...(name && { name }), ...(sha256 && { sha256 }) };
  const ticket = await post(api, "/upload", content, file, signal);
  if (!["POST", "PUT"].includes(ticket.method) || !URL.canParse(ticket.url)) {
    throw invalidResponse("the ticket has no valid method or no valid URL");
  }
  return ticket;
}

/**
 * Ask the server to verify and publish the stored file. While the server cannot say yet, this throws the UploadError
 * "completion_pending"; any other answer is final.
 * @param {string} api URL of the server, to which "/complete" is added
 * @param {string} token of the ticket
 * @param {FileInfo} file for the error's details
 * @param {AbortSignal} [signal]
 * @returns {Promise<StoredObject>}
 */
export async function completeUpload(api, token, file, signal) {
  return post(api, "/complete", { token }, file, signal);
}

/**
 * @param {string} api
 * @param {string} path
 * @param {object} content
 * @param {FileInfo} file
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
async function post(api, path, content, file, signal) {
  const { response, body } = await exchange(new URL(api.replace(/\/+$/, "") + path, pageAddress()), content, signal);
  if (!response.ok || response.status === STATUS_ACCEPTED) {
    throw fromProblem(response.status, body ?? {}, file, parseRetryAfter(response.headers.get("Retry-After")));
  }
  if (body === null) throw invalidResponse("it is not a JSON object");
  return body;
}

/**
 * @param {URL} url
 * @param {object} content
 * @param {AbortSignal} [signal]
 * @returns {Promise<{response: Response, body: any}>} `body` is null when it is not a JSON object
 */
async function exchange(url, content, signal) {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let response = null;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json, application/problem+json" },
      body: JSON.stringify(content),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
    return { response, body: parseObject(await response.text()) };
  } catch (error) {
    if (signal?.aborted) throw error;
    // With missing CORS rules the browser gives no response, at once.
    const isCors = response === null && !timeout.aborted && (await isReachable(url));
    if (isCors) throw new UploadError("server_cors", { details: { origin: pageOrigin() }, cause: error });
    throw new UploadError("server_unreachable", { details: { origin: url.origin }, cause: error });
  }
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
