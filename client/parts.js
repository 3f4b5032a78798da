/**
 * Large files: one upload in parts, several at a time, which goes on where it ended. Loaded only when it is needed.
 *
 * Several lanes work at the same time, each on one part after another. If the store checks the digest of a part, the
 * part is hashed first. The next parts are hashed and signed while others are sent, so that no connection waits for it.
 * If a part fails, only this part is sent again. The server's list says what the store has; what this page remembers
 * does not count.
 *
 * A part is sent as a slice of the file, which the browser reads while it sends. Chromium copies an ArrayBuffer several
 * times, which costs as much as to read the slice again, and keeps what a Blob holds in memory until it collects garbage.
 * Safari sends slices unreliably, so there parts are read into memory first, and no more of them than fit into
 * MAX_BUFFERED_BYTES.
 */

import { release } from "./digest.js";
import { Hasher } from "./hashing.js";
import { recordOf } from "./resume.js";

/**
 * @typedef {import("./resume.js").UploadRecord} UploadRecord
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").PartRequest} PartRequest
 * @typedef {import("./types.js").StoredObject} StoredObject
 * @typedef {import("./types.js").Ticket} Ticket
 * @typedef {import("./types.js").TicketParts} TicketParts
 * @typedef {import("./upload.js").IssuedTicket} IssuedTicket
 * @typedef {import("./upload.js").State} State
 *
 * @typedef {typeof import("./upload.js").CORE} Core what every page has loaded already
 *
 * @typedef {import("./upload.js").Upload} Upload
 * @typedef {Upload["options"]} Options
 *
 * @typedef {object} SignedPart
 * @property {PartRequest} request
 * @property {number} expiresAtMs on the clock of performance.now()
 *
 * @typedef {object} Sending one part on its way
 * @property {number} sent bytes
 * @property {number} movedAtMs
 * @property {number} storedAtMove how many parts were stored when this one moved last
 * @property {AbortController} stall
 */

/** Browsers open six connections to one origin with HTTP/1.1. */
export const MAX_PARALLEL = 6;
const MAX_BUFFERED_BYTES = 64 * 1024 * 1024;

/** The server serves no parts any more, or not for this token: tomorrow it would answer the same. */
const NEVER_STATUSES = [400, 404];

/** How often one part gets a new request after its storage refused one. */
const MAX_RENEWALS = 2;

/** How often the server may say at the completion that parts are missing. */
const MAX_REPAIRS = 3;

/** With these, S3 and Azure say that they have not done what was asked, because too much is asked. */
const THROTTLED_CODES = ["SlowDown", "ServerBusy"];

/** A part is stalled if none of its bytes was sent for so long, while so many other parts were stored. */
const STALL_MS = 15_000;
const STALL_PARTS = 2 * MAX_PARALLEL;

/**
 * Return the ticket of a large file, with what sends its parts. The ticket is remembered for a later page. If an
 * earlier page began an upload of this file, return the ticket of that upload, and end the new one.
 * @param {Core} core
 * @param {Upload} upload
 * @param {IssuedTicket} issued
 * @returns {Promise<IssuedTicket>}
 */
export async function openParts(core, upload, { ticket, expiresAtMs }) {
  const plan = /** @type {TicketParts} */ (ticket.parts);
  const record = await recordOf(upload);
  const parts = new PartsUpload(core, upload, ticket, record);
  try {
    if (!parts.isWhole) throw invalidResponse(core, "the ticket's parts do not make up the file");
    const earlier = await unfinishedOf(core, upload, record);
    if (earlier) {
      parts.abort();
      return earlier;
    }
    const until = Date.now() + Date.parse(plan.resumable_until) - Date.parse(ticket.now);
    parts.isKept = await record?.save({ ticket: { ...ticket, parts: { ...plan, requests: [] } }, until });
    parts.sign(plan.requests, expiresAtMs);
    return { ticket, expiresAtMs: onPageClock(until), parts };
  } catch (error) {
    parts.abort();
    record?.release();
    throw error;
  }
}

/**
 * Return the upload of this file that an earlier page began, if somebody can go on with it.
 * @param {Core} core
 * @param {Upload} upload
 * @param {UploadRecord | null} record
 * @returns {Promise<IssuedTicket | null>}
 */
async function unfinishedOf(core, upload, record) {
  const kept = await record?.load();
  if (!kept?.ticket) return null;
  const { ticket, until } = kept;
  const parts = new PartsUpload(core, upload, ticket, record);
  // Another version of this client, or another program, may have written the record.
  if (!parts.isWhole) return null;
  parts.isKept = true;
  if (upload.options.digest && !ticket.enforced?.checksum) {
    parts.abort();
    return null;
  }
  if (!(await parts.canGoOn())) return null;
  // Its parts may have another size than those that were hashed.
  upload.digests = [];
  upload.options.onTicket?.(ticket);
  return { ticket, expiresAtMs: onPageClock(until), parts };
}

/**
 * Return a ticket that allows only this file's bytes: by the digests of its parts, or by its SHA-256 if it comes in one
 * request. If an earlier page began an upload with such a ticket, return that one, and hash nothing.
 * @param {Core} core
 * @param {Upload} upload
 * @returns {Promise<IssuedTicket>}
 */
export async function issueForDigest(core, upload) {
  const record = await recordOf(upload);
  const earlier = await unfinishedOf(core, upload, record).catch((error) => {
    record?.release();
    throw error;
  });
  if (earlier) return earlier;
  await record?.remove();
  if (upload.file.size >= core.MIN_BYTES_IN_PARTS && globalThis.crypto?.subtle) {
    const { issueForParts } = await import("./parts_digest.js");
    const issued = await issueForParts(core, upload, { Hasher, PartsUpload });
    if (issued) return issued;
  }
  await upload.hash();
  return upload.issue();
}

/** @param {Core} core @param {string} reason */
function invalidResponse({ UploadError }, reason) {
  return new UploadError("invalid_response", { details: { reason } });
}

/** @param {number} ms since 1970 @returns {number} on the clock of performance.now() */
function onPageClock(ms) {
  return performance.now() + ms - Date.now();
}

/** The parts of one ticket. */
export class PartsUpload {
  /** Bytes of the parts that the store has. */
  loaded = 0;
  /** Whether a later page can go on. @type {true | null | undefined} */
  isKept;
  #core;
  #upload;
  #ticket;
  #plan;
  #record;
  /** @type {Set<number>} */
  #stored = new Set();
  /** Parts that were missing at the completion although the server had listed them. @type {number[]} */
  #missed = [];
  /** @type {Map<number, SignedPart>} */
  #signed = new Map();
  /** The digests of the parts that need a request. @type {Map<number, string | null>} */
  #wanted = new Map();
  /** @type {Promise<void> | null} */
  #asking = null;
  /** The numbers of the parts that no lane has taken yet. @type {number[]} */
  #queue = [];
  /** The digests of the parts that a lane has taken or takes soon, by number. @type {Promise<string | null>[]} */
  #ahead = [];
  /** @type {Set<Sending>} */
  #sending = new Set();
  /** The parts that wait for another attempt. @type {Set<number>} */
  #waiting = new Set();
  /** @type {State | ""} */
  #state = "";
  #lanes = 0;
  #hasher = new Hasher();
  /** Whether an earlier run may have sent parts. */
  #hasRun = false;
  #slots;

  /**
   * @param {Core} core
   * @param {Upload} upload
   * @param {Ticket} ticket
   * @param {UploadRecord | null} record
   */
  constructor(core, upload, ticket, record) {
    this.#core = core;
    this.#upload = upload;
    this.#ticket = ticket;
    this.#plan = /** @type {TicketParts} */ (ticket.parts ?? {});
    this.#record = record;
    const { part_size, count } = this.#plan;
    /** Whether the ticket's parts make up the file. */
    this.isWhole = Math.ceil(upload.file.size / part_size) === count;
    const inMemory = Math.max(1, Math.floor(MAX_BUFFERED_BYTES / part_size));
    this.#slots = new Slots(Math.min(MAX_PARALLEL, count, isSafari() ? inMemory : count));
  }

  /**
   * Send the parts that the store does not have, and complete the upload if the page wants that.
   * @returns {Promise<StoredObject | null>}
   */
  async run() {
    const upload = this.#upload;
    for (let repairs = 0; ; repairs += 1) {
      if (upload.stored !== "yes") await this.#sendMissing();
      upload.stored = "yes";
      try {
        const { completeWhenInspected } = this.#core;
        const { token } = this.#ticket;
        const stored = upload.completes ? await completeWhenInspected(token, upload.file, upload.options) : null;
        this.finish();
        return stored;
      } catch (error) {
        if (!this.#core.hasCode(error, "parts_missing") || repairs >= MAX_REPAIRS) throw error;
        upload.stored = "no";
        this.#missed = /** @type {import("./errors.js").UploadError} */ (error).details.numbers ?? [];
      }
    }
  }

  async #sendMissing() {
    const { options } = this.#upload;
    const failure = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, failure.signal]) : failure.signal;
    const run = { ...options, signal };
    this.#state = "";
    this.#waiting.clear();
    this.#wanted.clear();
    this.#ahead = [];
    // The file may have changed since these parts were hashed.
    if (this.#plan.needs_sha256) this.#signed.clear();
    this.#announce("uploading");
    if (this.#hasRun) await this.#retry(0, run, () => this.#list(run));
    this.#hasRun = true;
    this.#announce("uploading");
    // Parts are numbered from 1.
    this.#queue = [...Array(this.#plan.count + 1).keys()].filter((number) => number && !this.#stored.has(number));
    this.#report();
    const lanes = Array.from({ length: this.#slots.most }, () => this.#lane(run));
    try {
      await Promise.all(lanes);
    } catch (error) {
      failure.abort();
      await Promise.allSettled([...lanes, ...this.#ahead, this.#asking]);
      throw error;
    } finally {
      this.#hasher.close();
    }
  }

  /**
   * Say whether nobody can go on with this upload, so that the file needs a new ticket.
   * @param {unknown} error
   */
  hasEnded(error) {
    const { hasCode } = this.#core;
    // Once all parts are sent, these codes are the server's verdict. Before that, the policy or the user has changed, and
    // a new ticket may work.
    const isRefused = this.#upload.stored === "no" && hasCode(error, "invalid_token", "token_expired");
    return isRefused || hasCode(error, "upload_ended");
  }

  /** Nobody will go on with this upload: it was completed, or ended. */
  finish() {
    this.#record?.remove();
  }

  /**
   * Say whether this upload, which an earlier page began, still exists and is one of the same file. If it exists and is
   * of another file, it is aborted.
   */
  async canGoOn() {
    const { options } = this.#upload;
    try {
      await this.#retry(0, options, () => this.#list(options));
    } catch (error) {
      if (this.hasEnded(error) || NEVER_STATUSES.includes(/** @type {any} */ (error).details?.status)) return false;
      throw error;
    }
    // A file of the same name, size and time may have other bytes. The digest of one part shows most changes.
    const [number, sha256] = this.#record?.remembered ?? [];
    if (!number || !this.#stored.has(number) || !globalThis.crypto?.subtle) return true;
    const isSame = (await this.#hash(number, options)) === sha256;
    this.#hasher.close();
    if (!isSame) this.abort();
    return isSame;
  }

  /** Let the server delete the parts. Nothing waits for that, and it may fail. */
  abort() {
    const { file, options } = this.#upload;
    const { fetch = globalThis.fetch } = options;
    // It goes on when the user leaves the page.
    const lasting = (/** @type {any} */ url, /** @type {RequestInit | undefined} */ init) =>
      fetch(url, { ...init, keepalive: true });
    const request = { ...options, signal: undefined, fetch: lasting };
    this.#core.post("/abort", { token: this.#ticket.token }, file, request).catch(() => {});
  }

  /**
   * Stop the upload on this page. Abort it if it is not wanted, or if no later page can go on with it.
   * @param {boolean} [isUnwanted]
   * @returns {boolean} whether it was aborted; an upload whose parts are all stored never is
   */
  close(isUnwanted = !this.isKept) {
    const isAborted = isUnwanted && this.#upload.stored !== "yes";
    if (isAborted) this.abort();
    else this.#record?.release();
    return isAborted;
  }

  /** @param {PartRequest[]} requests @param {number} expiresAtMs on the clock of performance.now() */
  sign(requests, expiresAtMs) {
    for (const request of requests) this.#signed.set(request.number, { request, expiresAtMs });
  }

  /** @param {Options} run */
  async #lane(run) {
    this.#lanes += 1;
    try {
      while (this.#queue.length) {
        for (const next of this.#queue.slice(0, MAX_PARALLEL)) {
          // The lane that takes the part reports a failure.
          if (!this.#ahead[next]) (this.#ahead[next] = this.#digest(next, run)).catch(() => {});
        }
        await this.#sendPart(/** @type {number} */ (this.#queue.shift()), run);
      }
    } finally {
      this.#lanes -= 1;
    }
  }

  /** @param {number} number @param {Options} run */
  async #sendPart(number, run) {
    const sha256 = await this.#ahead[number];
    await this.#retry(number, run, this.#attempts(number, this.#slice(number), sha256, run));
    if (sha256) await this.#record?.remember(number, sha256);
    this.#acknowledge(number);
  }

  /**
   * Return the digest of a part, or null if the store checks none, and ask for the part's request. If that fails, the
   * lane that takes the part asks again.
   * @param {number} number
   * @param {Options} run
   */
  async #digest(number, run) {
    const known = this.#upload.digests[number - 1];
    const sha256 = this.#plan.needs_sha256 ? (known ?? (await this.#hash(number, run))) : null;
    this.#request(number, sha256, run).catch(() => {});
    return sha256;
  }

  /**
   * Return a function that sends the part once, with a new request if the old one has expired or was refused.
   * @param {number} number
   * @param {Blob} part
   * @param {string | null} sha256
   * @param {Options} run
   */
  #attempts(number, part, sha256, run) {
    let isMaybeStored = false;
    let isReadFirst = isSafari();
    let renewals = 0;
    return async () => {
      for (;;) {
        // The answer to an earlier attempt was lost: asking costs less than sending again.
        if (isMaybeStored && (await this.#list(run)).has(number)) return;
        const request = await this.#request(number, sha256, run);
        try {
          await this.#slots.use(run.signal, async () => {
            this.#waiting.delete(number);
            this.#announce("uploading");
            isMaybeStored = false;
            const body = isReadFirst ? await this.#read(part, run) : part;
            await this.#transmit(request, body, run, () => (isMaybeStored = true));
          });
          return;
        } catch (error) {
          const { hasCode } = this.#core;
          // The browser may be unable to send slices of this file.
          isReadFirst ||= !hasCode(error, "ticket_expired", "storage_unavailable");
          // Browsers report progress late, so all bytes may have arrived.
          isMaybeStored ||= hasCode(error, "connection_lost");
          if (isThrottled(error)) isMaybeStored = false;
          const isRefused = hasCode(error, "storage_refused", "signature_refused", "checksum_mismatch");
          if (!isRefused && !hasCode(error, "ticket_expired")) throw error;
          isMaybeStored = false;
          if ((renewals += 1) > MAX_RENEWALS) throw error;
          this.#signed.delete(number);
          // Either the bytes were damaged on the way, or the file was changed.
          const isDamaged = sha256 && hasCode(error, "checksum_mismatch");
          if (isDamaged && (await this.#hash(number, run)) !== sha256) throw this.#unreadable();
          // The store refuses parts of an upload that it does not have any more. The server then says that it has ended,
          // or that somebody else has completed it: another tab, where the browser has no locks.
          if (isRefused && (await this.#list(run)).has(number)) return;
        }
      }
    };
  }

  /**
   * @param {PartRequest} request
   * @param {Blob | ArrayBuffer} body
   * @param {Options} run
   * @param {() => void} onSent
   */
  async #transmit(request, body, run, onSent) {
    const stall = new AbortController();
    const movement = (/** @type {number} */ sent) => {
      return { sent, movedAtMs: performance.now(), storedAtMove: this.#stored.size };
    };
    const sending = { stall, ...movement(0) };
    const signal = AbortSignal.any([/** @type {AbortSignal} */ (run.signal), stall.signal]);
    const onProgress = (/** @type {number} */ loaded, /** @type {number} */ total) => {
      Object.assign(sending, movement(loaded));
      if (loaded === total) onSent();
      this.#report();
    };
    this.#sending.add(sending);
    try {
      await this.#core.sendFile({ ...request, fields: {} }, body, this.#upload.file, { signal, onProgress });
    } finally {
      this.#sending.delete(sending);
      if (body instanceof ArrayBuffer) release(body);
    }
  }

  /** @param {number} number */
  #slice(number) {
    const start = (number - 1) * this.#plan.part_size;
    return this.#upload.blob.slice(start, start + this.#plan.part_size);
  }

  /**
   * Read the part into memory. Safari frees an ArrayBuffer sooner, and the other browsers send a Blob faster.
   * @param {Blob} part
   * @param {Options} run
   */
  async #read(part, { signal }) {
    const bytes = await this.#core.unlessAborted(part.arrayBuffer(), signal).catch((error) => {
      throw this.#unreadable(error);
    });
    if (bytes.byteLength !== part.size) throw this.#unreadable();
    return isSafari() ? bytes : new Blob([bytes]);
  }

  /** @param {number} number @param {Options} run */
  #hash(number, { signal }) {
    return this.#core.unlessAborted(this.#hasher.digest(this.#slice(number)), signal).catch((error) => {
      throw this.#unreadable(error);
    });
  }

  /** @param {unknown} [cause] */
  #unreadable(cause) {
    return new this.#core.UploadError("file_unreadable", { details: { file: this.#upload.file }, cause });
  }

  /**
   * Return a request for a part. Lanes that need one at the same time share one question to the server.
   * @param {number} number
   * @param {string | null} sha256
   * @param {Options} run
   */
  async #request(number, sha256, run) {
    let signed = this.#signed.get(number);
    if (signed && performance.now() < signed.expiresAtMs) return signed.request;
    this.#signed.delete(number);
    this.#wanted.set(number, sha256);
    while (!(signed = this.#signed.get(number))) {
      await (this.#asking ??= this.#ask(run).finally(() => (this.#asking = null)));
    }
    return signed.request;
  }

  /** @param {Options} run */
  async #ask(run) {
    const { at_once, needs_sha256 } = this.#plan;
    const wanted = [...this.#wanted].slice(0, at_once);
    const numbers = wanted.map(([number]) => number);
    const sha256 = needs_sha256 ? wanted.map(([, digest]) => digest) : undefined;
    if (!sha256) {
      // The parts that will need a request.
      const others = this.#queue.filter((one) => !this.#signed.has(one) && !this.#wanted.has(one));
      numbers.push(...others.slice(0, at_once - numbers.length));
    }
    const content = { token: this.#ticket.token, numbers, sha256 };
    const requestedAtMs = performance.now();
    const answer = await this.#core.post("/parts", content, this.#upload.file, run);
    this.sign(answer.requests, requestedAtMs + Date.parse(answer.expires_at) - Date.parse(answer.now));
    for (const number of numbers) {
      this.#wanted.delete(number);
      if (this.#signed.get(number)?.request.size !== this.#sizeOf(number)) {
        throw invalidResponse(this.#core, `part ${number} has no request for ${this.#sizeOf(number)} bytes`);
      }
    }
  }

  /** Take over what the store has. @param {Options} run */
  async #list(run) {
    const { file } = this.#upload;
    const { numbers } = await this.#core.post("/parts/list", { token: this.#ticket.token }, file, run);
    // While parts are being sent, the answer can be older than the latest of them.
    this.#stored = new Set([...numbers, ...(this.#lanes ? this.#stored : [])]);
    for (const number of this.#missed) this.#stored.delete(number);
    this.#missed = [];
    this.loaded = sum(Array.from(this.#stored, (number) => this.#sizeOf(number)));
    this.#report();
    return this.#stored;
  }

  /** @param {number} number */
  #acknowledge(number) {
    if (!this.#stored.has(number)) this.loaded += this.#sizeOf(number);
    this.#stored.add(number);
    this.#signed.delete(number);
    this.#report();
    const now = performance.now();
    for (const { stall, movedAtMs, storedAtMove } of this.#sending) {
      if (this.#stored.size - storedAtMove >= STALL_PARTS && now - movedAtMs > STALL_MS) {
        stall.abort(new this.#core.UploadError("connection_lost"));
      }
    }
  }

  #report() {
    const { file, options } = this.#upload;
    const sent = sum(Array.from(this.#sending, (sending) => sending.sent));
    options.onProgress?.({ loaded: this.loaded, total: file.size, sent: Math.min(file.size, this.loaded + sent) });
  }

  /**
   * @template T
   * @param {number} number
   * @param {Options} run
   * @param {() => Promise<T>} attempt
   */
  #retry(number, { signal, attempts }, attempt) {
    const onWait = (/** @type {Wait} */ wait) => {
      this.#waiting.add(number);
      // While other parts move, the upload does not wait.
      if (this.#waiting.size >= this.#lanes) this.#announce("retrying", wait);
    };
    return this.#core.retry(attempt, { signal, attempts, onWait, onOffline: () => this.#announce("offline") });
  }

  /** @param {State} state @param {Wait} [wait] */
  #announce(state, wait) {
    if (state === this.#state && !wait) return;
    this.#state = state;
    this.#upload.options.onState(state, wait);
  }

  /** @param {number} number */
  #sizeOf(number) {
    const { part_size } = this.#plan;
    return Math.min(part_size, this.#upload.file.size - (number - 1) * part_size);
  }
}

/** How many parts are sent at the same time: fewer after failures, and more again after successes. */
class Slots {
  #limit;
  #used = 0;
  #successes = 0;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {number} most */
  constructor(most) {
    this.most = most;
    this.#limit = most;
  }

  /**
   * @param {AbortSignal | undefined} signal
   * @param {() => Promise<void>} send
   */
  async use(signal, send) {
    while (this.#used >= this.#limit) await new Promise((resolve) => this.#waiting.push(() => resolve(null)));
    this.#used += 1;
    try {
      signal?.throwIfAborted();
      await send();
      this.#successes += 1;
      if (this.#successes >= this.#limit) this.#change(1);
    } catch (error) {
      if (/** @type {{transient?: boolean}} */ (error).transient) this.#change(-1);
      throw error;
    } finally {
      this.#used -= 1;
      for (const wake of this.#waiting.splice(0)) wake();
    }
  }

  /** @param {number} difference */
  #change(difference) {
    this.#limit = Math.min(this.most, Math.max(1, this.#limit + difference));
    this.#successes = 0;
  }
}

/** @param {number[]} values */
function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}

/**
 * Say whether the storage has answered that too much is asked. To list all parts would then ask for even more.
 * @param {unknown} error
 */
function isThrottled(error) {
  const { status, storageCode } = /** @type {import("./errors.js").UploadError} */ (error).details ?? {};
  return status === 429 || THROTTLED_CODES.includes(storageCode ?? "");
}

/** Say whether this is Safari, which at times never finishes sending a slice of a file, or sends it without its bytes. */
function isSafari() {
  return /^Apple/.test(globalThis.navigator?.vendor ?? "");
}
