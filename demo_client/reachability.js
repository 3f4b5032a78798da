/** Tells "nobody is there" from "somebody is there and the browser may not show us the answer". */

const PATIENCE_MS = 5000;

/**
 * An opaque request needs no CORS: if it comes back, whatever it says, the server is alive.
 * @param {string} url
 * @returns {Promise<boolean>}
 */
export async function reachable(url) {
  try {
    await fetch(new URL("/", url), {
      method: "HEAD",
      mode: "no-cors",
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    return true;
  } catch {
    return false;
  }
}

/** The origin that CORS has to name. */
export function pageOrigin() {
  return globalThis.location?.origin ?? "this page";
}
