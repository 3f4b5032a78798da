/**
 * Random operations on an uploader, at every point at which it waits, while server, storage and network fail at random.
 *
 * A failure names its seed. `SEED=17 node --test test/uploader_random.test.js` runs this one alone, and prints what
 * happened; `SEEDS=2000` runs more of them.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createUploader } from "../index.js";
import { SimulatedFile, Simulation } from "./simulation.js";

/** @typedef {import("../uploader.js").UploadItem} UploadItem */

const SEEDS = Number(process.env.SEEDS ?? 100);
const OPERATIONS_PER_SEED = 40;
/** Often those that make work, so that something goes on. */
const OPERATIONS = /** @type {const} */ (
  ["add", "add", "resume", "resume", "retry", "retry", "pause", "cancel", "restart", "remove", "online"]
);
const MAX_STEPS = 30_000;
const MAX_RETRIES = 3;
/** An abort can come between any two of the client's microtasks. */
const MAX_MICROTASKS = 30;
const ENDED = ["done", "failed", "cancelled"];
const AT_REST = [...ENDED, "paused"];

// The simulation replaces the global ones.
const { setImmediate } = globalThis;

/** Resolve when the client waits for the world. */
function settled() {
  return new Promise((resolve) => setImmediate(() => resolve(null)));
}

/** One uploader in one simulation, and what the operations have asked of it. */
class Run {
  /** @type {Map<number, UploadItem>} */
  shown = new Map();
  /** The same for the last of the listeners. @type {Map<number, UploadItem>} */
  shownLast = new Map();
  /** @type {Set<number>} */
  removed = new Set();
  /** What must not change until an operation says so. @type {Map<number, string>} */
  asked = new Map();
  wasBusy = false;
  /** @type {unknown[]} */
  errors = [];
  /** @type {string[]} */
  log = [];
  waitingForFinish = 0;
  nextName = 1;
  depth = 0;
  operationsInListeners = true;

  /** @param {number} seed @param {import("node:test").TestContext} t */
  constructor(seed, t) {
    const concurrency = [1, 2, 3, undefined][seed % 4];
    // Without a number, more files are completed than sent.
    this.world = new Simulation(seed, concurrency ? { concurrency } : { concurrency: 24, maxSending: 6 });
    this.world.install(t);
    const world = this.world;
    this.uploader = createUploader({
      api: world.server,
      concurrency,
      attempts: world.pick([1, 2, 5]),
      sha256: world.chance(0.3),
      headers: async () => ({ "X-Token": "a" }),
      check: () => (world.chance(0.5) ? undefined : new Promise((resolve) => world.soon(() => resolve(undefined)))),
    });
    const { uploader } = this;
    uploader.on("change", (item) => this.check(() => this.#onChange(item)));
    uploader.on("remove", (item) => this.check(() => this.#onRemove(item)));
    uploader.on("finish", (items) => this.check(() => this.#onFinish(items)));
    // The page's own code may answer an event with an operation.
    for (const event of /** @type {const} */ (["change", "remove", "finish"])) {
      const probability = event === "change" ? 0.03 : 0.3;
      uploader.on(event, () => {
        if (this.operationsInListeners && this.depth === 0 && world.chance(probability)) this.operate();
      });
    }
    // A listener behind one that operates gets the same events in the same order.
    uploader.on("change", (item) => void this.shownLast.set(item.id, item));
    uploader.on("remove", ({ id }) => void this.shownLast.delete(id));
  }

  /** Keep an error for the end: the uploader reports those of its listeners apart. @param {() => void} check */
  check(check) {
    try {
      check();
    } catch (error) {
      this.errors.push(error);
    }
  }

  /** @param {UploadItem} item */
  #onChange(item) {
    const { id, state, loaded, file, error, result } = item;
    this.log.push(`  ${id} ${state} ${loaded}`);
    assert.ok(!this.removed.has(id), `a change of the removed file ${id}: ${state}`);
    assert.ok(Object.isFrozen(item));
    assert.ok(loaded >= 0 && loaded <= file.size);
    if (state === "done") assert.equal(loaded, file.size);
    assert.equal(error !== null, state === "failed" || state === "cancelled", `${state} with the error ${error?.code}`);
    assert.equal(result !== null, state === "done");
    const asked = this.asked.get(id);
    // The event may be older than what another listener has done since.
    const now = this.uploader.items.find((each) => each.id === id)?.state;
    if (asked && now) assert.equal(now, asked, `file ${id} was asked to stay ${asked}`);
    assert.equal(this.uploader.items, this.uploader.items);
    this.shown.set(id, item);
    if (!AT_REST.includes(state)) this.wasBusy = true;
    this.#checkTotals();
  }

  /** @param {UploadItem} item */
  #onRemove({ id }) {
    assert.ok(!this.removed.has(id), `file ${id} is removed twice`);
    this.removed.add(id);
    this.shown.delete(id);
  }

  /** @param {readonly UploadItem[]} items */
  #onFinish(items) {
    this.log.push("  finish");
    assert.deepEqual(items, [...this.uploader.items]);
    assert.ok(!this.isBusy, "finish, and a file waits or runs");
    assert.ok(this.wasBusy, "a second finish");
    assert.equal(this.world.requestsInFlight, 0, "finish, and a request goes on");
    this.wasBusy = false;
  }

  #checkTotals() {
    const { loaded, total, ...counts } = this.uploader.totals;
    const items = this.uploader.items;
    const running = items.filter(({ state }) => !AT_REST.includes(state) && state !== "waiting").length;
    assert.equal(Object.values(counts).reduce((a, b) => a + b, 0), items.length);
    assert.equal(counts.running, running);
    assert.ok(running <= this.world.concurrency, `${running} files run`);
    const counted = items.filter(({ state }) => state !== "failed" && state !== "cancelled");
    assert.equal(loaded, counted.reduce((sum, item) => sum + item.loaded, 0));
    assert.equal(total, counted.reduce((sum, { file }) => sum + file.size, 0));
  }

  get isBusy() {
    return this.uploader.items.some(({ state }) => !AT_REST.includes(state));
  }

  /** Do one random operation. */
  operate() {
    const { world, uploader } = this;
    this.depth += 1;
    const ids = uploader.items.map(({ id }) => id);
    const id = ids.length && world.chance(0.85) ? world.pick(ids) : undefined;
    const name = world.pick(OPERATIONS);
    this.log.push(`${name} ${id ?? "all"} at ${world.nowMs}`);
    this[name](id);
    this.depth -= 1;
  }

  /** @param {number} [_] */
  add(_) {
    const most = this.world.chance(0.1) ? 40 : 3;
    const files = Array.from({ length: 1 + Math.floor(this.world.random() * most) }, () => {
      return new SimulatedFile(`file-${this.nextName++}`, Math.floor(this.world.random() * 1000));
    });
    this.uploader.add(/** @type {any} */ (files));
  }

  /** @param {number} [id] */
  pause(id) {
    this.#operateOnEach(id, (item) => !AT_REST.includes(item.state), "paused");
    this.uploader.pause(id);
  }

  /** @param {number} [id] */
  resume(id) {
    this.#operateOnEach(id, (item) => item.state === "paused", null);
    this.uploader.resume(id);
  }

  /** @param {number} [id] */
  cancel(id) {
    this.#operateOnEach(id, (item) => !ENDED.includes(item.state), "cancelled");
    this.uploader.cancel(id);
  }

  /** @param {number} [id] */
  retry(id) {
    const canRetry = (/** @type {UploadItem} */ { state, error }) =>
      state === "failed" ? id !== undefined || error?.retryable === true : state === "cancelled" && id !== undefined;
    this.#operateOnEach(id, canRetry, null);
    this.uploader.retry(id);
  }

  /** A run that was stopped may not have ended when the next one is asked for. @param {number} [id] */
  restart(id) {
    const [stop, start] = this.world.pick(/** @type {const} */ ([["pause", "resume"], ["cancel", "retry"]]));
    this[stop](id);
    this[start](id);
  }

  /** @param {number} [id] */
  remove(id) {
    this.#operateOnEach(id, (item) => !ENDED.includes(item.state), "cancelled");
    this.uploader.remove(id);
  }

  /** @param {number} [_] */
  online(_) {
    this.world.setOnline(!this.world.isOnline);
  }

  /**
   * @param {number | undefined} id
   * @param {(item: UploadItem) => boolean} isMeant
   * @param {string | null} asked
   */
  #operateOnEach(id, isMeant, asked) {
    for (const item of this.uploader.items) {
      if ((id !== undefined && item.id !== id) || !isMeant(item)) continue;
      if (asked) this.asked.set(item.id, asked);
      else this.asked.delete(item.id);
    }
  }

  /** What holds whenever the client waits for the world. */
  checkAtRest() {
    const items = new Set(this.uploader.items);
    assert.deepEqual(new Set(this.shown.values()), items, "the events show other files than there are");
    assert.deepEqual(new Set(this.shownLast.values()), items, "the last listener got old events last");
    if (this.isBusy) return;
    assert.ok(!this.wasBusy, "no file waits or runs, and there was no finish");
    assert.equal(this.waitingForFinish, 0, "finished() does not resolve");
  }

  async wait() {
    this.waitingForFinish += 1;
    await this.uploader.finished();
    this.waitingForFinish -= 1;
  }

  /** Let the world go on until it stops by itself. @param {() => Promise<void>} [afterStep] */
  async runWorld(afterStep = async () => {}) {
    await settled();
    for (let steps = 0; this.world.step(); steps += 1) {
      assert.ok(steps < MAX_STEPS, `it does not end: ${JSON.stringify(this.uploader.totals)}`);
      await afterStep();
      await settled();
      this.#throwFirst();
      this.checkAtRest();
    }
    assert.ok(!this.isBusy, `it is stuck: ${JSON.stringify(this.uploader.items.map(({ state }) => state))}`);
  }

  #throwFirst() {
    const [error] = [...this.errors, ...this.world.violations];
    if (error) throw error;
  }

  /** Operate at random, then ask for everything, and let nothing fail any more. */
  async runAll() {
    const { world, uploader } = this;
    let left = OPERATIONS_PER_SEED;
    // Something happens, even if no file is left, until all operations are done.
    const tick = () => {
      if (left > 0) world.later(world.random() * 3000, tick);
    };
    world.later(0, tick);
    this.add();
    await this.runWorld(async () => {
      if (left <= 0 || !world.chance(0.15)) return;
      left -= 1;
      if (left === 0) this.operationsInListeners = false;
      for (let count = Math.floor(world.random() * MAX_MICROTASKS); count > 0; count -= 1) await null;
      this.operate();
      if (world.chance(0.1)) this.wait();
      if (left === 0) world.setOnline(true);
    });

    for (const { file, state, error } of uploader.items) {
      if (state !== "failed" && state !== "cancelled") continue;
      const known = world.known(/** @type {string} */ (file.name)).storage;
      assert.ok(error?.token || known === "nothing", `${state} without a token, and the client knows: ${known}`);
    }
    world.fails = false;
    this.operationsInListeners = false;
    this.asked.clear();
    for (let rounds = 0; ; rounds += 1) {
      uploader.resume();
      for (const { id, state } of uploader.items) if (state === "failed" || state === "cancelled") uploader.retry(id);
      await this.runWorld();
      if (uploader.items.every(({ state }) => state === "done")) break;
      assert.ok(rounds < MAX_RETRIES, JSON.stringify(uploader.items.map(({ state, error }) => [state, error?.code])));
    }
    for (const { file, result } of uploader.items) {
      const stored = world.files.get(/** @type {any} */ (result).key);
      assert.deepEqual([stored?.name, stored?.isStored, stored?.isCompleted], [file.name, true, true]);
    }
    assert.equal(world.requestsInFlight, 0);
  }
}

test("random operations and failures leave every file as it was asked to be", async (t) => {
  const only = process.env.SEED;
  const seeds = only ? [Number(only)] : Array.from({ length: SEEDS }, (_, index) => index + 1);
  for (const seed of seeds) {
    await t.test(`seed ${seed}`, async (t) => {
      const run = new Run(seed, t);
      try {
        await run.runAll();
      } catch (error) {
        if (only) console.log(run.log.join("\n"));
        throw error;
      }
    });
  }
});
