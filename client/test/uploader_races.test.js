import assert from "node:assert/strict";
import { test } from "node:test";

import { createUploader, upload } from "../index.js";
import { SimulatedFile, Simulation } from "./simulation.js";

/** @typedef {import("../uploader.js").UploadItem} UploadItem */
/** @typedef {import("../uploader.js").UploaderOptions} UploaderOptions */

const { setImmediate } = globalThis;

/**
 * Return an uploader in a simulation in which nothing fails by itself.
 * @param {import("node:test").TestContext} t
 * @param {Partial<UploaderOptions>} [options]
 */
function start(t, options = {}) {
  const world = new Simulation(1, { concurrency: 3 });
  world.fails = false;
  world.isCreateOnly = false;
  world.install(t);
  return { world, uploader: createUploader({ api: world.server, ...options }) };
}

/** @returns {any} */
function aFile(name = "a.png") {
  return new SimulatedFile(name, 100);
}

function settled() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** @param {Simulation} world @param {() => boolean} isReached */
async function runUntil(world, isReached) {
  await settled();
  for (let steps = 0; !isReached(); steps += 1) {
    assert.ok(steps < 1000 && world.step(), "this is never reached");
    await settled();
  }
}

/** @param {Simulation} world */
async function runToTheEnd(world) {
  for (await settled(); world.step(); await settled());
  assert.deepEqual(world.violations, []);
}

test("a file that was removed while it was sent has no more events", async (t) => {
  const { world, uploader } = start(t);
  /** @type {string[]} */
  const events = [];
  uploader.on("change", ({ state }) => events.push(state));
  uploader.on("remove", () => events.push("remove"));
  const [{ id }] = uploader.add([aFile()]);
  await runUntil(world, () => uploader.items[0].loaded > 0);
  uploader.remove(id);
  await runToTheEnd(world);
  assert.equal(events.at(-1), "remove");
});

test("a listener gets the events in their order, although one before it answers with an operation", async (t) => {
  const { world, uploader } = start(t);
  uploader.on("change", ({ id, state }) => state === "cancelled" && uploader.retry(id));
  /** @type {string[]} */
  const states = [];
  uploader.on("change", ({ state }) => states.push(state));
  const [{ id }] = uploader.add([aFile()]);
  uploader.cancel(id);
  await settled();
  assert.deepEqual(states.slice(0, 3), ["waiting", "cancelled", "waiting"]);
  await runToTheEnd(world);
});

test("a file that is removed is not sent, although a listener retries what is cancelled", async (t) => {
  const { world, uploader } = start(t);
  uploader.on("change", ({ id, state }) => state === "cancelled" && uploader.retry(id));
  const [{ id }] = uploader.add([aFile()]);
  await runUntil(world, () => uploader.items[0].loaded > 0);
  uploader.remove(id);
  await runToTheEnd(world);
  assert.deepEqual([...world.files.values()].map(({ isStored }) => isStored), [false]);
});

test("a file that is cancelled by a listener as soon as it is added ends with `finish`", async (t) => {
  const { uploader } = start(t);
  let finishes = 0;
  uploader.on("finish", () => (finishes += 1));
  uploader.on("change", ({ id, state }) => state === "waiting" && uploader.cancel(id));
  uploader.add([aFile()]);
  assert.equal(finishes, 1);
});

test("a stored file that is paused and cancelled has the token that completes it", async (t) => {
  const { world, uploader } = start(t);
  const [{ id }] = uploader.add([aFile()]);
  await runUntil(world, () => uploader.items[0].state === "verifying");
  uploader.pause(id);
  await runToTheEnd(world);
  uploader.cancel(id);
  assert.equal(uploader.items[0].error?.token, uploader.items[0].ticket?.token);
});

test("a file whose last response was lost with the network is completed, and not sent again", async (t) => {
  const { world, uploader } = start(t, { attempts: 1 });
  uploader.add([aFile()]);
  await runUntil(world, () => [...world.files.values()].some(({ isStored }) => isStored));
  assert.equal(uploader.items[0].state, "uploading");
  world.setOnline(false);
  await runUntil(world, () => uploader.items[0].state === "offline");
  world.setOnline(true);
  // The simulation refuses a file that may be stored.
  await runToTheEnd(world);
  assert.equal(uploader.items[0].state, "done");
});

test("the error of a file whose response was lost, and whose storage is gone, has its token", async (t) => {
  const { world } = start(t);
  const states = /** @type {string[]} */ ([]);
  const result = upload(aFile(), { api: world.server, attempts: 1, onState: (state) => states.push(state) });
  result.catch(() => {});
  await runUntil(world, () => [...world.files.values()].some(({ isStored }) => isStored));
  world.cut();
  await runToTheEnd(world);
  await assert.rejects(result, ({ code, token }) => code === "storage_unreachable" && token !== null);
});

test("a failure without a network is no attempt, although the network is back before the cause is known", async (t) => {
  const { world, uploader } = start(t, { attempts: 1 });
  uploader.add([aFile()]);
  await runUntil(world, () => uploader.items[0].loaded > 0);
  world.setOnline(false);
  world.setOnline(true);
  await runToTheEnd(world);
  assert.equal(uploader.items[0].state, "done");
});

test("a server that has answered once has its CORS rules, so a later failure has another cause", async (t) => {
  const { world, uploader } = start(t, { fetch: (...request) => answer(...request) });
  let broken = 0;
  /** @type {typeof fetch} */
  const answer = (url, options) => {
    if (!String(url).endsWith("/complete") || (broken += 1) > 3) return world.fetch(url, options);
    return Promise.reject(new TypeError("Failed to fetch"));
  };
  /** @type {(string | undefined)[]} */
  const codes = [];
  uploader.on("change", ({ wait }) => wait && codes.push(wait.error.code));
  uploader.add([aFile()]);
  await runToTheEnd(world);
  assert.deepEqual(codes, Array(3).fill("server_unreachable"));
  assert.equal(uploader.items[0].state, "done");
});

test("a file that was cancelled while the page's `headers` hang can be retried", async (t) => {
  let calls = 0;
  const headers = () => ((calls += 1) === 1 ? new Promise(() => {}) : {});
  const { world, uploader } = start(t, { headers: /** @type {any} */ (headers) });
  const [{ id }] = uploader.add([aFile()]);
  await runUntil(world, () => calls === 1);
  uploader.cancel(id);
  uploader.retry(id);
  await runToTheEnd(world);
  assert.equal(uploader.items[0].state, "done");
});

test("a file that no longer has a ticket shows none", async (t) => {
  const { world, uploader } = start(t);
  const [{ id }] = uploader.add([aFile()]);
  await runUntil(world, () => uploader.items[0].state === "verifying");
  for (const file of world.files.values()) file.verdict = "rejected";
  await runToTheEnd(world);
  assert.equal(uploader.items[0].error?.code, "rejected");
  uploader.retry(id);
  assert.equal(uploader.items[0].ticket, null);
});

test("the files before one that is no file start", async (t) => {
  const { world, uploader } = start(t);
  assert.throws(() => uploader.add([aFile(), /** @type {any} */ (null)]), TypeError);
  await runToTheEnd(world);
  assert.ok(uploader.items.every(({ state }) => state === "done"), uploader.items[0]?.state);
});

test("attempts and concurrency that are no number from 1 are refused", () => {
  for (const wrong of [0, -1, 1.5, NaN, "3"]) {
    const number = /** @type {any} */ (wrong);
    assert.throws(() => createUploader({ api: "/files", concurrency: number }), RangeError, `concurrency ${wrong}`);
    assert.throws(() => createUploader({ api: "/files", attempts: number }), RangeError, `attempts ${wrong}`);
  }
});
