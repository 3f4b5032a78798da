/** Many files: a queue whose files can be paused, cancelled and tried again, and which says how all of them stand. */

import { withUploadErrors } from "./completion.js";
import { UploadError } from "./errors.js";
import { Upload } from "./upload.js";

/**
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").Ticket} Ticket
 * @typedef {import("./upload.js").UploadOptions} UploadOptions
 * @typedef {import("./upload.js").UploadResult} UploadResult
 *
 * @typedef {Blob & {name?: string}} UploadableFile
 *
 * @typedef {object} QueueOptions
 * @property {number} [concurrency] how many files are uploaded at the same time, 3 by default
 * @property {(file: FileInfo) => void | Promise<void>} [check] throws an UploadError for a file that the server would
 *   refuse; this saves a request
 *
 * @typedef {Omit<UploadOptions, "signal" | "onProgress" | "onState" | "onTicket">} FileOptions
 * @typedef {QueueOptions & FileOptions} UploaderOptions
 *
 * @typedef {"waiting" | "paused" | "done" | "failed" | "cancelled" | import("./upload.js").State} ItemState
 *
 * @typedef {object} UploadItem one file at one moment; it is frozen, and a change makes a new one with the same `id`
 * @property {number} id
 * @property {UploadableFile} file
 * @property {ItemState} state
 * @property {number} loaded bytes that were sent in this attempt
 * @property {Wait | null} wait in the state "retrying"
 * @property {Ticket | null} ticket
 * @property {UploadResult | null} result in the state "done"
 * @property {UploadError | null} error in the states "failed" and "cancelled"
 *
 * @typedef {object} Totals
 * @property {number} loaded bytes
 * @property {number} total bytes of all files but the failed and the cancelled ones
 * @property {number} waiting number of files
 * @property {number} running
 * @property {number} paused
 * @property {number} done
 * @property {number} failed
 * @property {number} cancelled
 *
 * @typedef {object} UploaderEvents what the listener of each event gets
 * @property {UploadItem} change a file was added, or something of it changed
 * @property {UploadItem} remove
 * @property {UploadItem[]} finish no file waits or runs any more; the paused ones remain
 *
 * @typedef {object} Entry
 * @property {UploadItem} item
 * @property {Upload} upload
 * @property {AbortController | null} controller of the run that goes on
 * @property {Promise<void>} run settled when the last run ended
 */

/** @type {ItemState[]} */
const ENDED = ["done", "failed", "cancelled"];

/**
 * Return an uploader, to which files are added.
 *
 *     const uploader = createUploader({ api: "https://app.example.com/files" });
 *     uploader.on("change", ({ id, state, loaded, error }) => { ... });
 *     uploader.add(input.files);
 *     const items = await uploader.finished();
 * @param {UploaderOptions} options those of `upload` for every file, and those of the queue
 */
export function createUploader(options) {
  return new Uploader(options);
}

/**
 * `pause`, `resume`, `cancel`, `retry` and `remove` take the `id` of one file, or none for all files. What makes no sense
 * in the file's state does nothing.
 */
export class Uploader {
  #options;
  #concurrency;
  #check;
  #nextId = 1;
  #isBusy = false;
  /** @type {Map<number, Entry>} */
  #entries = new Map();
  /** @type {readonly UploadItem[] | null} */
  #items = null;
  /** @type {Map<keyof UploaderEvents, Set<(value: any) => void>>} */
  #listeners = new Map();

  /** @param {UploaderOptions} options */
  constructor({ concurrency = 3, check, ...options }) {
    this.#options = options;
    this.#concurrency = concurrency;
    this.#check = check;
  }

  /** All files in the order in which they were added. The array stays the same until something changes. */
  get items() {
    return (this.#items ??= Object.freeze(Array.from(this.#entries.values(), ({ item }) => item)));
  }

  /** @returns {Totals} */
  get totals() {
    const totals = { loaded: 0, total: 0, waiting: 0, running: 0, paused: 0, done: 0, failed: 0, cancelled: 0 };
    for (const { state, loaded, file } of this.items) {
      totals[state in totals ? /** @type {"waiting"} */ (state) : "running"] += 1;
      if (state === "failed" || state === "cancelled") continue;
      totals.loaded += loaded;
      totals.total += file.size;
    }
    return totals;
  }

  /**
   * Call the listener at each such event, until the returned function is called.
   * @template {keyof UploaderEvents} E
   * @param {E} event
   * @param {(value: UploaderEvents[E]) => void} listener
   * @returns {() => void}
   */
  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Add files, which start as soon as it is their turn.
   * @param {Iterable<UploadableFile>} files
   * @param {Partial<FileOptions>} [options] of these files, over those of the uploader
   * @returns {UploadItem[]}
   */
  add(files, options) {
    const entries = Array.from(files, (file) => this.#enter(file, { ...this.#options, ...options }));
    this.#startNext();
    return entries.map(({ item }) => item);
  }

  /** Resolve with all files when none of them waits or runs any more. @returns {Promise<readonly UploadItem[]>} */
  finished() {
    return new Promise((resolve) => {
      if (!this.#isBusy) return resolve(this.items);
      const off = this.on("finish", (items) => {
        off();
        resolve(items);
      });
    });
  }

  /** Stop sending; a file that was being sent starts again from its first byte. @param {number} [id] */
  pause(id) {
    this.#each(id, ({ state }) => !ENDED.includes(state) && state !== "paused", (entry) => this.#stop(entry, "paused"));
  }

  /** @param {number} [id] */
  resume(id) {
    this.#each(id, ({ state }) => state === "paused", (entry) => this.#change(entry, { state: "waiting" }));
  }

  /** @param {number} [id] */
  cancel(id) {
    this.#each(id, ({ state }) => !ENDED.includes(state), (entry) => this.#stop(entry, "cancelled"));
  }

  /**
   * Try a file that failed or was cancelled again; without an id, all that failed and may succeed now. A file that is
   * stored already is completed, and not sent again.
   * @param {number} [id]
   */
  retry(id) {
    const canRetry = (/** @type {UploadItem} */ { state, error }) =>
      id === undefined ? state === "failed" && error?.retryable === true : state === "failed" || state === "cancelled";
    this.#each(id, canRetry, (entry) => this.#change(entry, { state: "waiting", error: null }));
  }

  /** Take a file out of the list; cancel it before, if it has not ended. @param {number} [id] */
  remove(id) {
    this.cancel(id);
    this.#each(id, () => true, (entry) => {
      this.#entries.delete(entry.item.id);
      this.#items = null;
      this.#emit("remove", entry.item);
    });
  }

  /**
   * @param {number | undefined} id
   * @param {(item: UploadItem) => boolean} isMeant
   * @param {(entry: Entry) => void} act
   */
  #each(id, isMeant, act) {
    for (const entry of [...this.#entries.values()]) {
      if ((id === undefined || entry.item.id === id) && isMeant(entry.item)) act(entry);
    }
    this.#startNext();
  }

  /** @param {UploadableFile} file @param {FileOptions} options @returns {Entry} */
  #enter(file, options) {
    const id = this.#nextId++;
    const upload = new Upload(file, {
      ...options,
      // A new attempt begins at zero, so what an earlier one sent is not shown any more.
      onState: (state, wait) => report({ state, wait: wait ?? null, loaded: upload.isStored ? file.size : 0 }),
      onProgress: ({ loaded }) => report({ loaded }),
      onTicket: (ticket) => report({ ticket }),
    });
    /** @type {UploadItem} */
    const item = { id, file, state: "waiting", loaded: 0, wait: null, ticket: null, result: null, error: null };
    /** @type {Entry} */
    const entry = { item, upload, controller: null, run: Promise.resolve() };
    const report = (/** @type {Partial<UploadItem>} */ change) => entry.controller && this.#change(entry, change);
    this.#entries.set(id, entry);
    this.#change(entry, {});
    return entry;
  }

  #startNext() {
    const entries = [...this.#entries.values()];
    let free = this.#concurrency - entries.filter(({ controller }) => controller).length;
    for (const entry of entries) {
      if (free <= 0) break;
      if (entry.item.state !== "waiting" || entry.controller) continue;
      this.#run(entry);
      free -= 1;
    }
    const wasBusy = this.#isBusy;
    this.#isBusy = entries.some(({ item, controller }) => controller || item.state === "waiting");
    if (wasBusy && !this.#isBusy) this.#emit("finish", [...this.items]);
  }

  /** @param {Entry} entry */
  #run(entry) {
    const controller = new AbortController();
    const { signal } = controller;
    const end = (/** @type {Partial<UploadItem>} */ change) => {
      if (signal.aborted) return;
      entry.controller = null;
      this.#change(entry, { wait: null, ...change });
      this.#startNext();
    };
    entry.controller = controller;
    // A run that was stopped has its last words before the next one begins.
    entry.run = entry.run.then(async () => {
      try {
        await withUploadErrors(signal, async () => this.#check?.(entry.upload.file));
        const result = await entry.upload.run(signal);
        end({ state: "done", result, loaded: entry.item.file.size });
      } catch (thrown) {
        const error = /** @type {UploadError} */ (thrown);
        if (entry.item.error?.code === error.code) this.#change(entry, { error });
        end({ state: "failed", error, loaded: 0 });
      }
    });
  }

  /** @param {Entry} entry @param {"paused" | "cancelled"} state */
  #stop(entry, state) {
    const error = state === "cancelled" ? new UploadError("cancelled") : null;
    entry.controller?.abort();
    entry.controller = null;
    this.#change(entry, { state, error, wait: null, loaded: entry.upload.isStored ? entry.item.file.size : 0 });
  }

  /** @param {Entry} entry @param {Partial<UploadItem>} change */
  #change(entry, change) {
    entry.item = Object.freeze({ ...entry.item, ...change });
    this.#items = null;
    this.#emit("change", entry.item);
  }

  /**
   * @template {keyof UploaderEvents} E
   * @param {E} event
   * @param {UploaderEvents[E]} value
   */
  #emit(event, value) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) {
      try {
        listener(value);
      } catch (error) {
        // A mistake in the page must not end an upload, and must not be lost.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
