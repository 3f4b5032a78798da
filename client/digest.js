/** The SHA-256 of a part, in a worker and on the page alike. */

/**
 * Return the SHA-256 of a part, which is in memory only for that.
 * @param {Blob} part
 * @returns {Promise<ArrayBuffer>}
 */
export async function digestOf(part) {
  const bytes = await part.arrayBuffer();
  try {
    if (bytes.byteLength !== part.size) throw new RangeError(`read ${bytes.byteLength} of ${part.size} bytes`);
    return await crypto.subtle.digest("SHA-256", bytes);
  } finally {
    release(bytes);
  }
}

/** Give memory back without waiting for the garbage collector. @param {ArrayBuffer} bytes */
export function release(bytes) {
  bytes.transfer?.(0);
}
