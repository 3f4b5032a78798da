/** Many files: a queue whose files can be paused, cancelled and tried again, and which says how all of them stand. */

import { unlessAborted } from "./abort.js";
import { MIN_BYTES_IN_PARTS, requireApi, ticketContent } from "./api.js";
import { withUploadErrors } from "./completion.js";
import { UploadError } from "./errors.js";
import { Lists, MAX_FILES } from "./lists.js";
import { TicketsAhead } from "./tickets_ahead.js";
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
 * @property {number} [concurrency] how many files are uploaded at the same time; without it, up to six files are sent,
 *   at most three of them of 5 MiB or more, and fewer after failures, while others are completed
 * @property {(file: FileInfo) => void | Promise<void>} [check] throws an UploadError for a file that the server would
 *   refuse; this saves a request
 *
 * @typedef {Omit<UploadOptions, "signal" | "onProgress" | "onState" | "onTicket">} FileOptions
 * @typedef {QueueOptions & FileOptions} UploaderOptions
 *
 * @typedef {"waiting" | "paused" | "done" | "failed" | "cancelled" | import("./upload.js").State} ItemState
 *
 * @typedef {Readonly<ItemMembers>} UploadItem one file at one moment; a change makes a new one with the same `id`
 *
 * @typedef {object} ItemMembers
 * @property {number} id
 * @property {UploadableFile} file
 * @property {ItemState} state
 * @property {number} loaded bytes that were sent in this attempt; of a large file, those that the storage confirmed
 * @property {number} sent `loaded`, and what was sent of the parts of a large file that are on their way
 * @property {Wait | null} wait in the state "retrying"
 * @property {Ticket | null} ticket the newest one
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
 * @property {readonly UploadItem[]} finish no file waits or runs any more; paused ones may remain
 *
 * @typedef {object} Entry
 * @property {UploadItem} item
 * @property {Upload} upload
 * @property {AbortController | null} controller of the run that goes on
 * @property {Promise<void>} lastRun settled when the last run ended
 * @property {Promise<void> | null} checked the result of `check`, if it was called before the file's turn
 *
 * @typedef {ReturnType<typeof createUploader>} Uploader
 */

/** A browser has six connections to one server over HTTP/1.1, and cannot tell a page whether a storage has HTTP/2. */
const MAX_SENDING = 6;
/** Files that may come in parts: several parts of each are sent at the same time. */
const MAX_SENDING_LARGE = 3;
/** Files that are sent or completed. */
const MAX_RUNNING = 40;

/** @type {("api" | keyof import("./api.js").ServerOptions)[]} */
const REQUEST_OPTIONS = ["api", "headers", "credentials", "fetch"];

/** @param {Upload} upload */
const isLarge = ({ file }) => file.size >= MIN_BYTES_IN_PARTS;

/** @param {UploadItem} item */
const hasEnded = ({ state }) => state === "done" || state === "failed" || state === "cancelled";

/**
 * Return an uploader, to which files are added.
 *
 *     const uploader = createUploader({ api: "https://app.example.com/files" });
 *     uploader.on("change", ({ id, state, loaded, error }) => { ... });
 *     uploader.add(input.files);
 *     const items = await uploader.finished();
 *
 * `pause`, `resume`, `cancel`, `retry` and `remove` take the `id` of one file, or none for all files. They leave a file
 * alone whose state does not fit.
 * @param {UploaderOptions} options those of `upload` for every file, and those of the queue
 */
export function createUploader({ concurrency, check, ...uploadOptions }) {
  requireApi(uploadOptions);
  for (const count of [concurrency === undefined ? 1 : concurrency, uploadOptions.attempts ?? 1]) {
    if (!Number.isInteger(count) || count < 1) {
      throw new RangeError(`concurrency and attempts must be whole numbers from 1, not ${count}`);
    }
  }
  /** @type {Map<number, Entry>} */
  const entries = new Map();
  /** @type {Map<keyof UploaderEvents, Set<(value: any) => void>>} */
  const listenersByEvent = new Map([
    ["change", new Set()],
    ["remove", new Set()],
    ["finish", new Set()],
  ]);
  /** @type {readonly UploadItem[] | null} */
  let items = null;
  let lastId = 0;
  let isBusy = false;
  let finishes = 0;
  /** @type {(() => void)[]} */
  const announcements = [];
  /** @type {Lists[]} */
  const allLists = [];
  const ahead = new TicketsAhead();
  /** How many files may be sent at the same time: fewer after failures, and more again after successes. */
  let maxSending = MAX_SENDING;
  let successes = 0;

  const uploader = {
    /** All files in the order in which they were added. The array stays the same until something changes. */
    get items() {
      return (items ??= Array.from(entries.values(), ({ item }) => item));
    },

    /** @returns {Totals} */
    get totals() {
      const totals = { loaded: 0, total: 0, waiting: 0, running: 0, paused: 0, done: 0, failed: 0, cancelled: 0 };
      for (const { state, loaded, file } of uploader.items) {
        totals[state in totals ? /** @type {"waiting"} */ (state) : "running"] += 1;
        if (state === "failed" || state === "cancelled") continue;
        totals.loaded += loaded;
        totals.total += file.size;
      }
      return totals;
    },

    /**
     * Call the listener at each such event, until the returned function is called.
     * @template {keyof UploaderEvents} E
     * @param {E} event
     * @param {(value: UploaderEvents[E]) => void} listener
     * @returns {() => void}
     */
    on(event, listener) {
      const listeners = listenersByEvent.get(event);
      if (!listeners) throw new TypeError(`event must be one of ${[...listenersByEvent.keys()]}`);
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },

    /**
     * Add files, which start as soon as it is their turn.
     * @param {Iterable<UploadableFile>} files
     * @param {Partial<FileOptions>} [options] of these files, over those of the uploader
     * @returns {UploadItem[]}
     */
    add(files, options) {
      /** @type {Entry[]} */
      const added = [];
      try {
        for (const file of files) added.push(enter(file, { ...uploadOptions, ...options }));
      } finally {
        // Only once, because it looks at every file.
        startNext();
      }
      return added.map(({ item }) => item);
    },

    /** Resolve with all files as soon as none of them waits or runs. @returns {Promise<readonly UploadItem[]>} */
    finished() {
      return new Promise((resolve) => {
        if (!isBusy) return resolve(uploader.items);
        const off = uploader.on("finish", (ended) => {
          off();
          resolve(ended);
        });
      });
    },

    /**
     * Stop sending. A large file goes on later with the parts that are missing, any other file with its first byte.
     * @param {number} [id]
     */
    pause(id) {
      forEach(id, (entry) => {
        if (!hasEnded(entry.item) && entry.item.state !== "paused") stop(entry, { state: "paused" });
      });
    },

    /** @param {number} [id] */
    resume(id) {
      forEach(id, (entry) => {
        if (entry.item.state === "paused") change(entry, { state: "waiting" });
      });
    },

    /** @param {number} [id] */
    cancel(id) {
      forEach(id, (entry) => {
        if (!hasEnded(entry.item)) stop(entry, { state: "cancelled", error: new UploadError("cancelled") });
      });
    },

    /**
     * Try a file that failed or was cancelled again; without an id, all that failed and may succeed now. A file that is
     * stored already is completed, and not sent again.
     * @param {number} [id]
     */
    retry(id) {
      forEach(id, (entry) => {
        const { state, error } = entry.item;
        const isMeant = id === undefined ? state === "failed" && error?.retryable : error !== null;
        if (isMeant) change(entry, { state: "waiting", error: null, ticket: entry.upload.ticket });
      });
    },

    /** Take a file out of the list; if it has not ended, it is cancelled. @param {number} [id] */
    remove(id) {
      forEach(id, (entry) => {
        const { item, upload } = entry;
        // It leaves the list first, so that no listener can start it again.
        entries.delete(item.id);
        stop(entry, {});
        upload.close(hasEnded(item) ? undefined : true);
        items = null;
        emit("remove", entry.item);
      });
    },
  };

  /** @param {number | undefined} id all files if it is missing @param {(entry: Entry) => void} act */
  function forEach(id, act) {
    for (const entry of [...entries.values()]) {
      // A listener may have removed it meanwhile.
      if ((id === undefined || entry.item.id === id) && entries.has(entry.item.id)) act(entry);
    }
    startNext();
  }

  /** @param {UploadableFile} file @param {FileOptions} options @returns {Entry} */
  function enter(file, options) {
    const report = (/** @type {Partial<UploadItem>} */ changes) => entry.controller && change(entry, changes);
    /** @type {import("./api.js").Ask} */
    const ask = async (path, content, run) =>
      (path === "/upload" && (await ahead.take(upload))) || listsFor(path, run).ask(content, run.signal);
    const upload = new Upload(file, {
      ...options,
      // The answer for a large file may take seconds, in which small ones must not wait.
      ask: file.size < MIN_BYTES_IN_PARTS ? ask : undefined,
      onState: (state, wait) => {
        if (wait) changePace(Math.floor(maxSending / 2));
        // A new attempt begins at zero, so what an earlier one sent is not shown any more.
        report({ state, wait: wait ?? null, loaded: upload.storedBytes });
        // Another file can be sent now.
        if (state === "verifying") startNext();
      },
      onProgress: ({ loaded, sent }) => report({ loaded, sent }),
      onTicket: (ticket) => report({ ticket }),
    });
    const id = (lastId += 1);
    /** @type {UploadItem} */
    const item = {
      ...{ id, file, state: "waiting", loaded: 0, sent: 0 },
      ...{ wait: null, ticket: null, result: null, error: null },
    };
    /** @type {Entry} */
    const entry = { item, upload, controller: null, lastRun: Promise.resolve(), checked: null };
    entries.set(id, entry);
    change(entry, {});
    return entry;
  }

  function startNext() {
    const all = [...entries.values()];
    const runs = all.filter(({ controller }) => controller);
    const sends = runs.filter(({ upload }) => upload.stored !== "yes");
    let [running, sending, large] = [runs.length, sends.length, sends.filter(({ upload }) => isLarge(upload)).length];
    const waiting = all.filter((entry) => {
      if (entry.item.state !== "waiting" || entry.controller) return false;
      const mayStart = concurrency
        ? running < concurrency
        : running < MAX_RUNNING && sending < maxSending && (large < MAX_SENDING_LARGE || !isLarge(entry.upload));
      if (!mayStart) return true;
      run(entry);
      running += 1;
      sending += 1;
      large += Number(isLarge(entry.upload));
      return false;
    });
    askAhead(waiting);
    const wasBusy = isBusy;
    isBusy = all.some(({ item, controller }) => controller || item.state === "waiting");
    if (wasBusy && !isBusy) emit("finish", uploader.items, (finishes += 1));
  }

  /** @param {Entry[]} waiting */
  function askAhead(waiting) {
    if (!ahead.isLow) return;
    /** @type {Map<Upload, Entry>} */
    const next = new Map();
    for (const entry of waiting) {
      if (next.size >= MAX_FILES) break;
      const { options, ticket } = entry.upload;
      const needsHash = options.sha256 || options.digest;
      const isMeant = !ticket && !needsHash && !isLarge(entry.upload) && listsFor("/upload", options).areTaken;
      if (isMeant) next.set(entry.upload, entry);
    }
    ahead.fill([...next.keys()], async (upload, signal) => {
      await unlessAborted(checked(/** @type {Entry} */ (next.get(upload))), signal);
      return listsFor("/upload", upload.options).ask(ticketContent(upload.file), signal, true);
    });
  }

  /**
   * @param {string} path
   * @param {import("./api.js").RequestOptions} options
   */
  function listsFor(path, options) {
    const isSame = (/** @type {Lists} */ lists) =>
      lists.path === path && REQUEST_OPTIONS.every((name) => lists.options[name] === options[name]);
    let lists = allLists.find(isSame);
    if (!lists) allLists.push((lists = new Lists(path, options)));
    return lists;
  }

  /** @param {Entry} entry */
  function checked(entry) {
    return (entry.checked ??= (async () => check?.(entry.upload.file))());
  }

  /** @param {number} count */
  function changePace(count) {
    maxSending = Math.min(MAX_SENDING, Math.max(1, count));
    successes = 0;
  }

  /** @param {Entry} entry */
  function run(entry) {
    const controller = new AbortController();
    const { signal } = controller;
    const end = (/** @type {Partial<UploadItem>} */ changes) => {
      if (signal.aborted) return;
      entry.controller = null;
      change(entry, { wait: null, ...changes });
      startNext();
    };
    entry.controller = controller;
    // A run that was stopped may still end its last request.
    entry.lastRun = entry.lastRun.then(async () => {
      try {
        await withUploadErrors(signal, () => unlessAborted(checked(entry), signal));
        entry.checked = null;
        const result = await entry.upload.run(signal);
        if ((successes += 1) >= maxSending) changePace(maxSending + 1);
        end({ state: "done", result, loaded: entry.item.file.size });
      } catch (thrown) {
        const error = /** @type {UploadError} */ (thrown);
        entry.checked = null;
        error.token ??= entry.upload.token;
        // Only a run that has ended knows whether the storage may have the file.
        if (entry.item.error?.code === error.code) change(entry, { error });
        end({ state: "failed", error, loaded: entry.upload.storedBytes });
      }
    });
  }

  /** @param {Entry} entry @param {Partial<UploadItem>} changes */
  function stop(entry, changes) {
    if (changes.error) changes.error.token = entry.upload.token;
    entry.controller?.abort();
    entry.controller = null;
    entry.checked = null;
    ahead.drop(entry.upload);
    if (changes.state === "cancelled") entry.upload.close(true);
    change(entry, { wait: null, loaded: entry.upload.storedBytes, ...changes });
  }

  /** @param {Entry} entry @param {Partial<UploadItem>} changes */
  function change(entry, changes) {
    if (!entries.has(entry.item.id)) return;
    const sent = changes.loaded ?? entry.item.sent;
    entry.item = Object.freeze({ ...entry.item, sent, ...changes });
    isBusy ||= entry.item.state === "waiting";
    items = null;
    emit("change", entry.item);
  }

  /**
   * Call the listeners, after those of earlier events: a listener may cause the next event itself.
   * @template {keyof UploaderEvents} E
   * @param {E} event
   * @param {UploaderEvents[E]} value
   * @param {number} [finish]
   */
  function emit(event, value, finish = finishes) {
    announcements.push(() => {
      // A file that was added meanwhile begins what has not finished, or finishes later.
      if (event === "finish" && (isBusy || finish < finishes)) return;
      for (const listener of [...(listenersByEvent.get(event) ?? [])]) {
        try {
          listener(event === "finish" ? uploader.items : value);
        } catch (error) {
          // A mistake in the page must not end an upload, and must not be lost.
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    });
    if (announcements.length > 1) return;
    for (; announcements[0]; announcements.shift()) announcements[0]();
  }

  return uploader;
}
