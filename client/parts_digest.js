/** The digest of a file's parts, which binds a ticket to the file's bytes. Loaded only when a page asks for it. */

/**
 * @typedef {import("./hashing.js").Hasher} Hasher
 * @typedef {import("./parts.js").Core} Core
 * @typedef {import("./upload.js").Upload} Upload
 */

const MIB = 1024 * 1024;
const MIN_PART_MIB = 16;

/** Every store takes at least this number of parts. */
const MAX_PARTS = 10_000;

/**
 * Hash all parts of the file, and keep their digests for the requests of the parts. Return members of the request for a
 * ticket: the size of the parts, which the client chooses here, and the SHA-256 of the parts' digests.
 * @param {Core} core
 * @param {Upload} upload
 * @param {Hasher} hasher
 */
export async function hashParts(core, upload, hasher) {
  const { blob, file, options } = upload;
  const part_size = Math.max(MIN_PART_MIB, Math.ceil(file.size / MAX_PARTS / MIB)) * MIB;
  /** @type {string[]} */
  const digests = [];
  options.onState("hashing", undefined);
  try {
    for (let hashed = 0; hashed < file.size; hashed += part_size) {
      options.onProgress?.({ loaded: 0, sent: 0, total: file.size, hashed });
      digests.push(await hasher.digest(blob.slice(hashed, hashed + part_size)));
      options.signal?.throwIfAborted();
    }
    upload.digests = digests;
    const bytes = Uint8Array.from(digests.join("").match(/../g) ?? [], (pair) => parseInt(pair, 16));
    return { part_size, parts_digest: { part_size, sha256: await hasher.digest(new Blob([bytes])) } };
  } catch (cause) {
    options.signal?.throwIfAborted();
    throw new core.UploadError("file_unreadable", { details: { file }, cause });
  } finally {
    hasher.close();
  }
}
