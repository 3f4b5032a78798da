/** The whole upload of one file: get a ticket, send the file to the storage, complete the upload. */

import { unlessAborted } from "./abort.js";
import { completeUpload, MIN_BYTES_IN_PARTS, post, requestTicket, requireApi } from "./api.js";
import { sha256 } from "./checksum.js";
import { completeWhenInspected, isVerdict, withRetries, withUploadErrors } from "./completion.js";
import { fileInfo } from "./content_type.js";
import { hasCode, UploadError } from "./errors.js";
import { retry } from "./retry.js";
import { sendFile } from "./storage.js";

/**
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").StoredObject} StoredObject
 * @typedef {import("./types.js").Ticket} Ticket
 *
 * @typedef {"hashing" | "requesting" | "uploading" | import("./completion.js").CompletionState} State
 *
 * @typedef {object} OwnUploadOptions
 * @property {string} api URL of the server that issues tickets, such as "https://app.example.com/files"
 * @property {AbortSignal} [signal] cancels requests and waits
 * @property {(progress: Progress) => void} [onProgress] called when something was sent or confirmed
 * @property {(state: State, wait?: Wait) => void} [onState] `wait` comes with "retrying"
 * @property {(ticket: Ticket) => void} [onTicket] gets each ticket before the file is sent with it
 * @property {boolean} [sha256] ask for a ticket that allows only these bytes; for files up to MAX_HASHED_BYTES
 * @property {boolean} [digest] the same for files of any size: the digests of all parts are computed before the upload,
 *   so the file is read twice
 * @property {number} [attempts] for each request, 5 by default
 * @property {import("./resume.js").ResumeStore | false} [resume] where an unfinished upload of a large file is
 *   remembered, so that a later page can go on with it: the browser's localStorage by default; false: nowhere
 *
 * @typedef {object} Progress bytes
 * @property {number} loaded of a file in one piece: what was sent, at 0 again with each attempt; of a large file: the
 *   parts that the storage confirmed
 * @property {number} total
 * @property {number} sent `loaded`, and what was sent of the parts that the storage has not confirmed
 * @property {number} [hashed] bytes that are hashed, in the state "hashing" of an upload with `digest`
 *
 * @typedef {OwnUploadOptions & import("./api.js").ServerOptions} UploadOptions
 *
 * @typedef {StoredObject & {enforced: Ticket["enforced"]}} UploadResult
 *
 * @typedef {object} IssuedTicket
 * @property {Ticket} ticket
 * @property {number} expiresAtMs on the clock of performance.now(), so that a wrong system clock does not matter
 * @property {import("./parts.js").PartsUpload | null} parts of a large file
 */

/** What parts.js needs. If it imported this itself, a bundler would cut the package into three files for all pages. */
export const CORE = {
  completeWhenInspected,
  hasCode,
  MIN_BYTES_IN_PARTS,
  post,
  retry,
  sendFile,
  unlessAborted,
  UploadError,
};

/** A ticket that expires again at once shows a wrong clock or a connection that is too slow. */
const MAX_TICKET_RENEWALS = 1;

/**
 * Upload one file, and return what is stored.
 *
 * A transient failure (no connection, 5xx, 429) is repeated: five attempts in about 30 seconds for each request. While
 * the browser is offline, nothing is attempted, however long that is. An expired ticket is replaced once. While the
 * server inspects the file, it is asked again and again for five minutes, and this is no failed attempt.
 *
 * A large file comes in parts, if the server says so. Then each part is repeated alone. When the upload was cancelled
 * or failed, or the page was closed, the next upload of the same file goes on where it ended.
 *
 * Throws an UploadError, with the code "cancelled" when the signal was aborted. If the file may be stored already, the
 * error has a `token`, with which `complete` ends the upload without sending the file again.
 * @param {Blob & {name?: string}} blob
 * @param {UploadOptions} options
 * @returns {Promise<UploadResult>}
 */
export async function upload(blob, options) {
  const one = new Upload(blob, options);
  return one.run(options.signal).finally(() => one.close());
}

/**
 * Store one file, and return its ticket: the application's own server completes the upload, with the ticket's token.
 *
 * A form that posts the token works this way: a form that is never sent publishes nothing. Failures are repeated and
 * thrown as `upload` does.
 * @param {Blob & {name?: string}} blob
 * @param {UploadOptions} options
 * @returns {Promise<Ticket>}
 */
export async function store(blob, options) {
  const one = new Upload(blob, options);
  return one.runWithoutCompletion(options.signal).finally(() => one.close());
}

/** One upload, which goes on where it ended when it is run again: it sends no file twice that may be stored. */
export class Upload {
  /** @type {string | null} */
  sha256 = null;
  /** The SHA-256 of all parts, if the ticket is for their digest. @type {string[]} */
  digests = [];
  /** @type {IssuedTicket | null} */
  #issued = null;
  /**
   * Whether the storage accepted the file; "maybe" after a request without an answer.
   * @type {"no" | "maybe" | "yes"}
   */
  stored = "no";
  /** Whether the ticket got older while nothing could be sent. */
  #wasOffline = false;
  /** Whether this class may ask the server to complete, which publishes the file. */
  completes = true;

  /**
   * @param {Blob & {name?: string}} blob
   * @param {UploadOptions & {ask?: import("./api.js").Ask}} options
   */
  constructor(blob, options) {
    requireApi(options);
    this.blob = blob;
    const onState = (/** @type {State} */ state, /** @type {Wait | undefined} */ wait) => {
      this.#wasOffline ||= state === "offline";
      options.onState?.(state, wait);
    };
    this.options = { ...options, onState };
    this.file = fileInfo(blob);
  }

  /** The token if the storage may have the file. */
  get token() {
    return this.stored === "no" ? null : (this.ticket?.token ?? null);
  }

  /** The ticket that the next run uses again. */
  get ticket() {
    return this.#issued?.ticket ?? null;
  }

  /** How many bytes the next run does not send again. */
  get storedBytes() {
    return this.stored === "yes" ? this.file.size : (this.#issued?.parts?.loaded ?? 0);
  }

  /**
   * Stop going on with an upload in parts.
   * @param {boolean} [isUnwanted] the server deletes the parts, unless the whole file is stored
   */
  close(isUnwanted) {
    if (this.#issued?.parts?.close(isUnwanted)) this.#forgetTicket();
  }

  /**
   * @param {AbortSignal} [signal] of this run
   * @returns {Promise<UploadResult>}
   */
  run(signal) {
    return this.#withToken(signal, async () => {
      const { issued, completed } = await this.#store();
      const stored = completed ?? (await completeWhenInspected(issued.ticket.token, this.file, this.options));
      return { ...stored, enforced: issued.ticket.enforced };
    });
  }

  /**
   * @param {AbortSignal} [signal] of this run
   * @returns {Promise<Ticket>}
   */
  runWithoutCompletion(signal) {
    this.completes = false;
    return this.#withToken(signal, async () => (await this.#store()).issued.ticket);
  }

  /**
   * @template T
   * @param {AbortSignal | undefined} signal
   * @param {() => Promise<T>} run
   * @returns {Promise<T>}
   */
  #withToken(signal, run) {
    this.options.signal = signal;
    return withUploadErrors(signal, run, (error) => {
      // A ticket is used again only if nothing is wrong with it.
      const isSpoiled = this.stored === "no" && !this.#issued?.parts && error.code !== "cancelled" && !error.transient;
      if (isVerdict(error) || isSpoiled) {
        this.#forgetTicket();
      }
      error.token = this.token;
    });
  }

  #forgetTicket() {
    this.#issued?.parts?.finish();
    this.#issued = null;
    this.stored = "no";
  }

  /**
   * Store the file under a ticket, and under a new one if the first expires.
   * @returns {Promise<{issued: IssuedTicket, completed: StoredObject | null}>} `completed` if the upload had to be
   *   completed to know that it is stored
   */
  async #store() {
    this.options.signal?.throwIfAborted();
    if (this.options.sha256) await this.hash();
    if (this.stored === "no" && this.#issued && hasExpired(this.#issued)) this.#forgetTicket();
    for (let renewals = 0; ;) {
      const issued = (this.#issued ??= await this.#issue());
      this.#wasOffline = false;
      try {
        if (issued.parts) return { issued, completed: await issued.parts.run() };
        if (this.stored === "yes") return { issued, completed: null };
        const completed = await withRetries("uploading", this.options, () => this.#send(issued));
        this.stored = "yes";
        return { issued, completed };
      } catch (error) {
        if (!(issued.parts ? issued.parts.hasEnded(error) : hasCode(error, "ticket_expired"))) throw error;
        this.#forgetTicket();
        if (!this.#wasOffline && (renewals += 1) > MAX_TICKET_RENEWALS) throw error;
      }
    }
  }

  /** Let the next ticket allow only the bytes with the file's SHA-256. */
  async hash() {
    if (this.sha256) return;
    this.options.onState("hashing", undefined);
    this.sha256 = await unlessAborted(sha256(this.blob, this.file), this.options.signal);
  }

  /** @returns {Promise<IssuedTicket>} */
  async #issue() {
    const load = () => import("./parts.js");
    const issued = this.options.digest ? await (await load()).issueForDigest(CORE, this) : await this.issue();
    return issued.ticket.parts && !issued.parts ? (await load()).openParts(CORE, this, issued) : issued;
  }

  /** @param {object} [parts] what was decided of the file's parts */
  issue(parts) {
    return withRetries("requesting", this.options, () => this.#requestTicket(parts));
  }

  /** @param {object} [parts] @returns {Promise<IssuedTicket>} */
  async #requestTicket(parts) {
    // The time before the request, so that the ticket is never believed to be valid for longer than it is.
    const requestedAtMs = performance.now();
    const ticket = await requestTicket(this.file, this.sha256, this.options, parts);
    const lifetimeMs = Date.parse(ticket.expires_at) - Date.parse(ticket.now);
    this.options.onTicket?.(ticket);
    return { ticket, expiresAtMs: requestedAtMs + lifetimeMs, parts: null };
  }

  /**
   * @param {IssuedTicket} issued
   * @returns {Promise<StoredObject | null>} the object if the upload had to be completed to know that it is stored
   */
  async #send(issued) {
    if (this.stored === "maybe") {
      const answer = await this.#completeIfStored(issued);
      if (answer !== "not_uploaded") return answer;
    }
    if (hasExpired(issued)) throw new UploadError("ticket_expired");
    let isSent = false;
    const onProgress = (/** @type {number} */ loaded, /** @type {number} */ total) => {
      isSent = loaded === total;
      this.options.onProgress?.({ loaded, total, sent: loaded });
    };
    onProgress(0, this.blob.size);
    try {
      await sendFile(issued.ticket, this.blob, this.file, { signal: this.options.signal, onProgress });
      return null;
    } catch (error) {
      const failure = error instanceof UploadError ? error : null;
      // The request was aborted or broke while the storage's answer was on its way.
      if (isSent && this.completes && !failure?.details.status) this.stored = "maybe";
      if (!failure) throw error;
      // Each ticket has its own key, so the object is this file. An earlier response was lost: this code sent the file
      // again, or the browser did after a broken connection. Completion verifies the object.
      if (failure.code === "already_exists") return null;
      if (failure.code === "storage_refused" && hasExpired(issued)) throw new UploadError("ticket_expired");
      // Some storages refuse a second upload of the same key with a code of their own.
      if (!this.completes || !hasCode(error, "response_lost", "storage_refused")) throw error;
      const answer = await this.#completeIfStored(issued);
      if (answer === "not_uploaded") throw error;
      return answer;
    }
  }

  /**
   * Complete the upload although the storage did not confirm it: asking the server costs less than sending again.
   * @param {IssuedTicket} issued
   * @returns {Promise<StoredObject | "not_uploaded" | null>} null if the file is in the storage, and the server has no
   *   verdict yet
   */
  async #completeIfStored({ ticket }) {
    this.stored = "maybe";
    try {
      return await completeUpload(ticket.token, this.file, this.options);
    } catch (error) {
      if (hasCode(error, "completion_pending")) return null;
      if (!hasCode(error, "not_uploaded")) throw error;
      this.stored = "no";
      return "not_uploaded";
    }
  }
}

/** @param {IssuedTicket} issued */
function hasExpired(issued) {
  return performance.now() >= issued.expiresAtMs;
}
