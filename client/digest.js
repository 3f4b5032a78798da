/** The SHA-256 of a part, in a worker and on the page alike. */

/**
 * Return the SHA-256 of a part as 64 hexadecimal digits. The part is in memory only for that.
 * @param {Blob} part
 * @returns {Promise<string>}
 */
export async function digestOf(part) {
  const bytes = await part.arrayBuffer();
  try {
    if (bytes.byteLength !== part.size) throw new RangeError(`read ${bytes.byteLength} of ${part.size} bytes`);
    const digest = await crypto.subtle.digest("SHA-256", bytes);
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  } finally {
    release(bytes);
  }
}

/**
 * Give memory back without waiting for the garbage collector: a message that nobody receives takes it away. With
 * `transfer(0)` Chromium would keep the memory, count it as free, and so collect it only after a gigabyte of parts.
 * @param {ArrayBuffer} bytes
 */
export function release(bytes) {
  const { port1, port2 } = new MessageChannel();
  port2.close();
  port1.postMessage(null, [bytes]);
  port1.close();
}
