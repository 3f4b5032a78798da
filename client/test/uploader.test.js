import assert from "node:assert/strict";
import { before, test } from "node:test";

import { createUploader, UploadError } from "../index.js";
import { files, startServers, statesOf, STORED } from "./plan.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

/** @typedef {import("../uploader.js").Uploader} Uploader */

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

/**
 * Call `act` once, as soon as a file is in the state.
 * @param {Uploader} uploader
 * @param {string} state
 * @param {(id: number) => void} act
 */
function when(uploader, state, act) {
  const off = uploader.on("change", (item) => {
    if (item.state !== state) return;
    off();
    act(item.id);
  });
}

test("one call uploads many files, a limited number at the same time, and says when all have ended", async (t) => {
  const servers = await startServers(t, {});
  const uploader = createUploader({ api: servers.api, concurrency: 2 });
  let most = 0;
  uploader.on("change", () => (most = Math.max(most, uploader.totals.running)));
  /** @type {number[]} */
  const finishes = [];
  uploader.on("finish", (items) => finishes.push(items.length));
  const added = uploader.add(files(5));
  assert.deepEqual(added.map(({ id }) => id), [1, 2, 3, 4, 5]);
  const items = await uploader.finished();
  assert.deepEqual(statesOf(uploader), Array(5).fill("done"));
  assert.deepEqual(items.map(({ result }) => result?.key), Array(5).fill("a/key"));
  assert.deepEqual([most, finishes, servers.stored.length], [2, [5], 5]);
});

test("an uploader without an address, a listener for no event, and what is no file are refused at once", () => {
  const wrong = /** @type {any} */ ({ concurrency: 2 });
  assert.throws(() => createUploader(wrong), { name: "TypeError", message: /^api must be the URL/ });
  const uploader = createUploader({ api: "http://127.0.0.1:1" });
  const event = /** @type {any} */ ("progress");
  const message = 'event must be one of change,remove,finish';
  assert.throws(() => uploader.on(event, () => {}), { name: "TypeError", message });
  assert.throws(() => uploader.add(/** @type {any} */ (["cat.png"])), { name: "TypeError", message: /^file must be one File/ });
  assert.deepEqual(uploader.items, []);
});

test("an uploader without files has finished", async () => {
  assert.deepEqual(await createUploader({ api: "http://127.0.0.1:1" }).finished(), []);
});

test("many files are added in a time that grows with their number, and not with its square", () => {
  const uploader = createUploader({ api: "/files", fetch: () => new Promise(() => {}) });
  const before = process.cpuUsage();
  uploader.add(files(10_000));
  const { user, system } = process.cpuUsage(before);
  assert.equal(uploader.totals.waiting + uploader.totals.running, 10_000);
  const seconds = (user + system) / 1e6;
  // It takes 0.1 seconds. If the uploader looked at every file for each one that is added, it would take over 10.
  assert.ok(seconds < 4, `${seconds} s`);
  uploader.cancel();
});

test("totals count the bytes of all files, and leave out those that failed or were cancelled", async (t) => {
  const completed = [{ status: 409, body: { code: "not_uploaded" } }, { body: STORED }];
  const { api } = await startServers(t, { stored: [{ status: 400 }, {}], completed });
  const uploader = createUploader({ api, concurrency: 1 });
  uploader.add(files(4));
  uploader.cancel(4);
  assert.deepEqual(uploader.totals, {
    ...{ loaded: 0, total: 15, waiting: 3, running: 0, paused: 0, done: 0, failed: 0, cancelled: 1 },
  });
  await uploader.finished();
  assert.deepEqual(uploader.totals, {
    ...{ loaded: 10, total: 10, waiting: 0, running: 0, paused: 0, done: 2, failed: 1, cancelled: 1 },
  });
});

test("the list is the same array until something changes, and its items never change", async (t) => {
  const { api } = await startServers(t, {});
  const uploader = createUploader({ api });
  const [item] = uploader.add(files(1));
  const before = uploader.items;
  assert.equal(uploader.items, before);
  assert.ok(Object.isFrozen(item));
  await uploader.finished();
  assert.notEqual(uploader.items, before);
  assert.equal(before[0].state, "waiting");
});

test("a paused file sends nothing until it is resumed, and then starts at zero", async (t) => {
  const servers = await startServers(t, {});
  const uploader = createUploader({ api: servers.api });
  uploader.add(files(1));
  await new Promise((resolve) => when(uploader, "uploading", (id) => resolve(uploader.pause(id))));
  assert.deepEqual([statesOf(uploader), uploader.items[0].loaded, servers.completions], [["paused"], 0, []]);
  assert.deepEqual(await uploader.finished(), uploader.items, "a paused file keeps nobody waiting");
  uploader.resume();
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), servers.tickets], [["done"], 1]);
});

test("a file that is paused while the server verifies it is completed afterwards, and not sent again", async (t) => {
  const servers = await startServers(t, {});
  const uploader = createUploader({ api: servers.api });
  uploader.add(files(1));
  await new Promise((resolve) => when(uploader, "verifying", (id) => resolve(uploader.pause(id))));
  assert.equal(uploader.items[0].loaded, 5);
  uploader.resume();
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), servers.stored], [["done"], ["/key-1"]]);
});

test("pause and resume stop and continue all files", async (t) => {
  const { api, storage } = await startServers(t, {});
  const uploader = createUploader({ api });
  uploader.add(files(5));
  uploader.pause();
  assert.deepEqual(statesOf(uploader), Array(5).fill("paused"));
  uploader.resume();
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), storage.requests.length], [Array(5).fill("done"), 5]);
});

test("a cancelled file ends with the error cancelled, and the next one starts", async (t) => {
  const { api } = await startServers(t, {});
  const uploader = createUploader({ api, concurrency: 1 });
  uploader.add(files(3));
  when(uploader, "uploading", (id) => uploader.cancel(id));
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), ["cancelled", "done", "done"]);
  assert.equal(uploader.items[0].error?.code, "cancelled");
});

test("a file that is cancelled while the server verifies it keeps its token, and a retry completes it", async (t) => {
  const pending = { status: 202, headers: { "Retry-After": "200" }, body: { code: "completion_pending" } };
  const servers = await startServers(t, { completed: [pending, { body: STORED }] });
  const uploader = createUploader({ api: servers.api });
  uploader.add(files(1));
  when(uploader, "inspecting", (id) => uploader.cancel(id));
  await uploader.finished();
  await new Promise((resolve) => setTimeout(resolve));
  assert.equal(uploader.items[0].error?.token, "token-1");
  uploader.retry(1);
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), servers.stored], [["done"], ["/key-1"]]);
});

test("retry without an id tries all failed files that may succeed, and no cancelled one", async (t) => {
  const stored = (/** @type {number} */ number) => ({ status: number <= 2 ? 503 : 200 });
  const servers = await startServers(t, { stored });
  const uploader = createUploader({
    api: servers.api,
    attempts: 1,
    check: ({ name }) => {
      if (name === "2.png") throw new UploadError("too_large");
    },
  });
  uploader.add(files(4));
  uploader.cancel(4);
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), ["failed", "failed", "failed", "cancelled"]);
  uploader.retry();
  assert.equal(uploader.items[0].error, null);
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), ["done", "done", "failed", "cancelled"]);
  uploader.retry(4);
  await uploader.finished();
  assert.equal(uploader.items[3].state, "done");
});

test("a file whose check fails gets no ticket", async (t) => {
  const servers = await startServers(t, {});
  const check = async () => {
    throw new UploadError("type_not_allowed");
  };
  const uploader = createUploader({ api: servers.api, check });
  uploader.add(files(1));
  const [item] = await uploader.finished();
  assert.deepEqual([item.state, item.error?.code, servers.tickets], ["failed", "type_not_allowed", 0]);
});

test("a removed file leaves the list, sends nothing any more, and changes no more", async (t) => {
  const { api } = await startServers(t, {});
  const uploader = createUploader({ api });
  uploader.add(files(2));
  /** @type {string[]} */
  const events = [];
  uploader.on("remove", ({ id }) => events.push(`remove ${id}`));
  when(uploader, "uploading", (id) => {
    uploader.remove(id);
    uploader.on("change", (item) => item.id === id && events.push("change"));
  });
  await uploader.finished();
  assert.deepEqual([uploader.items.length, events], [1, ["remove 1"]]);
  uploader.remove();
  assert.deepEqual(uploader.items, []);
});

test("a wait before another attempt shows its length, and none of the bytes of the failed attempt", async (t) => {
  const { api } = await startServers(t, { stored: [{ status: 503 }, {}] });
  const uploader = createUploader({ api });
  /** @type {import("../uploader.js").UploadItem[]} */
  const waits = [];
  uploader.on("change", (item) => item.state === "retrying" && waits.push(item));
  uploader.add(files(1));
  await uploader.finished();
  assert.deepEqual(waits.map(({ wait, loaded }) => [wait?.attempt, loaded]), [[2, 0]]);
  assert.equal(uploader.items[0].wait, null);
});

test("the options of some files replace those of the uploader", async (t) => {
  const { api, server } = await startServers(t, {});
  const uploader = createUploader({ api, headers: { "x-kind": "all" } });
  uploader.add(files(1), { headers: { "x-kind": "these" }, sha256: true });
  await uploader.finished();
  assert.equal(server.requests[0].headers["x-kind"], "these");
  assert.match(server.requests[0].body.toString(), /"sha256":"[0-9a-f]{64}"/);
});

test("a listener that throws ends no upload, and its mistake is reported", async (t) => {
  const { api } = await startServers(t, {});
  const uploader = createUploader({ api });
  /** @type {unknown[]} */
  const reported = [];
  const { queueMicrotask } = globalThis;
  const reporting = (/** @type {() => void} */ task) => () => {
    try {
      task();
    } catch (error) {
      reported.push(error);
    }
  };
  t.mock.method(globalThis, "queueMicrotask", (/** @type {() => void} */ task) => queueMicrotask(reporting(task)));
  uploader.on("change", () => {
    throw new TypeError("a mistake in the page");
  });
  uploader.add(files(1));
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), ["done"]);
  assert.match(String(reported[0]), /a mistake in the page/);
});
