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
 * @property {string | null} sha256 of the whole file, if its ticket allows only these bytes
 *
 * @typedef {import("./api.js").ServerOptions} ServerOptions
 *
 * @typedef {object} ResumeStore where records are kept, by a key of one line of text
 * @property {(key: string) => unknown} load returns a record, or nothing, or a promise of it
 * @property {(key: string, record: UnfinishedUpload) => unknown} save
 * @property {(key: string) => unknown} remove
 *
 * @typedef {NonNullable<Awaited<ReturnType<typeof recordOf>>>} UploadRecord
 */

const PREFIX = "presign-uploads:";
const TIMEOUT_MS = 30_000;

/** The server's codes for an upload with which nobody can go on. */
const ENDED_CODES = ["upload_ended", "token_expired"];

/** Keeps records in the browser's localStorage, for all pages of the origin. @type {ResumeStore} */
export const localResume = {
  load: (key) => JSON.parse(localStorage.getItem(PREFIX + key) ?? "null"),
  save: (key, record) => {
    for (const old of expiredKeys()) localStorage.removeItem(old);
    localStorage.setItem(PREFIX + key, JSON.stringify(record));
  },
  remove: (key) => localStorage.removeItem(PREFIX + key),
};

/** Nobody asks for an abandoned upload again, and a browser gives all pages of an origin 5 MB. */
function expiredKeys() {
  return Object.keys(localStorage).filter((key) => {
    if (!key.startsWith(PREFIX)) return false;
    try {
      return !(JSON.parse(localStorage.getItem(key) ?? "null")?.until > Date.now());
    } catch {
      return true;
    }
  });
}

/**
 * Return the unfinished uploads that this browser remembers, so that a page can ask for their files again. An upload that
 * a page goes on with at this moment is not among them. There are none where the browser gives the page no localStorage.
 *
 * The page cannot open a file by itself: it asks the user to choose the file again, and uploads it as any other file.
 * @returns {Promise<UnfinishedUpload[]>}
 */
export async function unfinishedUploads() {
  // The browser refuses it to a page in a sandbox.
  const { held = [] } = (await globalThis.navigator?.locks?.query().catch(() => null)) ?? {};
  const busy = new Set([...held.map(({ name }) => name), ...Array.from(claimed, (key) => PREFIX + key)]);
  const keys = withoutError(() => Object.keys(localStorage)) ?? [];
  return keys
    .filter((key) => key.startsWith(PREFIX) && !busy.has(key))
    .map((key) => withoutError(() => localResume.load(key.slice(PREFIX.length))))
    .filter(isUsable);
}

/**
 * Ask the server how much of an unfinished upload is stored.
 * @param {UnfinishedUpload} upload
 * @param {ServerOptions} [options]
 * @returns {Promise<{hasEnded: boolean, stored: number | null}>} `hasEnded`: nobody, or only another user, can go on with
 *   it; `stored` in bytes, null if the server does not say
 */
export async function statusOf(upload, options) {
  const { isOk, content } = await ask(upload, "/parts/list", options);
  if (!isOk || !Array.isArray(content.numbers)) {
    const isOver = ENDED_CODES.includes(content.code);
    if (isOver) localResume.remove(keyOf(upload));
    // The token of another user is invalid for this one only, so its record stays.
    return { hasEnded: isOver || content.code === "invalid_token", stored: null };
  }
  const { size } = upload;
  const { part_size, count } = /** @type {import("./types.js").TicketParts} */ (upload.ticket.parts);
  const sizes = content.numbers.map((/** @type {number} */ number) =>
    number === count ? size - (count - 1) * part_size : part_size,
  );
  return { hasEnded: false, stored: sizes.reduce((/** @type {number} */ sum, /** @type {number} */ one) => sum + one, 0) };
}

/**
 * Forget an unfinished upload, and let the server delete its parts.
 * @param {UnfinishedUpload} upload
 * @param {ServerOptions} [options]
 * @returns {Promise<"aborted" | "forgotten" | "busy">} "forgotten": the server could not be told, and deletes the parts
 *   only after `until`; "busy": another tab goes on with the upload, so nothing was done
 */
export async function discardUpload(upload, options) {
  const key = keyOf(upload);
  const release = await claim(key);
  if (!release) return "busy";
  try {
    localResume.remove(key);
    return (await ask(upload, "/abort", options)).isOk ? "aborted" : "forgotten";
  } finally {
    release();
  }
}

/**
 * Send an upload's token to the server. It never fails. This file imports nothing, so that bundlers do not cut it in two.
 * @param {UnfinishedUpload} upload
 * @param {string} path
 * @param {ServerOptions} [options]
 * @returns {Promise<{isOk: boolean, content: any}>}
 */
async function ask({ api, ticket }, path, { headers, credentials = "same-origin", fetch = globalThis.fetch } = {}) {
  try {
    const sent = new Headers(typeof headers === "function" ? await headers() : headers);
    sent.set("Content-Type", "application/json");
    sent.set("Accept", "application/json, application/problem+json");
    const response = await fetch(api + path, {
      method: "POST",
      headers: sent,
      credentials,
      body: JSON.stringify({ token: ticket.token }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    return { isOk: response.ok, content: (await response.json()) ?? {} };
  } catch {
    return { isOk: false, content: {} };
  }
}

/**
 * Say whether a page can go on with what is kept as a record. Another version of this client, or another program, may
 * have written it.
 * @param {unknown} kept
 * @returns {kept is UnfinishedUpload}
 */
function isUsable(kept) {
  const { until, size, ticket } = /** @type {UnfinishedUpload} */ (kept ?? {});
  const { part_size = 0, count } = ticket?.parts ?? {};
  return typeof ticket?.token === "string" && Math.ceil(size / part_size) === count && until > Date.now();
}

/**
 * @template T
 * @param {() => T} act
 * @returns {T | null} null if it failed
 */
function withoutError(act) {
  try {
    return act();
  } catch {
    return null;
  }
}

/** @param {Pick<UnfinishedUpload, "api" | "name" | "type" | "size" | "lastModified" | "sha256">} upload */
function keyOf({ api, name, type, size, lastModified, sha256 }) {
  return JSON.stringify([api, name, type, size, lastModified, ...(sha256 ? [sha256] : [])]);
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
  const key = keyOf({ api, name, type, size, lastModified, sha256 });
  const release = await claim(key);
  if (!release) return null;
  /** @type {UnfinishedUpload | null} */
  let record = null;
  // A store that fails must not end the upload.
  const access = async (/** @type {() => any} */ act) => {
    try {
      return await act();
    } catch {
      return null;
    }
  };
  const save = () =>
    access(async () => (await store.save(key, /** @type {UnfinishedUpload} */ (record)), true));
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

    /**
     * @param {{ticket: Ticket, until: number}} upload
     * @returns {Promise<true | null>} null if the store failed: it may be full
     */
    save(upload) {
      record = { name, type, size, lastModified, api, sha256, digest: null, ...upload };
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
