/** The digest of a file's parts, which binds a ticket to the file's bytes. Loaded only when a page asks for it. */

/**
 * @typedef {import("./hashing.js").Hasher} Hasher
 * @typedef {import("./parts.js").Core} Core
 * @typedef {import("./upload.js").IssuedTicket} IssuedTicket
 * @typedef {import("./upload.js").Upload} Upload
 */

const MIB = 1024 * 1024;

/** As in the server's default policy, and in `presign upload`. */
const MIN_PART_MIB = 8;

/** Every store takes at least this number of parts. */
const MAX_PARTS = 10_000;

/**
 * Return a ticket for the digest of the file's parts, or null if the server takes none for this file. If it wants parts
 * of another size, it names that size, and the file is hashed again.
 * @param {Core} core
 * @param {Upload} upload
 * @param {Pick<typeof import("./parts.js"), "PartsUpload"> & Pick<typeof import("./hashing.js"), "Hasher">} classes that
 *   are loaded already
 * @returns {Promise<IssuedTicket | null>}
 */
export async function issueForParts(core, upload, { Hasher, PartsUpload }) {
  for (let part_size = partSizeOf(upload.file.size), isLast = false; ; isLast = true) {
    const hashed = await hashParts(core, upload, new Hasher(), part_size);
    try {
      const issued = await upload.issue(hashed);
      if (issued.ticket.parts?.part_size === part_size && issued.ticket.enforced.checksum) return issued;
      if (issued.ticket.parts) new PartsUpload(core, upload, issued.ticket, null).abort();
    } catch (error) {
      const { field, limit } = /** @type {import("./errors.js").UploadError} */ (error).details ?? {};
      if (field === "parts_digest") {
        upload.digests = [];
        return null;
      }
      if (field !== "part_size" || !limit || limit < 0 || isLast) throw error;
      part_size = limit;
      continue;
    }
    const reason = "the ticket is not for the digest of the parts";
    throw new core.UploadError("invalid_response", { details: { reason } });
  }
}

/** The bytes of each part of a file that is hashed before the server can decide it. @param {number} size */
function partSizeOf(size) {
  return Math.max(MIN_PART_MIB, Math.ceil(size / MAX_PARTS / MIB)) * MIB;
}

/**
 * Hash all parts of the file, and keep their digests for the requests of the parts. Return members of the request for a
 * ticket: the size of the parts, and the SHA-256 of their digests.
 * @param {Core} core
 * @param {Upload} upload
 * @param {Hasher} hasher
 * @param {number} part_size
 */
async function hashParts(core, upload, hasher, part_size) {
  const { blob, file, options } = upload;
  /** @type {string[]} */
  const digests = [];
  options.onState("hashing", undefined);
  try {
    for (let hashed = 0; hashed < file.size; hashed += part_size) {
      options.onProgress?.({ loaded: 0, sent: 0, total: file.size, hashed });
      const part = blob.slice(hashed, hashed + part_size);
      digests.push(await core.unlessAborted(hasher.digest(part), options.signal));
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
