/**
 * A file from the browser straight into object storage: ask our server for a ticket, store, complete.
 * No DOM: this file and its imports are a small client library for any page.
 *
 *     import { upload, UploadError } from "./upload.js";
 *
 *     const controller = new AbortController();
 *     try {
 *       const stored = await upload(file, {
 *         api: "https://api.example.com",
 *         signal: controller.signal,                     // controller.abort() cancels a request and a wait alike
 *         sha256: true,                                  // bind the ticket to these bytes
 *         onProgress: ({ loaded, total }) => { ... },    // bytes; starts again from 0 with every attempt
 *         onState: (state, wait) => { ... },             // wait says why, how long and which attempt, while "retrying"
 *       });
 *       console.log(stored.url, stored.key, stored.enforced);
 *     } catch (error) {
 *       if (error instanceof UploadError) console.log(error.code, error.message, error.retryable);
 *     }
 *
 * Failures that may pass (no connection, 5xx, 429) are tried again, five attempts in about 30 seconds per step. An expired
 * ticket is replaced once. Everything thrown is an UploadError; cancelling gives the code "cancelled".
 */

import { complete, requestTicket } from "./api.js";
import { sha256 as digest } from "./checksum.js";
import { contentType } from "./content_type.js";
import { cancelled, ticketExpired, UploadError } from "./errors.js";
import { retry } from "./retry.js";
import { send } from "./storage.js";

export { UploadError };

/**
 * @typedef {import("./api.js").Ticket} Ticket
 * @typedef {import("./api.js").Stored} Stored
 * @typedef {import("./errors.js").Subject} Subject
 * @typedef {import("./retry.js").Wait} Wait
 *
 * @typedef {"hashing" | "asking" | "uploading" | "retrying" | "verifying"} State
 *
 * @typedef {object} UploadOptions
 * @property {string} api address of the server that gives tickets
 * @property {AbortSignal} [signal]
 * @property {(progress: {loaded: number, total: number}) => void} [onProgress] bytes of the file
 * @property {(state: State, wait?: Wait) => void} [onState]
 * @property {boolean} [sha256] bind the ticket to exactly these bytes; files up to 512 MiB
 * @property {number} [attempts] per step, 5 unless told
 *
 * @typedef {Stored & {enforced: Ticket["enforced"]}} Uploaded
 *
 * @typedef {object} Lease a ticket, and when it ends
 * @property {Ticket} ticket
 * @property {number} dies on the monotonic clock, so that a wrong wall clock does not matter
 *
 * @typedef {object} Delivery
 * @property {string | null} location
 * @property {Stored} [stored] known already when the storage's answer was lost and our server was asked instead
 */

/** A ticket that dies again right away shows a wrong clock or a hopeless connection, not bad luck. */
const FRESH_TICKETS = 1;

/**
 * @param {Blob & {name?: string}} file
 * @param {UploadOptions} options
 * @returns {Promise<Uploaded>}
 */
export async function upload(file, options) {
  try {
    return await new Upload(file, options).run();
  } catch (error) {
    if (options.signal?.aborted) throw cancelled(error);
    if (error instanceof UploadError) throw error;
    throw new UploadError("unexpected", `The upload failed: ${/** @type {Error} */ (error).message}`, { cause: error });
  }
}

class Upload {
  /**
   * @param {Blob & {name?: string}} file
   * @param {UploadOptions} options
   */
  constructor(file, options) {
    this.file = file;
    this.options = options;
    /** @type {Subject} */
    this.subject = { name: file.name ?? "", type: contentType(file), size: file.size };
    /** @type {string | null} */
    this.sha256 = null;
  }

  /** @returns {Promise<Uploaded>} */
  async run() {
    this.options.signal?.throwIfAborted();
    if (this.options.sha256) this.sha256 = await this.hash();
    const { lease, delivery } = await this.store();
    const stored = delivery.stored ?? (await this.step("verifying", () => this.complete(lease)));
    const { enforced } = lease.ticket;
    return { ...stored, url: stored.url ?? publicUrl(lease.ticket, delivery), enforced };
  }

  async hash() {
    this.options.onState?.("hashing");
    const hex = await digest(this.file, this.subject);
    this.options.signal?.throwIfAborted();
    return hex;
  }

  /** @returns {Promise<{lease: Lease, delivery: Delivery}>} */
  async store() {
    for (let fresh = FRESH_TICKETS; ; fresh -= 1) {
      const lease = await this.step("asking", () => this.ask());
      try {
        return { lease, delivery: await this.step("uploading", () => this.deliver(lease)) };
      } catch (error) {
        if (fresh === 0 || !expired(error)) throw error;
      }
    }
  }

  /** @returns {Promise<Lease>} */
  async ask() {
    // Before the question, not after the answer: the ticket is never taken for longer-lived than it is.
    const asked = performance.now();
    const ticket = await requestTicket(this.options.api, this.subject, this.sha256, this.options.signal);
    const lifetime = Date.parse(ticket.expires_at) - Date.parse(ticket.now);
    return { ticket, dies: asked + lifetime };
  }

  /**
   * @param {Lease} lease
   * @returns {Promise<Delivery>}
   */
  async deliver(lease) {
    if (dead(lease)) throw ticketExpired();
    this.report(0, this.file.size);
    try {
      return { location: await this.send(lease.ticket) };
    } catch (error) {
      if (!(error instanceof UploadError)) throw error;
      // Keys are never shared, so what is there already is this file: its answer was lost, to us or to the browser, which
      // sends again by itself when a kept-alive connection breaks. complete() tells whether it is whole.
      if (error.code === "already_exists") return { location: null };
      if (error.code === "storage_refused" && dead(lease)) throw ticketExpired();
      // A storage may also put the same into a refusal of its own.
      const unsure = error.code === "answer_lost" || error.code === "storage_refused";
      if (unsure) return { location: null, stored: await this.arrived(lease, error) };
      throw error;
    }
  }

  /** @param {Ticket} ticket */
  send(ticket) {
    return send(ticket, this.file, this.subject, {
      signal: this.options.signal,
      onProgress: (loaded, total) => this.report(loaded, total),
    });
  }

  /**
   * The file may be there: every byte left and no answer came, or the storage refused to take it (once more). Asking our
   * server is cheaper than sending it all again.
   * @param {Lease} lease
   * @param {UploadError} failure what is thrown if it is not there
   */
  async arrived(lease, failure) {
    try {
      return await this.complete(lease);
    } catch (error) {
      if (error instanceof UploadError && (error.transient || error.code === "not_uploaded")) throw failure;
      throw error;
    }
  }

  /** @param {Lease} lease */
  complete(lease) {
    return complete(this.options.api, lease.ticket.token, this.subject, this.options.signal);
  }

  /**
   * @template T
   * @param {State} state
   * @param {() => Promise<T>} attempt
   * @returns {Promise<T>}
   */
  step(state, attempt) {
    const { signal, attempts, onState } = this.options;
    const once = () => {
      onState?.(state);
      return attempt();
    };
    return retry(once, { signal, attempts, onWait: (wait) => onState?.("retrying", wait) });
  }

  /** @param {number} loaded @param {number} total */
  report(loaded, total) {
    this.options.onProgress?.({ loaded, total });
  }
}

/** @param {Lease} lease */
function dead(lease) {
  return performance.now() >= lease.dies;
}

/** @param {unknown} error */
function expired(error) {
  return error instanceof UploadError && error.code === "ticket_expired";
}

/**
 * A storage sends a Location for a private object too; a link to it would only be refused.
 * @param {Ticket} ticket
 * @param {Delivery} delivery
 */
function publicUrl(ticket, delivery) {
  return ticket.object_url === null ? null : (delivery.location ?? ticket.object_url);
}
