/** A browser gives the same error for a server that is down and for missing CORS rules. This tells them apart. */

const TIMEOUT_MS = 5000;

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

/** Return the page's origin, which the CORS rules have to allow. */
export function pageOrigin() {
  return globalThis.location?.origin ?? "this page";
}
