/** The SHA-256 of a file. */

import { UploadError } from "./errors.js";

/** @typedef {import("./types.js").FileInfo} FileInfo */

/** WebCrypto hashes in one piece, so the whole file has to fit into memory. */
export const MAX_HASHED_BYTES = 512 * 1024 * 1024;

/** Say whether this page can compute checksums: browsers offer WebCrypto only on https and localhost. */
export function canHash() {
  return Boolean(globalThis.crypto?.subtle);
}

/**
 * Return the SHA-256 of a file as 64 hexadecimal digits.
 * @param {Blob} blob
 * @param {FileInfo} file for the error's details
 * @returns {Promise<string>}
 */
export async function sha256(blob, file) {
  if (!canHash()) throw new UploadError("checksum_unavailable");
  if (blob.size > MAX_HASHED_BYTES) {
    throw new UploadError("too_large_to_hash", { details: { file, limit: MAX_HASHED_BYTES } });
  }
  const digest = await crypto.subtle.digest("SHA-256", await read(blob, file));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {Blob} blob @param {FileInfo} file */
async function read(blob, file) {
  try {
    return await blob.arrayBuffer();
  } catch (error) {
    throw new UploadError("file_unreadable", { details: { file }, cause: error });
  }
}
