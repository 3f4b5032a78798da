/** Our server: asks for a ticket, and tells that the file is in the storage. */

import { corsNotSetUp, fromProblem, malformedAnswer, unreachable } from "./errors.js";
import { pageOrigin, reachable } from "./reachability.js";
import { retryAfter } from "./retry.js";

/**
 * @typedef {import("./errors.js").Subject} Subject
 *
 * @typedef {object} Ticket exactly what has to be sent to the storage, and what comes after
 * @property {"POST" | "PUT"} method POST: a form with `fields` and the file; PUT: the file with `headers`
 * @property {string} url
 * @property {Record<string, string>} fields
 * @property {Record<string, string>} headers
 * @property {string} expires_at ISO 8601, UTC
 * @property {string} now the server's clock when it signed
 * @property {string} key
 * @property {string | null} object_url null when the object is private
 * @property {Record<string, "storage" | "completion">} enforced who refuses what breaks a rule
 * @property {string} token for complete()
 *
 * @typedef {object} Stored
 * @property {string} key
 * @property {string | null} url null when the object is private
 * @property {string | null} etag
 * @property {string | null} version
 * @property {number} size bytes
 * @property {string} type
 */

const PATIENCE_MS = 30_000;

/**
 * @param {string} api address of the server
 * @param {Subject} file
 * @param {string | null} sha256 hexadecimal
 * @param {AbortSignal} [signal]
 * @returns {Promise<Ticket>}
 */
export async function requestTicket(api, file, sha256, signal) {
  const { type, size, name } = file;
  const ticket = await post(api, "/upload", { type, size, ...(name && { name }), ...(sha256 && { sha256 }) }, file, signal);
  if (!["POST", "PUT"].includes(ticket.method) || !URL.canParse(ticket.url)) throw malformedAnswer("the ticket is no ticket");
  return ticket;
}

/**
 * @param {string} api
 * @param {string} token of the ticket
 * @param {Subject} file
 * @param {AbortSignal} [signal]
 * @returns {Promise<Stored>}
 */
export function complete(api, token, file, signal) {
  return post(api, "/complete", { token }, file, signal);
}

/**
 * @param {string} api
 * @param {string} path
 * @param {object} body
 * @param {Subject} file
 * @param {AbortSignal} [signal]
 */
async function post(api, path, body, file, signal) {
  const response = await answer(api, path, body, signal);
  const said = await json(response);
  if (!response.ok) throw fromProblem(response.status, said ?? {}, file, retryAfter(response.headers.get("Retry-After")));
  if (said === null) throw malformedAnswer("it is not JSON");
  return said;
}

/**
 * @param {string} api
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} [signal]
 */
async function answer(api, path, body, signal) {
  const timeout = AbortSignal.timeout(PATIENCE_MS);
  try {
    return await fetch(api.replace(/\/+$/, "") + path, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json, application/problem+json" },
      body: JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    if (!timeout.aborted && (await reachable(api))) throw corsNotSetUp("server", pageOrigin());
    throw unreachable("server", new URL(api).origin);
  }
}

/** @param {Response} response */
async function json(response) {
  try {
    const said = await response.json();
    return typeof said === "object" ? said : null;
  } catch {
    return null;
  }
}
