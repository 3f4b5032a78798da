/** SHA-256 of a file, so that a ticket can be bound to exactly these bytes. */

import { fileChanged, UploadError } from "./errors.js";
import { bytes } from "./units.js";

/** WebCrypto hashes in one piece: the whole file has to fit into memory. */
export const MAX_HASHED_BYTES = 512 * 1024 * 1024;

/** Browsers offer WebCrypto on https and on localhost only. */
export function canHash() {
  return Boolean(globalThis.crypto?.subtle);
}

/**
 * @param {Blob} file
 * @param {import("./errors.js").Subject} subject
 * @returns {Promise<string>} 64 hexadecimal digits
 */
export async function sha256(file, subject) {
  if (!canHash()) throw new UploadError("cannot_hash", "This browser computes checksums on https and localhost only.");
  if (file.size > MAX_HASHED_BYTES) throw tooLargeToHash(subject);
  const digest = await crypto.subtle.digest("SHA-256", await content(file, subject));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {import("./errors.js").Subject} subject */
function tooLargeToHash(subject) {
  const limit = bytes(MAX_HASHED_BYTES);
  return new UploadError(
    "too_large_to_hash",
    `A file of ${bytes(subject.size)} is too large for its SHA-256 to be computed in the browser; the limit is ${limit}.`,
  );
}

/** @param {Blob} file @param {import("./errors.js").Subject} subject */
async function content(file, subject) {
  try {
    return await file.arrayBuffer();
  } catch (error) {
    throw fileChanged(subject, error);
  }
}
