/**
 * What a page remembers of unfinished uploads, so that a later page can go on with them.
 *
 * The record of an upload holds its ticket: the token lets its owner, and nobody else, go on with the upload. Only one
 * tab at a time goes on with an upload; another tab that gets the same file begins an upload of its own.
 */

/**
 * @typedef {import("./upload.js").Upload} Upload
 * @typedef {import("./types.js").Ticket} Ticket
 *
 * @typedef {object} UnfinishedUpload
 * @property {string} name
 * @property {string} type media type
 * @property {number} size bytes
 * @property {number} lastModified milliseconds since 1970
 * @property {string} api URL of the server
 * @property {number} until when the upload can no longer be resumed, in milliseconds since 1970
 * @property {Ticket} ticket without the requests of its parts
 * @property {[number, string] | null} digest the number and the SHA-256 of a part that was sent
 *
 * @typedef {object} ResumeStore where records are kept, by a key of one line of text
 * @property {(key: string) => unknown} load returns a record, or nothing, or a promise of it
 * @property {(key: string, record: UnfinishedUpload) => unknown} save
 * @property {(key: string) => unknown} remove
 *
 * @typedef {NonNullable<Awaited<ReturnType<typeof recordOf>>>} UploadRecord
 */

const PREFIX = "presign-uploads:";

/** Keeps records in the browser's localStorage, for all pages of the origin. @type {ResumeStore} */
export const localResume = {
  load: (key) => JSON.parse(localStorage.getItem(PREFIX + key) ?? "null"),
  save: (key, record) => localStorage.setItem(PREFIX + key, JSON.stringify(record)),
  remove: (key) => localStorage.removeItem(PREFIX + key),
};

/**
 * Return the unfinished uploads that this browser remembers, so that a page can ask for their files again.
 *
 * The page cannot open a file by itself: it asks the user to choose the file again, and uploads it as any other file.
 * @returns {UnfinishedUpload[]}
 */
export function unfinishedUploads() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  /** @type {UnfinishedUpload[]} */
  const records = keys.map((key) => JSON.parse(localStorage.getItem(key) ?? "null"));
  return records.filter((record) => record?.until > Date.now());
}

/**
 * Claim the record of a file's upload; null if the file cannot be recognized again, or is being uploaded already.
 * @param {Upload} upload
 */
export async function recordOf({ blob, file, options, sha256 }) {
  const { resume: store = localResume } = options;
  const { lastModified } = /** @type {{lastModified?: number}} */ (blob);
  if (!store || !file.name || lastModified === undefined) return null;
  const api = new URL(options.api, globalThis.location?.href).href.replace(/\/+$/, "");
  const { name, type, size } = file;
  const key = JSON.stringify([api, name, type, size, lastModified, ...(sha256 ? [sha256] : [])]);
  const release = await claim(key);
  if (!release) return null;
  /** @type {UnfinishedUpload | null} */
  let record = null;
  // A store that fails must not end the upload.
  const access = async (/** @type {() => unknown} */ act) => {
    try {
      return await act();
    } catch {
      return null;
    }
  };
  const save = () => access(() => store.save(key, /** @type {UnfinishedUpload} */ (record)));
  const remove = () => {
    record = null;
    release();
    return access(() => store.remove(key));
  };
  return {
    /** The number and the SHA-256 of one part that is stored. */
    get remembered() {
      return record?.digest;
    },

    /** @param {{ticket: Ticket, until: number}} upload */
    save(upload) {
      record = { name, type, size, lastModified, api, digest: null, ...upload };
      return save();
    },

    /** @returns {Promise<UnfinishedUpload | null>} */
    async load() {
      record = /** @type {UnfinishedUpload | null} */ (await access(() => store.load(key))) ?? null;
      if (!record || record.until > Date.now()) return record;
      await access(() => store.remove(key));
      return (record = null);
    },

    /** @param {number} number @param {string} sha256 of a part that was sent */
    async remember(number, sha256) {
      if (!record || record.digest) return;
      record.digest = [number, sha256];
      await save();
    },

    remove,
    release,
  };
}

/** The keys that this page claimed. @type {Set<string>} */
const claimed = new Set();

/**
 * Claim a key for this page until the returned function is called; null if somebody has it.
 * @param {string} key
 * @returns {Promise<(() => void) | null>}
 */
async function claim(key) {
  if (claimed.has(key)) return null;
  claimed.add(key);
  const unlock = await lock(PREFIX + key);
  if (!unlock) {
    claimed.delete(key);
    return null;
  }
  let isHeld = true;
  return () => {
    // Somebody else may have claimed it since.
    if (isHeld) claimed.delete(key);
    isHeld = false;
    unlock();
  };
}

/**
 * @param {string} name
 * @returns {Promise<(() => void) | null>} null if another tab has the lock
 */
function lock(name) {
  const { locks } = globalThis.navigator ?? {};
  return new Promise((resolve) => {
    const withoutLocks = () => resolve(() => {});
    // Browsers offer locks only on https and localhost, and not to every frame.
    if (!locks) return withoutLocks();
    const hold = (/** @type {Lock | null} */ lock) =>
      lock ? new Promise((unlock) => resolve(() => unlock(null))) : resolve(null);
    locks.request(name, { ifAvailable: true }, hold).catch(withoutLocks);
  });
}
