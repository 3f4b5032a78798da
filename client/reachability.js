/** A browser gives the same error for a server that is down and for missing CORS rules. This tells them apart. */

import { UploadError } from "./errors.js";

const TIMEOUT_MS = 5000;

/**
 * The page's own origin, and those that answered this page. CORS works there, so a failure has another cause.
 * @type {Set<string | undefined>}
 */
export const originsWithCors = new Set([globalThis.location?.origin]);

/**
 * Return the error for a request without an answer; null if the connection was lost.
 * @param {"server" | "storage"} target
 * @param {string | URL} url absolute
 */
export async function explainNoAnswer(target, url) {
  const { origin } = new URL(url);
  if (!(await isReachable(origin))) return new UploadError(`${target}_unreachable`, { details: { origin } });
  if (originsWithCors.has(origin)) return null;
  return new UploadError(`${target}_cors`, { details: { origin: globalThis.location?.origin } });
}

/**
 * Say whether the server at the URL's origin answers at all. The request is opaque, so it needs no CORS rules.
 * @param {string | URL} url absolute
 * @returns {Promise<boolean>}
 */
export async function isReachable(url) {
  try {
    await fetch(new URL("/", url), {
      method: "HEAD",
      mode: "no-cors",
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return true;
  } catch {
    return false;
  }
}
