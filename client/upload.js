/** The whole upload of one file: get a ticket, send the file to the storage, complete the upload. */

import { completeUpload, requestTicket } from "./api.js";
import { sha256 } from "./checksum.js";
import { contentType } from "./content_type.js";
import { UploadError } from "./errors.js";
import { pause, retry } from "./retry.js";
import { sendFile } from "./storage.js";

/**
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").StoredObject} StoredObject
 * @typedef {import("./types.js").Ticket} Ticket
 *
 * @typedef {"hashing" | "requesting" | "uploading" | "retrying" | "verifying" | "inspecting"} State
 *   "verifying": the server verifies the stored file. "inspecting": the server has no verdict yet, and is asked again.
 *
 * @typedef {object} UploadOptions
 * @property {string} api URL of the server that issues tickets, such as "https://app.example.com/files"
 * @property {AbortSignal} [signal] cancels requests and waits
 * @property {(progress: {loaded: number, total: number}) => void} [onProgress] bytes; at 0 again with each attempt
 * @property {(state: State, wait?: Wait) => void} [onState] `wait` comes with "retrying"
 * @property {(ticket: Ticket) => void} [onTicket] gets each ticket before the file is sent with it
 * @property {boolean} [sha256] ask for a ticket that allows only these bytes; for files up to MAX_HASHED_BYTES
 * @property {number} [attempts] for each request, 5 by default
 * @property {import("./api.js").ServerOptions["headers"]} [headers] of the requests to the server
 * @property {RequestCredentials} [credentials] of the requests to the server, "same-origin" by default
 *
 * @typedef {StoredObject & {enforced: Ticket["enforced"]}} UploadResult
 *
 * @typedef {object} IssuedTicket
 * @property {Ticket} ticket
 * @property {number} expiresAtMs on the clock of performance.now(), so that a wrong system clock does not matter
 */

/** A scan for malware may take two minutes, and it may have to wait for another one. */
const MAX_INSPECTION_MS = 300_000;
const DEFAULT_INSPECTION_WAIT_SECONDS = 5;
const MIN_INSPECTION_WAIT_SECONDS = 0.5;

/** A ticket that expires again at once shows a wrong clock or a connection that is too slow. */
const MAX_TICKET_RENEWALS = 1;

/**
 * Upload one file, and return what is stored.
 *
 * A transient failure (no connection, 5xx, 429) is repeated: five attempts in about 30 seconds for each request. An
 * expired ticket is replaced once. While the server inspects the file, it is asked again and again for five minutes, and
 * this is no failed attempt. Throws an UploadError, with the code "cancelled" when the signal was aborted.
 * @param {Blob & {name?: string}} blob
 * @param {UploadOptions} options
 * @returns {Promise<UploadResult>}
 */
export async function upload(blob, options) {
  return withUploadErrors(options, () => new Upload(blob, options).run());
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
  return withUploadErrors(options, () => new Upload(blob, options).runWithoutCompletion());
}

/**
 * @template T
 * @param {UploadOptions} options
 * @param {() => Promise<T>} run
 * @returns {Promise<T>}
 */
async function withUploadErrors(options, run) {
  try {
    return await run();
  } catch (error) {
    if (options.signal?.aborted) throw new UploadError("cancelled", { cause: error });
    if (error instanceof UploadError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new UploadError("unexpected", { details: { reason }, cause: error });
  }
}

class Upload {
  /**
   * @param {Blob & {name?: string}} blob
   * @param {UploadOptions} options
   */
  constructor(blob, options) {
    this.blob = blob;
    this.options = options;
    /** @type {FileInfo} */
    this.file = { name: blob.name ?? "", type: contentType(blob), size: blob.size };
    /** @type {string | null} */
    this.sha256 = null;
  }

  /** @returns {Promise<UploadResult>} */
  async run() {
    const { issued, completed } = await this.start();
    const stored = completed ?? (await this.completeWhenInspected(issued));
    return { ...stored, enforced: issued.ticket.enforced };
  }

  /** @returns {Promise<Ticket>} */
  async runWithoutCompletion() {
    const { issued } = await this.start();
    return issued.ticket;
  }

  async start() {
    this.options.signal?.throwIfAborted();
    if (this.options.sha256) this.sha256 = await this.hash();
    return this.store();
  }

  async hash() {
    this.options.onState?.("hashing");
    const digest = await sha256(this.blob, this.file);
    this.options.signal?.throwIfAborted();
    return digest;
  }

  /**
   * Store the file under a ticket, and under a new one if the first expires.
   * @returns {Promise<{issued: IssuedTicket, completed: StoredObject | null}>}
   */
  async store() {
    for (let renewals = 0; ; renewals += 1) {
      const issued = await this.withRetries("requesting", () => this.requestTicket());
      try {
        return { issued, completed: await this.withRetries("uploading", () => this.send(issued)) };
      } catch (error) {
        if (renewals === MAX_TICKET_RENEWALS || !isTicketExpired(error)) throw error;
      }
    }
  }

  /** @returns {Promise<IssuedTicket>} */
  async requestTicket() {
    // The time before the request, so that the ticket is never believed to be valid for longer than it is.
    const requestedAtMs = performance.now();
    const { api, signal } = this.options;
    const ticket = await requestTicket(api, this.file, this.sha256, signal, this.options);
    const lifetimeMs = Date.parse(ticket.expires_at) - Date.parse(ticket.now);
    this.options.onTicket?.(ticket);
    return { ticket, expiresAtMs: requestedAtMs + lifetimeMs };
  }

  /**
   * @param {IssuedTicket} issued
   * @returns {Promise<StoredObject | null>} the object if the upload had to be completed to know that it is stored
   */
  async send(issued) {
    if (hasExpired(issued)) throw new UploadError("ticket_expired");
    this.reportProgress(0, this.blob.size);
    try {
      await sendFile(issued.ticket, this.blob, this.file, {
        signal: this.options.signal,
        onProgress: (loaded, total) => this.reportProgress(loaded, total),
      });
      return null;
    } catch (error) {
      if (!(error instanceof UploadError)) throw error;
      // Each ticket has its own key, so the object is this file. An earlier response was lost: this code sent the file
      // again, or the browser did after a broken connection. Completion verifies the object.
      if (error.code === "already_exists") return null;
      if (error.code === "storage_refused" && hasExpired(issued)) throw new UploadError("ticket_expired");
      // Some storages refuse a second upload of the same key with a code of their own.
      if (error.code === "response_lost" || error.code === "storage_refused") {
        return this.completeIfStored(issued, error);
      }
      throw error;
    }
  }

  /**
   * Complete the upload although the storage did not confirm it: asking the server costs less than sending again.
   * @param {IssuedTicket} issued
   * @param {UploadError} failure is thrown if the file is not in the storage
   * @returns {Promise<StoredObject | null>} null if the file is in the storage, and the server has no verdict yet
   */
  async completeIfStored(issued, failure) {
    try {
      return await this.complete(issued);
    } catch (error) {
      if (isPending(error)) return null;
      if (error instanceof UploadError && (error.transient || error.code === "not_uploaded")) throw failure;
      throw error;
    }
  }

  /**
   * Complete the upload; as long as the server has no verdict, wait as it asked, and ask again.
   * @param {IssuedTicket} issued
   * @returns {Promise<StoredObject>}
   */
  async completeWhenInspected(issued) {
    const { signal, onState } = this.options;
    /** @type {number | null} */
    let endMs = null;
    for (;;) {
      try {
        return await this.withRetries(endMs === null ? "verifying" : "inspecting", () => this.complete(issued));
      } catch (error) {
        if (!isPending(error)) throw error;
        endMs ??= performance.now() + MAX_INSPECTION_MS;
        const seconds = Math.max(MIN_INSPECTION_WAIT_SECONDS, error.retryAfter ?? DEFAULT_INSPECTION_WAIT_SECONDS);
        if (performance.now() + seconds * 1000 > endMs) throw error;
        onState?.("inspecting");
        await pause(seconds, { signal });
      }
    }
  }

  /** @param {IssuedTicket} issued */
  complete(issued) {
    const { api, signal } = this.options;
    return completeUpload(api, issued.ticket.token, this.file, signal, this.options);
  }

  /**
   * @template T
   * @param {State} state
   * @param {() => Promise<T>} attempt
   * @returns {Promise<T>}
   */
  withRetries(state, attempt) {
    const { signal, attempts, onState } = this.options;
    const announcedAttempt = () => {
      onState?.(state);
      return attempt();
    };
    return retry(announcedAttempt, { signal, attempts, onWait: (wait) => onState?.("retrying", wait) });
  }

  /** @param {number} loaded @param {number} total */
  reportProgress(loaded, total) {
    this.options.onProgress?.({ loaded, total });
  }
}

/** @param {IssuedTicket} issued */
function hasExpired(issued) {
  return performance.now() >= issued.expiresAtMs;
}

/** @param {unknown} error @returns {error is UploadError} */
function isPending(error) {
  return error instanceof UploadError && error.code === "completion_pending";
}

/** @param {unknown} error */
function isTicketExpired(error) {
  return error instanceof UploadError && error.code === "ticket_expired";
}
