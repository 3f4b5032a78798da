/**
 * A server, a storage, a network and a clock in memory, which fail at random, and the same way for the same seed. Hours
 * of waiting take no time. They also check what the client sends: never two requests of one file at once, never those
 * of more files than allowed, and never a file again that the client knows to be stored, or that may be stored. A file in
 * a list can be given up while the list goes on, so requests with lists are not counted for each file.
 */

import assert from "node:assert/strict";

const ACCEPTED = 200;
const EXISTS = 412;
const MAX_DELAY_MS = 400;
const LONG_MS = 90_000;

/**
 * @typedef {object} StoredFile what the storage and the server know of one ticket
 * @property {string} name
 * @property {number} expiresAtMs
 * @property {boolean} isStored
 * @property {boolean} isCompleted
 * @property {string | null} verdict the code with which every completion is refused
 *
 * @typedef {object} Knowledge what the client has been told about one file
 * @property {"nothing" | "sent" | "stored"} storage "sent": the whole file was sent, and no answer came
 * @property {Set<object>} requests that go on
 *
 * @typedef {object} PlannedAnswer
 * @property {number} status
 * @property {Record<string, unknown>} [body]
 * @property {Record<string, string>} [headers]
 */

/** Return random numbers in [0, 1), the same for the same seed (mulberry32). @param {number} seed */
export function seeded(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A file without bytes: the simulation counts them only. */
export class SimulatedFile {
  type = "image/png";

  /** @param {string} name @param {number} size */
  constructor(name, size) {
    this.name = name;
    this.size = size;
  }

  slice() {
    return this;
  }

  async arrayBuffer() {
    return new ArrayBuffer(0);
  }
}

export class Simulation {
  nowMs = 1_000_000;
  isOnline = true;
  #isCut = false;
  /** Whether anything fails by itself. */
  fails = true;
  /** @type {Map<string, StoredFile>} by token */
  files = new Map();
  /** @type {Map<string, Knowledge>} by the file's name */
  #known = new Map();
  /** @type {{atMs: number, number: number, run: () => void}[]} */
  #timers = [];
  #nextNumber = 1;
  #page = new EventTarget();
  /** @type {Set<() => void>} */
  #breakable = new Set();
  #listsInFlight = 0;
  #sending = 0;
  /** What was wrong with requests. The client would take an error that is thrown in one for a lost connection. */
  violations = /** @type {Error[]} */ ([]);

  /**
   * @param {number} seed
   * @param {{concurrency: number, maxSending?: number}} limits how many files may have requests, and how many may be sent
   */
  constructor(seed, { concurrency, maxSending = concurrency }) {
    this.random = seeded(seed);
    this.concurrency = concurrency;
    this.maxSending = maxSending;
    /** How the server refuses every list; null if it takes lists. @type {PlannedAnswer | null} */
    this.refusal = this.chance(0.6) ? null : this.pick(REFUSALS);
    this.maxFiles = this.pick([2, 5, 100]);
    this.isCreateOnly = this.chance(0.5);
    // A name of its own, because the client remembers storages.
    this.storage = `https://storage-${seed}.example`;
    this.server = `https://server-${seed}.example`;
  }

  /** @param {number} probability */
  chance(probability) {
    return this.random() < probability;
  }

  /** @template T @param {readonly T[]} values @returns {T} */
  pick(values) {
    return values[Math.floor(this.random() * values.length)];
  }

  /** @param {string} name */
  known(name) {
    const known = this.#known.get(name) ?? { storage: "nothing", requests: new Set() };
    this.#known.set(name, known);
    return known;
  }

  get requestsInFlight() {
    return [...this.#known.values()].reduce((sum, { requests }) => sum + requests.size, this.#listsInFlight);
  }

  /** Put this world in the place of the real one. @param {import("node:test").TestContext} t */
  install(t) {
    const simulation = this;
    t.mock.method(Math, "random", this.random);
    t.mock.method(performance, "now", () => this.nowMs);
    const setTimeout = (/** @type {() => void} */ run, /** @type {number} */ ms) => this.later(ms, run);
    t.mock.method(globalThis, "setTimeout", setTimeout);
    t.mock.method(globalThis, "clearTimeout", (/** @type {number} */ number) => this.#cancelTimer(number));
    t.mock.method(globalThis, "fetch", this.fetch);
    const digest = () => new Promise((resolve) => this.soon(() => resolve(new ArrayBuffer(32))));
    t.mock.method(crypto.subtle, "digest", digest);
    const globals = {
      addEventListener: this.#page.addEventListener.bind(this.#page),
      removeEventListener: this.#page.removeEventListener.bind(this.#page),
      XMLHttpRequest: function () {
        return new SimulatedXMLHttpRequest(simulation);
      },
      navigator: {
        get onLine() {
          return simulation.isOnline;
        },
      },
    };
    for (const [name, value] of Object.entries(globals)) {
      const original = Object.getOwnPropertyDescriptor(globalThis, name);
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
      t.after(() => {
        if (original) Object.defineProperty(globalThis, name, original);
        else Reflect.deleteProperty(globalThis, name);
      });
    }
  }

  /** @param {number} ms @param {() => void} run @returns {number} */
  later(ms, run) {
    const number = this.#nextNumber++;
    this.#timers.push({ atMs: this.nowMs + ms, number, run });
    return number;
  }

  /** @param {() => void} run @param {number} [slow] the probability of a long wait */
  soon(run, slow = 0.02) {
    return this.later(this.random() * (this.chance(slow) ? LONG_MS : MAX_DELAY_MS), run);
  }

  /** @param {number} number */
  #cancelTimer(number) {
    this.#timers = this.#timers.filter((timer) => timer.number !== number);
  }

  /** Let the next thing happen; return false if there is none. */
  step() {
    if (!this.#timers.length) return false;
    const next = this.#timers.reduce((a, b) => (b.atMs < a.atMs || (b.atMs === a.atMs && b.number < a.number) ? b : a));
    this.#cancelTimer(next.number);
    this.nowMs = next.atMs;
    next.run();
    return true;
  }

  /** @param {boolean} isOnline */
  setOnline(isOnline) {
    if (this.isOnline === isOnline) return;
    this.isOnline = isOnline;
    this.#page.dispatchEvent(new Event(isOnline ? "online" : "offline"));
    if (!isOnline) this.#breakConnections();
  }

  /** Take the network away without a word to the browser. */
  cut() {
    this.#isCut = true;
    this.#breakConnections();
  }

  get hasNetwork() {
    return this.isOnline && !this.#isCut;
  }

  #breakConnections() {
    for (const breakNow of [...this.#breakable]) breakNow();
  }

  /** Check that the client does not know the file to be stored. @param {string} name @param {string} event */
  checkUnknown(name, event) {
    const { storage } = this.known(name);
    this.#check(() => assert.equal(storage, "nothing", `${name} ${event}, and the client knows: ${storage}`));
  }

  /** @param {() => void} check */
  #check(check) {
    try {
      check();
    } catch (error) {
      this.violations.push(/** @type {Error} */ (error));
    }
  }

  /**
   * Begin a request of one file; check that it may be sent.
   * @param {string} name
   * @param {() => void} breakNow
   */
  begin(name, breakNow) {
    const known = this.known(name);
    const request = {};
    known.requests.add(request);
    this.#check(() => assert.equal(known.requests.size, 1, `two requests of ${name} at once`));
    const running = [...this.#known.values()].filter(({ requests }) => requests.size).length;
    this.#check(() => assert.ok(running <= this.concurrency, `${running} files at once`));
    this.#breakable.add(breakNow);
    return () => {
      known.requests.delete(request);
      this.#breakable.delete(breakNow);
    };
  }

  /** Begin a request of several files. @param {() => void} breakNow */
  #beginList(breakNow) {
    this.#listsInFlight += 1;
    this.#breakable.add(breakNow);
    return () => {
      this.#listsInFlight -= 1;
      this.#breakable.delete(breakNow);
    };
  }

  /**
   * Begin to send a file.
   * @param {string} name
   * @param {() => void} breakNow
   */
  beginToSend(name, breakNow) {
    this.#sending += 1;
    this.#check(() => assert.ok(this.#sending <= this.maxSending, `${this.#sending} files are sent at once`));
    const end = this.begin(name, breakNow);
    return () => {
      this.#sending -= 1;
      end();
    };
  }

  /** @type {typeof fetch} */
  fetch = (url, options = {}) => {
    const { method, body, signal } = options;
    const path = new URL(String(url)).pathname;
    const content = method === "POST" ? JSON.parse(String(body)) : {};
    const items = Array.isArray(content) ? content : [content];
    const names = items.map(({ name, token }) => name ?? (token && this.files.get(token)?.name));
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      let hasEnded = false;
      const settle = (/** @type {() => void} */ how) => {
        if (hasEnded) return;
        hasEnded = true;
        finish();
        how();
      };
      const fail = () => settle(() => reject(new TypeError("Failed to fetch")));
      const isList = Array.isArray(content);
      const finish = isList ? this.#beginList(fail) : names[0] ? this.begin(names[0], fail) : () => {};
      signal?.addEventListener("abort", () => settle(() => reject(signal.reason)));
      if (!this.hasNetwork) return void this.soon(fail);
      // A client that looks for the cause of a failure does not notice an abort.
      const slow = method === "HEAD" ? 0.5 : undefined;
      this.soon(() => {
        if (hasEnded) return;
        if (this.fails && this.chance(0.08)) return fail();
        const answer = method === "POST" ? this.#answer(path, content) : { status: ACCEPTED };
        if (this.fails && this.chance(0.08)) return fail();
        this.soon(() => {
          settle(() => {
            const told = isList ? (Array.isArray(answer.body) ? answer.body : []) : [answer];
            if (path === "/complete") told.forEach((each, index) => this.#tellVerdict(names[index], each));
            resolve(/** @type {any} */ (toResponse(answer)));
          });
        });
      }, slow);
    });
  };

  /** @param {string} path @param {any} content @returns {PlannedAnswer} */
  #answer(path, content) {
    if (this.fails && this.chance(0.1)) return this.pick(TRANSIENT);
    if (this.fails && this.chance(0.03)) return { status: 401, body: { code: "unauthenticated" } };
    if (Array.isArray(content)) return this.#listAnswer(path, content);
    return path === "/upload" ? this.#ticket(content) : this.#complete(content.token);
  }

  /** @param {string} path @param {any[]} items @returns {PlannedAnswer} */
  #listAnswer(path, items) {
    assert.ok(items.length > 1, "a list of one file");
    if (this.refusal) return this.refusal;
    if (items.length > this.maxFiles) return { status: 413, body: { code: "too_many_files", limit: this.maxFiles } };
    const body = items.map((item) => {
      const { headers, ...answer } = this.#answer(path, item);
      return headers ? { ...answer, retry_after: Number(headers["Retry-After"]) } : answer;
    });
    return { status: ACCEPTED, body: /** @type {any} */ (body) };
  }

  /** @param {{name: string}} content @returns {PlannedAnswer} */
  #ticket({ name }) {
    this.checkUnknown(name, "gets a ticket");
    const token = `${name}-${this.files.size}`;
    const lifetimeMs = this.pick([20_000, 120_000, 3_600_000]);
    const expiresAtMs = this.nowMs + lifetimeMs;
    this.files.set(token, { name, expiresAtMs, isStored: false, isCompleted: false, verdict: null });
    const now = "2026-03-02T10:00:00Z";
    const expires_at = new Date(Date.parse(now) + lifetimeMs).toISOString();
    const url = `${this.storage}/${token}`;
    const body = { method: "PUT", url, fields: {}, headers: {}, now, expires_at, key: token, object_url: null };
    return { status: ACCEPTED, body: { ...body, enforced: {}, token } };
  }

  /** @param {string} token @returns {PlannedAnswer} */
  #complete(token) {
    const file = this.files.get(token);
    assert.ok(file, `no such token: ${token}`);
    if (!file.isStored) return { status: 409, body: { code: "not_uploaded" } };
    if (this.fails && !file.isCompleted && this.chance(0.05)) file.verdict = this.pick(["rejected", "rule_violated"]);
    if (file.verdict) return { status: 422, body: { code: file.verdict } };
    if (this.fails && this.chance(0.15)) {
      const seconds = this.pick(["0", "3", "200"]);
      return { status: 202, body: { code: "completion_pending" }, headers: { "Retry-After": seconds } };
    }
    file.isCompleted = true;
    return { status: ACCEPTED, body: { key: token, object_url: null, etag: null, version: null, size: 1, type: "" } };
  }

  /**
   * Remember what the client knows from the server's answer.
   * @param {string} name
   * @param {PlannedAnswer} answer
   */
  #tellVerdict(name, { status, body }) {
    if (status === 409 || status === 422) this.known(name).storage = "nothing";
    if (body?.code === "completion_pending" || status === ACCEPTED) this.known(name).storage = "stored";
  }
}

/** @type {PlannedAnswer[]} */
const TRANSIENT = [
  { status: 500 },
  { status: 503, headers: { "Retry-After": "7" } },
  { status: 503, headers: { "Retry-After": "2000" } },
  { status: 429, body: { code: "too_many_requests" } },
];

/** How servers that do not know lists answer one. @type {PlannedAnswer[]} */
const REFUSALS = [
  { status: 400, body: { code: "invalid_request" } },
  { status: 422, body: { detail: "Input should be a valid dictionary" } },
  { status: 500 },
  { status: ACCEPTED, body: { error: "type is missing" } },
];

/** @param {PlannedAnswer} answer */
function toResponse({ status, body, headers }) {
  const text = async () => JSON.stringify(body ?? null);
  return { status, ok: status < 300, headers: new Headers(headers), text };
}

/** The part of XMLHttpRequest that storage.js uses. */
class SimulatedXMLHttpRequest {
  status = 0;
  responseText = "";
  /** @type {{onprogress?: (event: {loaded: number, total: number}) => void}} */
  upload = {};
  /** @type {() => void} */
  onloadend = () => {};
  #token = "";
  #hasEnded = false;
  #end = () => {};

  /** @param {Simulation} simulation */
  constructor(simulation) {
    this.simulation = simulation;
  }

  /** @param {string} method @param {string} url */
  open(method, url) {
    assert.equal(method, "PUT");
    this.#token = new URL(url).pathname.slice(1);
  }

  setRequestHeader() {}

  getAllResponseHeaders() {
    return "";
  }

  abort() {
    this.#settle(0);
  }

  /** @param {SimulatedFile} body */
  send({ size }) {
    const { simulation } = this;
    const file = /** @type {StoredFile} */ (simulation.files.get(this.#token));
    const known = simulation.known(file.name);
    simulation.checkUnknown(file.name, "is sent again");
    const lose = () => this.#settle(0);
    this.#end = simulation.beginToSend(file.name, lose);
    if (!simulation.hasNetwork) return void simulation.soon(lose);
    const steps = [0.3, 0.7, 1];
    const next = () => {
      if (this.#hasEnded) return;
      if (simulation.fails && simulation.chance(0.03)) return lose();
      const fraction = steps.shift();
      if (fraction === undefined) return this.#answer(file);
      if (fraction === 1) known.storage = "sent";
      this.upload.onprogress?.({ loaded: fraction * size, total: size });
      simulation.soon(next);
    };
    simulation.soon(next);
  }

  /** @param {StoredFile} file */
  #answer(file) {
    const { simulation } = this;
    const answer = this.#storageAnswer(file);
    if (simulation.fails && simulation.chance(0.05)) return this.#settle(0);
    simulation.soon(() => {
      if (this.#hasEnded) return;
      simulation.known(file.name).storage = answer.status === ACCEPTED || answer.status === EXISTS ? "stored" : "nothing";
      this.#settle(answer.status, answer.code);
    });
  }

  /** @param {StoredFile} file @returns {{status: number, code?: string}} */
  #storageAnswer(file) {
    const { simulation } = this;
    if (simulation.nowMs >= file.expiresAtMs) return { status: 403, code: "ExpiredToken" };
    const refusals = [{ status: 503 }, { status: 403, code: "AccessDenied" }];
    if (simulation.fails && simulation.chance(0.05)) return simulation.pick(refusals);
    if (file.isStored && simulation.isCreateOnly) return { status: EXISTS, code: "PreconditionFailed" };
    file.isStored = true;
    return { status: ACCEPTED };
  }

  /** @param {number} status @param {string} [code] */
  #settle(status, code = "") {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#end();
    this.status = status;
    this.responseText = code && `<Error><Code>${code}</Code></Error>`;
    this.onloadend();
  }
}
