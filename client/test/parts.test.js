import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { before, test } from "node:test";

import { createUploader, store, upload, UploadError } from "../index.js";
import { MAX_PARALLEL } from "../parts.js";
import { Upload } from "../upload.js";
import { largeFile, memoryResume, PART_BYTES, startLargeServers } from "./large.js";
import { setOnline } from "./network.js";
import { ENFORCED } from "./plan.js";
import { clockToPutForward, gate } from "./timing.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

/** @typedef {import("./servers.js").PlannedResponse} PlannedResponse */

const EXPIRED = { status: 403, body: "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>" };
const REFUSED = { status: 403, body: "<Error><Code>AccessDenied</Code></Error>" };

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

const numbersTo = (/** @type {number} */ count) => Array.from({ length: count }, (_, index) => index + 1);
const text = (/** @type {Buffer | null} */ bytes) => bytes?.toString();
const until = async (/** @type {() => unknown} */ holds) => {
  for (const end = Date.now() + 10_000; !holds(); await new Promise((resolve) => setTimeout(resolve, 5))) {
    assert.ok(Date.now() < end, String(holds));
  }
};

/**
 * Upload a large file through a planned server and storage.
 * @param {import("node:test").TestContext} t
 * @param {Parameters<typeof startLargeServers>[1] & {count?: number, file?: any,
 *   options?: Partial<import("../upload.js").UploadOptions>, start?: typeof upload | typeof store}} plan
 */
async function run(t, { count = 5, file = largeFile(count), options = {}, start = upload, ...plan }) {
  const servers = await startLargeServers(t, plan);
  /** @type {string[]} */
  const states = [];
  /** @type {import("../upload.js").Progress[]} */
  const progress = [];
  const onState = (/** @type {string} */ state) => void states.push(state);
  const onProgress = (/** @type {import("../upload.js").Progress} */ news) => void progress.push(news);
  const [outcome] = await Promise.allSettled([start(file, { api: servers.api, onState, onProgress, ...options })]);
  const error = outcome.status === "rejected" ? /** @type {UploadError} */ (outcome.reason) : null;
  const result = outcome.status === "fulfilled" ? outcome.value : null;
  return { ...servers, result, error, states, progress, file, servers };
}

/** Let the storage hold all parts until they are released. */
function heldParts() {
  const { opened, open } = gate();
  return { onPart: () => opened, release: open };
}

test("all parts are sent, each with the size that was signed, and the upload is completed", async (t) => {
  const { result, error, uploads, file, asked, states, servers } = await run(t, {});
  assert.equal(error, null);
  assert.deepEqual([result?.key, result?.enforced], ["key-1", ENFORCED]);
  assert.equal(text(uploads[0].object), await file.text());
  assert.deepEqual(servers.sent, numbersTo(5));
  assert.deepEqual(asked["/complete"], [{ token: "token-1" }]);
  assert.deepEqual([asked["/parts/list"], asked["/abort"]], [[], []]);
  assert.deepEqual(states, ["requesting", "uploading", "verifying"]);
});

test("requests for parts are asked for in batches, as few as the server says, and each once", async (t) => {
  const { asked } = await run(t, { count: 10, atOnce: 3 });
  assert.ok(asked["/parts"].every(({ numbers }) => numbers.length <= 3));
  const numbers = asked["/parts"].flatMap(({ numbers }) => numbers);
  assert.deepEqual(numbers.sort((one, other) => one - other), numbersTo(10).slice(3));
  assert.equal(asked["/parts"][0].sha256, undefined);
});

/**
 * Hold requests until so many of them are at the storage, and for a second at most.
 * @param {(request: number) => number} countFor returns how many, for the number of the request
 */
function gathering(countFor) {
  /** @type {number[]} */
  const together = [];
  let running = 0;
  const gather = async (/** @type {{request: number}} */ { request }) => {
    together[request] = running += 1;
    const reached = () => Math.max(...together.slice(Math.max(1, request - MAX_PARALLEL))) >= countFor(request);
    for (const end = Date.now() + 1000; !reached() && Date.now() < end;) await new Promise((r) => setTimeout(r, 5));
    running -= 1;
  };
  return { together, gather };
}

test("several parts are sent at the same time, and never more than six", async (t) => {
  const { gather } = gathering((request) => (request < 20 ? 0 : MAX_PARALLEL));
  const { servers } = await run(t, { count: 40, atOnce: 12, onPart: gather });
  assert.equal(servers.mostRunning, MAX_PARALLEL);
});

test("the next parts are hashed and signed while six are sent, each once", async (t) => {
  const { onPart, release } = heldParts();
  const servers = await startLargeServers(t, { needsSha256: true, onPart });
  const file = largeFile(15);
  const signed = () => servers.asked["/parts"].flatMap(({ numbers }) => numbers);
  const sent = upload(file, { api: servers.api });
  await until(() => servers.arrivals.length === MAX_PARALLEL && signed().length === 2 * MAX_PARALLEL - 1);
  release();
  assert.equal((await sent).key, "key-1");
  assert.deepEqual(signed().sort((one, other) => one - other), numbersTo(15));
  assert.equal(text(servers.uploads[0].object), await file.text());
});

test("requests for the next parts that the server could not answer are asked for again", async (t) => {
  const { onPart, release } = heldParts();
  const onRequest = (/** @type {string} */ path, /** @type {any} */ { numbers }) =>
    path === "/parts" && !isReleased && Math.min(...numbers) > MAX_PARALLEL ? { status: 503, body: {} } : undefined;
  let isReleased = false;
  const servers = await startLargeServers(t, { needsSha256: true, onPart, onRequest });
  const sent = upload(largeFile(12), { api: servers.api });
  const asked = () => servers.asked["/parts"].flatMap(({ numbers }) => numbers);
  await until(() => servers.arrivals.length === MAX_PARALLEL && asked().includes(MAX_PARALLEL + 1));
  isReleased = true;
  release();
  assert.equal((await sent).key, "key-1");
  assert.deepEqual(servers.sent, numbersTo(12));
});

test("a next part that cannot be read ends the upload when its turn comes, and not before", async (t) => {
  const { onPart, release } = heldParts();
  const servers = await startLargeServers(t, { needsSha256: true, onPart });
  const file = largeFile(12);
  const slice = file.slice.bind(file);
  let reads = 0;
  const gone = () => ((reads += 1), Promise.reject(new Error("gone")));
  file.slice = (start = 0, end) =>
    start === 9 * PART_BYTES ? Object.assign(slice(start, end), { arrayBuffer: gone }) : slice(start, end);
  /** @type {any} */
  let error = null;
  const sent = upload(file, { api: servers.api }).catch((reason) => void (error = reason));
  await until(() => servers.arrivals.length === MAX_PARALLEL && reads);
  assert.equal(error, null);
  release();
  await sent;
  assert.equal(/** @type {any} */ (error).code, "file_unreadable");
});

test("after failures fewer parts are sent at the same time, and after successes more again", async (t) => {
  const { together, gather } = gathering((request) =>
    request <= MAX_PARALLEL || request >= 30 ? MAX_PARALLEL : 0,
  );
  const onPart = async (/** @type {{request: number}} */ arrival) => {
    await gather(arrival);
    if (arrival.request <= MAX_PARALLEL) return { status: 503 };
  };
  const { error } = await run(t, { count: 40, atOnce: 12, onPart });
  assert.equal(error, null);
  assert.equal(Math.max(...together.slice(1, MAX_PARALLEL + 1)), MAX_PARALLEL);
  assert.deepEqual(together.slice(MAX_PARALLEL + 1, MAX_PARALLEL + 3), [1, 1]);
  assert.equal(Math.max(...together.slice(30)), MAX_PARALLEL);
});

/**
 * Let this be Safari.
 * @param {import("node:test").TestContext} t
 */
function inSafari(t) {
  Object.defineProperty(navigator, "vendor", { value: "Apple Computer, Inc.", configurable: true });
  t.after(() => Reflect.deleteProperty(navigator, "vendor"));
}

/**
 * Return a file, and the memory into which its parts were read. `read` changes what is read.
 * @param {number} count
 * @param {(part: Blob, start: number) => Promise<ArrayBuffer>} [read]
 */
function watchedFile(count, read = (part) => Blob.prototype.arrayBuffer.call(part)) {
  const file = largeFile(count);
  const { slice } = file;
  /** @type {ArrayBuffer[]} */
  const buffers = [];
  const memory = { buffers, most: 0, held: () => buffers.filter(({ detached }) => !detached).length };
  file.slice = (start = 0, ...rest) => {
    const part = slice.call(file, start, ...rest);
    const arrayBuffer = async () => {
      const bytes = await read(part, start);
      buffers.push(bytes);
      memory.most = Math.max(memory.most, memory.held());
      return bytes;
    };
    return Object.assign(part, { arrayBuffer });
  };
  return { file, memory };
}

test("in Safari parts are read before they are sent, and no more of them are in memory than are sent", async (t) => {
  inSafari(t);
  const { file, memory } = watchedFile(40);
  const onPart = (/** @type {any} */ { request }) => (request % 7 === 0 ? { status: 503 } : undefined);
  const { uploads } = await run(t, { file, onPart });
  assert.equal(text(uploads[0].object), await file.text());
  assert.ok(memory.buffers.length >= 40);
  assert.ok(memory.most > 1 && memory.most <= MAX_PARALLEL, `${memory.most} parts were in memory`);
  assert.equal(memory.held(), 0);
});

test("elsewhere parts are sent from the disk, and hashed one at a time", async (t) => {
  const sent = watchedFile(20);
  await run(t, { file: sent.file });
  assert.equal(sent.memory.buffers.length, 0);
  const hashed = watchedFile(20);
  const { error } = await run(t, { file: hashed.file, needsSha256: true });
  assert.equal(error, null);
  assert.deepEqual([hashed.memory.buffers.length, hashed.memory.most, hashed.memory.held()], [20, 1, 0]);
});

test("a part that a browser cannot send from the disk is read before it is sent again", async (t) => {
  const { file, memory } = watchedFile(3);
  const onPart = (/** @type {any} */ { request }) => (request === 1 ? { disconnect: true } : undefined);
  const { uploads } = await run(t, { file, onPart });
  assert.equal(text(uploads[0].object), await file.text());
  assert.equal(memory.buffers.length, 1);
});

test("in Safari no more large parts are in memory than 64 MiB", async (t) => {
  inSafari(t);
  const partBytes = 32 * 1024 * 1024;
  const { file, memory } = watchedFile(5, async () => new ArrayBuffer(partBytes));
  const { slice } = file;
  const part = () => Object.defineProperty(slice.call(file, 0, 1), "size", { value: partBytes });
  const large = { size: 5 * partBytes, type: "video/mp4", name: "film.mp4", slice: part };
  const { error } = await run(t, { file: large, partBytes });
  assert.deepEqual([error, memory.most], [null, 2]);
});

test("a part that fails is repeated alone", async (t) => {
  const onPart = (/** @type {any} */ { request }) => (request === 2 ? { status: 503 } : undefined);
  const { servers, uploads, file, states } = await run(t, { onPart });
  assert.equal(text(uploads[0].object), await file.text());
  const [, { number }] = servers.arrivals;
  assert.deepEqual(servers.sent, [...numbersTo(5), number].sort());
  assert.deepEqual(states, ["requesting", "uploading", "verifying"]);
});

test("a storage that is asked too much is not asked which parts it has", async (t) => {
  const answers = [
    { status: 503, body: "<Error><Code>SlowDown</Code></Error>" },
    { status: 503, body: "<Error><Code>ServerBusy</Code></Error>" },
    { status: 429 },
  ];
  const onPart = (/** @type {any} */ { request }) => answers[request - 1];
  const { error, servers, asked } = await run(t, { count: 3, onPart });
  assert.equal(error, null);
  assert.deepEqual([servers.sent.length, asked["/parts/list"]], [6, []]);
});

test("the upload waits only while all of its parts wait", async (t) => {
  const onPart = (/** @type {any} */ { request }) => (request <= 3 ? { status: 503 } : undefined);
  const { states } = await run(t, { count: 3, onPart });
  assert.deepEqual(states, ["requesting", "uploading", "retrying", "uploading", "verifying"]);
});

test("progress counts what the storage confirmed, never goes back, and tells what was sent beside it", async (t) => {
  const onPart = (/** @type {any} */ { request }) => (request <= 2 ? { status: 503 } : undefined);
  const { progress, file } = await run(t, { onPart });
  const loaded = progress.map((news) => news.loaded);
  assert.deepEqual([loaded[0], loaded.at(-1)], [0, file.size]);
  assert.deepEqual(loaded, [...loaded].sort((one, other) => one - other));
  assert.ok(loaded.every((bytes) => bytes % PART_BYTES === 0 || bytes % PART_BYTES === PART_BYTES / 2));
  assert.ok(progress.every(({ sent, loaded, total }) => loaded <= sent && sent <= total && total === file.size));
  assert.ok(progress.some(({ sent, loaded }) => sent > loaded));
});

test("a request that the storage calls expired is replaced, and the others are not", async (t) => {
  const onPart = (/** @type {any} */ { number, request }) => (number === 2 && request <= 3 ? EXPIRED : undefined);
  const { asked, servers, error } = await run(t, { count: 3, onPart });
  assert.equal(error, null);
  assert.deepEqual(asked["/parts"].map(({ numbers }) => numbers), [[2]]);
  assert.deepEqual([servers.sent, asked["/upload"].length], [[1, 2, 2, 3], 1]);
});

test("a request that expired before it was sent is not sent", async (t) => {
  const { asked, error } = await run(t, { count: 3, lifetimeMs: -1 });
  assert.equal(error, null);
  assert.deepEqual(asked["/parts"].flatMap(({ numbers }) => numbers).sort(), [1, 2, 3]);
});

test("a part whose requests expire again and again is the end, and the parts before it are kept", async (t) => {
  const { store: resume, records } = memoryResume();
  const onPart = (/** @type {any} */ { number }) => (number === 3 ? EXPIRED : undefined);
  const { error, servers, asked } = await run(t, { count: 3, onPart, options: { resume } });
  assert.equal(error?.code, "ticket_expired");
  assert.deepEqual([servers.sent, asked["/upload"].length], [[1, 2, 3, 3, 3], 1]);
  assert.deepEqual([records.size, asked["/abort"]], [1, []]);
});

test("the digests that are signed are those of the bytes, and the storage gets them", async (t) => {
  const { asked, uploads, file, error } = await run(t, { needsSha256: true, count: 7, atOnce: 2 });
  assert.equal(error, null);
  const bytes = Buffer.from(await file.arrayBuffer());
  /** @type {Map<number, string>} */
  const digests = new Map();
  for (const { numbers, sha256 } of asked["/parts"]) {
    assert.ok(numbers.length <= 2);
    numbers.forEach((/** @type {number} */ number, /** @type {number} */ index) => digests.set(number, sha256[index]));
  }
  for (const number of numbersTo(7)) {
    const part = bytes.subarray((number - 1) * PART_BYTES, number * PART_BYTES);
    assert.equal(digests.get(number), createHash("sha256").update(part).digest("hex"));
  }
  assert.equal(text(uploads[0].object), bytes.toString());
});

test("the server is told that parts are hashed, if the file is so large that it may come in parts", async (t) => {
  const partBytes = 8 * 1024 * 1024;
  const { asked } = await run(t, { file: new File([new Uint8Array(5 * 1024 * 1024)], "film.mp4"), partBytes });
  assert.equal(asked["/upload"][0].hashes_parts, true);
  const small = await run(t, { file: new File([new Uint8Array(5 * 1024 * 1024 - 1)], "film.mp4"), partBytes });
  assert.equal(small.asked["/upload"][0].hashes_parts, undefined);
});

test("bytes that were damaged on the way are sent again", async (t) => {
  const damaged = { status: 400, body: "<Error><Code>BadDigest</Code></Error>" };
  const onPart = (/** @type {any} */ { request }) => (request === 2 ? damaged : undefined);
  const { error, servers } = await run(t, { count: 3, needsSha256: true, onPart });
  assert.equal(error, null);
  assert.equal(servers.sent.length, 4);
});

test("a part whose bytes changed after they were hashed is not stored, and the file is unreadable", async (t) => {
  let reads = 0;
  // Only what is hashed is read this way. What is sent has the other bytes already.
  const { file } = watchedFile(3, async (part, start) => {
    const isBefore = start === 0 && (reads += 1) === 1;
    return Blob.prototype.arrayBuffer.call(isBefore ? new Blob(["y".repeat(part.size)]) : part);
  });
  const { error, uploads } = await run(t, { file, needsSha256: true });
  assert.equal(error?.code, "file_unreadable");
  assert.equal(uploads[0].parts.has(1), false);
});

test("a file whose bytes are gone, or fewer, is named as unreadable, and nothing more is sent", async (t) => {
  const gone = () => Promise.reject(new Error("changed on disk"));
  for (const bytes of [gone, async () => new ArrayBuffer(0)]) {
    for (const needsSha256 of [true, false]) {
      if (!needsSha256) inSafari(t);
      const read = (/** @type {Blob} */ part, /** @type {number} */ start) =>
        start === 4 * PART_BYTES ? bytes() : Blob.prototype.arrayBuffer.call(part);
      const { file } = watchedFile(40, read);
      const { error, servers, asked } = await run(t, { file, needsSha256 });
      assert.equal(error?.code, "file_unreadable");
      assert.ok(servers.sent.length < 12);
      assert.deepEqual(asked["/complete"], []);
    }
  }
});

test("after a lost answer the server is asked, and a part that is there is not sent again", async (t) => {
  const afterPart = (/** @type {any} */ { number }) => (number === 2 ? { disconnect: true } : undefined);
  const { error, servers, asked } = await run(t, { count: 3, afterPart });
  assert.equal(error, null);
  assert.deepEqual([servers.sent, asked["/parts/list"].length], [[1, 2, 3], 1]);
});

test("the server is asked too if the browser has not reported that all bytes were sent", async (t) => {
  class LateProgress extends NodeXMLHttpRequest {
    upload = Object.freeze({ set onprogress(/** @type {any} */ _) {} });
  }
  Object.assign(globalThis, { XMLHttpRequest: LateProgress });
  t.after(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));
  const afterPart = (/** @type {any} */ { number }) => (number === 2 ? { disconnect: true } : undefined);
  const { error, servers, asked } = await run(t, { count: 3, afterPart });
  assert.equal(error, null);
  assert.deepEqual([servers.sent, asked["/parts/list"].length], [[1, 2, 3], 1]);
});

test("after a lost answer a part that is not there is sent again", async (t) => {
  const onPart = (/** @type {any} */ { request }) => (request === 2 ? { disconnect: true } : undefined);
  const { error, servers, asked } = await run(t, { count: 3, onPart });
  assert.equal(error, null);
  assert.deepEqual([servers.sent.length, asked["/parts/list"].length], [4, 1]);
});

test("a part that stopped moving is sent again when many others were stored since", async (t) => {
  const clock = clockToPutForward(t);
  /** @type {(value?: any) => void} */
  let release = () => {};
  let stored = 0;
  const onPart = async (/** @type {any} */ { request }) => {
    if (request === 1) return new Promise((resolve) => (release = () => resolve({ disconnect: true })));
    stored += 1;
    if (stored === 14) clock.skippedMs = 20_000;
  };
  const { error, servers } = await run(t, { count: 30, atOnce: 30, onPart });
  release();
  assert.equal(error, null);
  assert.equal(servers.sent.length, 31);
});

test("a lost answer to the completion is asked for again, and no part is sent again", async (t) => {
  const onRequest = (/** @type {string} */ path, /** @type {any} */ _, /** @type {number} */ number) =>
    path === "/complete" && number === 1 ? { disconnect: true } : undefined;
  const { error, servers, asked } = await run(t, { count: 3, onRequest });
  assert.equal(error, null);
  assert.deepEqual([servers.sent, asked["/complete"].length], [[1, 2, 3], 2]);
});

test("a completion that takes long is asked for again", async (t) => {
  const pending = { status: 202, headers: { "Retry-After": "0" }, body: { code: "completion_pending" } };
  const onRequest = (/** @type {string} */ path, /** @type {any} */ _, /** @type {number} */ number) =>
    path === "/complete" && number <= 2 ? pending : undefined;
  const { error, states, servers } = await run(t, { count: 3, onRequest });
  assert.equal(error, null);
  assert.ok(states.includes("inspecting"));
  assert.deepEqual(servers.sent, [1, 2, 3]);
});

test("parts that are missing at the completion are sent, and it is completed again", async (t) => {
  /** @type {Awaited<ReturnType<typeof startLargeServers>>["uploads"]} */
  let uploads = [];
  const onRequest = (/** @type {string} */ path, /** @type {any} */ _, /** @type {number} */ number) => {
    if (path === "/complete" && number === 1) uploads[0].parts.delete(2);
  };
  const servers = await startLargeServers(t, { onRequest });
  uploads = servers.uploads;
  const file = largeFile(3);
  await upload(file, { api: servers.api });
  assert.equal(text(uploads[0].object), await file.text());
  assert.deepEqual([servers.sent, servers.asked["/complete"].length], [[1, 2, 2, 3], 2]);
});

test("parts that the server misses although it lists them are sent again, three times at most", async (t) => {
  const missing = { status: 409, body: { code: "parts_missing", numbers: [2] } };
  const onRequest = (/** @type {string} */ path) => (path === "/complete" ? missing : undefined);
  const { error, servers } = await run(t, { count: 3, onRequest });
  assert.deepEqual([error?.code, error?.details.numbers, error?.retryable], ["parts_missing", [2], true]);
  assert.deepEqual(servers.sent, [1, 2, 2, 2, 2, 3]);
});

test("an upload that the storage does not have any more begins anew once", async (t) => {
  /** @type {any} */
  const state = { uploads: [], ends: 1 };
  const onPart = (/** @type {any} */ { upload, number }) => {
    if (number === 3 && upload <= state.ends) state.uploads[upload - 1].isOpen = false;
  };
  for (const [ends, expected] of /** @type {[number, any][]} */ ([[1, "key-2"], [2, "upload_ended"]])) {
    const servers = await startLargeServers(t, { onPart });
    Object.assign(state, { uploads: servers.uploads, ends });
    const outcome = await upload(largeFile(3), { api: servers.api }).catch((error) => error);
    assert.equal(outcome.code ?? outcome.key, expected);
    assert.equal(servers.asked["/upload"].length, 2);
  }
});

test("an upload whose token expires, or is not accepted any more, while it is sent begins anew once", async (t) => {
  for (const code of ["token_expired", "invalid_token"]) {
    const onRequest = (/** @type {string} */ path, /** @type {any} */ { token }) =>
      path === "/parts" && token === "token-1" ? { status: 403, body: { code } } : undefined;
    const { result, asked, uploads, file } = await run(t, { count: 5, atOnce: 3, onRequest });
    assert.deepEqual([result?.key, asked["/upload"].length], ["key-2", 2]);
    assert.equal(text(uploads[1].object), await file.text());
    const always = (/** @type {string} */ path) => (path === "/parts" ? { status: 403, body: { code } } : undefined);
    const second = await run(t, { count: 5, atOnce: 3, onRequest: always });
    assert.deepEqual([second.error?.code, second.asked["/upload"].length], [code, 2]);
    assert.ok(second.uploads.every(({ object }) => object === null));
  }
});

test("of 10,000 parts only those are sent that the server does not list", async (t) => {
  const count = 10_000;
  const { store: resume } = memoryResume();
  const controller = new AbortController();
  let isDown = true;
  const onPart = () => {
    controller.abort();
    return isDown ? { status: 503 } : undefined;
  };
  const servers = await startLargeServers(t, { atOnce: 8, onPart });
  const { api, uploads } = servers;
  const file = largeFile(count);
  await assert.rejects(upload(file, { api, resume, signal: controller.signal }), { code: "cancelled" });
  await servers.settled();
  const bytes = Buffer.from(await file.arrayBuffer());
  const missing = [1, 5_000, count];
  for (const number of numbersTo(count)) {
    const part = bytes.subarray((number - 1) * PART_BYTES, number * PART_BYTES);
    if (!missing.includes(number)) uploads[0].parts.set(number, part);
  }
  const earlier = servers.arrivals.length;
  isDown = false;
  const result = await upload(largeFile(count), { api, resume });
  const sent = servers.arrivals.slice(earlier).map(({ number }) => number);
  assert.deepEqual([result.key, sent.sort((one, other) => one - other)], ["key-1", missing]);
  assert.ok(uploads[0].object?.equals(bytes));
});

test("a file of no bytes comes in one request, and is refused as too small by most policies", async (t) => {
  const tooSmall = { status: 422, body: { code: "too_small", field: "size", limit: 1 } };
  const { error, asked, arrivals } = await run(t, { file: new File([], "film.mp4"), onRequest: () => tooSmall });
  assert.deepEqual([error?.code, error?.details.file?.size], ["too_small", 0]);
  assert.deepEqual([asked["/upload"], arrivals], [[{ type: "video/mp4", size: 0, name: "film.mp4" }], []]);
});

test("an upload that another tab completes meanwhile is completed here too, and nothing is sent again", async (t) => {
  /** @type {Awaited<ReturnType<typeof startLargeServers>>} */
  let servers;
  const onPart = (/** @type {any} */ { request }) => {
    if (request !== 2) return;
    const [upload] = servers.uploads;
    Object.assign(upload, { isOpen: false, object: Buffer.alloc(upload.size) });
  };
  servers = await startLargeServers(t, { onPart });
  const result = await upload(largeFile(20), { api: servers.api });
  assert.deepEqual([result.key, servers.uploads.length], ["key-1", 1]);
  assert.equal(new Set(servers.sent).size, servers.sent.length);
});

for (const hashes of ["nothing", "parts", "file"]) {
  test(`an upload whose disk never answers can be cancelled, and goes on later; it hashes ${hashes}`, async (t) => {
    if (hashes === "nothing") inSafari(t);
    const { store: resume } = memoryResume();
    const servers = await startLargeServers(t, { needsSha256: hashes !== "nothing" });
    let isGone = true;
    const read = (/** @type {Blob} */ part) => Blob.prototype.arrayBuffer.call(part);
    const { file } = watchedFile(20, (part) => (isGone ? new Promise(() => {}) : read(part)));
    const options = { api: servers.api, resume, digest: hashes === "file", onState: () => {} };
    const running = new Upload(file, options);
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 50);
    await assert.rejects(running.run(controller.signal), { code: "cancelled" });
    assert.deepEqual(servers.sent, []);
    isGone = false;
    assert.equal((await running.run()).key, "key-1");
  });
}

test("an upload that has ended at its completion begins anew once", async (t) => {
  const ended = { status: 410, body: { code: "upload_ended" } };
  const onRequest = (/** @type {string} */ path, /** @type {any} */ { token }) =>
    path === "/complete" && token === "token-1" ? ended : undefined;
  const { result, asked } = await run(t, { count: 3, onRequest });
  assert.equal(result?.key, "key-2");
  assert.equal(asked["/upload"].length, 2);
  const always = (/** @type {string} */ path) => (path === "/complete" ? ended : undefined);
  const second = await run(t, { count: 3, onRequest: always });
  assert.deepEqual([second.error?.code, second.error?.token], ["upload_ended", null]);
  assert.equal(second.asked["/upload"].length, 2);
});

test("a refusal ends the other parts, and the next run sends only what is missing", async (t) => {
  let refuses = true;
  const onPart = async (/** @type {any} */ { number }) => {
    if (number === 3 && refuses) return REFUSED;
    await new Promise((resolve) => setTimeout(resolve, 20));
  };
  const servers = await startLargeServers(t, { onPart });
  const file = largeFile(80);
  const again = new Upload(file, { api: servers.api });
  await assert.rejects(again.run(), { code: "storage_refused", token: null });
  const before = servers.sent.length;
  assert.ok(before < 60);
  await servers.settled();
  refuses = false;
  const missing = 80 - servers.uploads[0].parts.size;
  const sent = servers.sent.length;
  await again.run();
  assert.equal(servers.sent.length - sent, missing);
  assert.equal(text(servers.uploads[0].object), await file.text());
});

test("an upload that was stopped goes on with what the server does not list", async (t) => {
  const controller = new AbortController();
  const onPart = (/** @type {any} */ { request }) => {
    if (request === 6) controller.abort();
  };
  const servers = await startLargeServers(t, { onPart, atOnce: 10 });
  const file = largeFile(20);
  const stopped = new Upload(file, { api: servers.api });
  await assert.rejects(stopped.run(controller.signal), { code: "cancelled" });
  await until(() => servers.uploads[0].parts.size >= 5);
  await servers.settled();
  const stored = [...servers.uploads[0].parts.keys()];
  const sent = servers.arrivals.length;
  await stopped.run();
  const later = servers.arrivals.slice(sent).map(({ number }) => number);
  assert.deepEqual(later.sort((a, b) => a - b), numbersTo(20).filter((number) => !stored.includes(number)));
  assert.deepEqual([servers.asked["/upload"].length, servers.asked["/abort"]], [1, []]);
  assert.equal(text(servers.uploads[0].object), await file.text());
});

test("a failed completion is repeated by the next run, and no part is sent again", async (t) => {
  const onRequest = (/** @type {string} */ path, /** @type {any} */ _, /** @type {number} */ number) =>
    path === "/complete" && number === 1 ? { status: 503 } : undefined;
  const servers = await startLargeServers(t, { onRequest });
  const again = new Upload(largeFile(3), { api: servers.api, attempts: 1 });
  await assert.rejects(again.run(), { code: "server_failed", token: "token-1" });
  assert.equal(again.storedBytes, 10);
  await again.run();
  assert.deepEqual([servers.sent, servers.asked["/parts/list"]], [[1, 2, 3], []]);
});

test("without a network nothing is sent, and the upload goes on when it is back", async (t) => {
  const network = setOnline(t, true);
  const onPart = (/** @type {any} */ { request }) => {
    if (request < 4 || request > 6) return;
    if (request === 4) setTimeout(() => network.set(true), 300);
    network.set(false);
    return { disconnect: true };
  };
  const { error, states, uploads, file } = await run(t, { count: 12, onPart, options: { attempts: 1 } });
  assert.equal(error, null);
  assert.ok(states.includes("offline"));
  assert.equal(text(uploads[0].object), await file.text());
});

test("store() sends all parts and leaves the completion to the application", async (t) => {
  const { store: resume, records } = memoryResume();
  const { result, asked, uploads } = await run(t, { count: 3, start: store, options: { resume } });
  assert.equal(/** @type {any} */ (result).token, "token-1");
  assert.deepEqual([asked["/complete"], asked["/abort"], uploads[0].parts.size, records.size], [[], [], 3, 0]);
});

test("a ticket whose parts do not make up the file is not used", async (t) => {
  for (const [part_size, count] of [[4, 4], [4, 2], [0, Infinity]]) {
    const times = { now: "2026-03-02T10:00:00Z", expires_at: "2026-03-02T10:15:00Z" };
    const rest = { at_once: 3, needs_sha256: false, resumable_until: times.expires_at, requests: [] };
    const parts = { part_size, count, ...rest };
    const ticket = { ...times, method: "PUT", url: "http://127.0.0.1:1/", token: "token-1", parts };
    const onRequest = (/** @type {string} */ path) => (path === "/upload" ? { body: ticket } : { body: {} });
    const { error, asked } = await run(t, { count: 3, onRequest });
    assert.equal(error?.code, "invalid_response");
    assert.deepEqual([asked["/parts"], asked["/complete"]], [[], []]);
  }
});

test("a ticket that was not used is aborted, and the next one for the same file is remembered", async (t) => {
  const { records, store: resume } = memoryResume();
  const servers = await startLargeServers(t, {});
  let tickets = 0;
  const fetch = async (/** @type {any} */ url, /** @type {RequestInit | undefined} */ init) => {
    const answer = await globalThis.fetch(url, init);
    if (!String(url).endsWith("/upload") || (tickets += 1) > 1) return answer;
    const ticket = await answer.json();
    return new Response(JSON.stringify({ ...ticket, parts: { ...ticket.parts, count: 9 } }));
  };
  const file = largeFile(3);
  await assert.rejects(upload(file, { api: servers.api, resume, fetch }), { code: "invalid_response" });
  let remembered = 0;
  const counting = { ...resume, save: (/** @type {any[]} */ ...args) => (remembered += 1) };
  await upload(file, { api: servers.api, resume: counting, fetch });
  assert.deepEqual([remembered, servers.asked["/abort"], records.size], [1, [{ token: "token-1" }], 0]);
});

test("a server that signs another size, or another part, is not believed", async (t) => {
  const request = { number: 1, size: 3, method: "PUT", url: "http://127.0.0.1:1/", headers: {} };
  const times = { now: "2026-03-02T10:00:00Z", expires_at: "2026-03-02T10:15:00Z" };
  for (const requests of [[request], []]) {
    const signed = { body: { ...times, requests } };
    const onRequest = (/** @type {string} */ path) => (path === "/parts" ? signed : undefined);
    const { error, servers } = await run(t, { count: 3, lifetimeMs: -1, onRequest });
    assert.deepEqual([error?.code, servers.sent], ["invalid_response", []]);
  }
});

test("an upload that nobody can go on with is aborted, with a request that outlives the page", async (t) => {
  /** @type {any[]} */
  const lasting = [];
  const own = (/** @type {any} */ url, /** @type {RequestInit | undefined} */ init) => {
    if (init?.keepalive) lasting.push(new URL(url).pathname);
    return fetch(url, init);
  };
  const options = { resume: /** @type {false} */ (false), attempts: 1, fetch: own };
  const { error, asked } = await run(t, { count: 3, onPart: () => ({ status: 503 }), options });
  assert.equal(error?.code, "storage_unavailable");
  await until(() => asked["/abort"].length);
  assert.deepEqual([asked["/abort"], lasting], [[{ token: "token-1" }], ["/abort"]]);
});

/**
 * Start an uploader, and act when so many parts have arrived.
 * @param {import("node:test").TestContext} t
 * @param {number} arrivals
 * @param {(uploader: import("../uploader.js").Uploader) => void} act
 */
async function actInTheMiddle(t, arrivals, act) {
  const { store: resume, records } = memoryResume();
  const onPart = (/** @type {any} */ { request }) => {
    if (request === arrivals) act(uploader);
  };
  const servers = await startLargeServers(t, { onPart, atOnce: 10 });
  const uploader = createUploader({ api: servers.api, resume });
  let isSentShown = false;
  uploader.on("change", ({ sent, loaded }) => void (isSentShown ||= sent > loaded));
  uploader.add([largeFile(20)]);
  await uploader.finished();
  assert.ok(isSentShown);
  return { servers, uploader, records };
}

test("a paused file keeps its parts, shows them, and goes on with the missing ones", async (t) => {
  const { servers, uploader } = await actInTheMiddle(t, 8, (uploader) => uploader.pause());
  const { state, loaded, sent: shown } = uploader.items[0];
  assert.deepEqual([state, shown], ["paused", loaded]);
  assert.ok(loaded > 0 && loaded % PART_BYTES === 0);
  await servers.settled();
  const stored = servers.uploads[0].parts.size;
  const sent = servers.arrivals.length;
  uploader.resume();
  await uploader.finished();
  assert.deepEqual([uploader.items[0].state, uploader.items[0].loaded], ["done", 78]);
  assert.equal(servers.arrivals.length - sent, 20 - stored);
  assert.deepEqual([servers.asked["/abort"], servers.asked["/upload"].length], [[], 1]);
});

test("a cancelled file is aborted at the server, and a retry begins anew", async (t) => {
  const { servers, uploader, records } = await actInTheMiddle(t, 8, (uploader) => uploader.cancel());
  assert.deepEqual([uploader.items[0].state, uploader.items[0].loaded], ["cancelled", 0]);
  await until(() => servers.asked["/abort"].length);
  assert.deepEqual([servers.asked["/abort"], records.size], [[{ token: "token-1" }], 0]);
  uploader.retry(1);
  await uploader.finished();
  assert.deepEqual([uploader.items[0].state, uploader.items[0].result?.key], ["done", "key-2"]);
});

test("a file that is cancelled while the server verifies it is not aborted, and a retry completes it", async (t) => {
  const servers = await startLargeServers(t, {});
  const uploader = createUploader({ api: servers.api });
  const off = uploader.on("change", ({ state }) => state === "verifying" && uploader.cancel());
  uploader.add([largeFile(3)]);
  await uploader.finished();
  off();
  assert.deepEqual([uploader.items[0].state, uploader.items[0].loaded], ["cancelled", 10]);
  uploader.retry(1);
  await uploader.finished();
  assert.deepEqual([uploader.items[0].state, uploader.items[0].result?.key], ["done", "key-1"]);
  assert.deepEqual([servers.asked["/abort"], servers.sent], [[], [1, 2, 3]]);
});

test("a removed file that failed is aborted only if it cannot be resumed", async (t) => {
  for (const [resume, aborts] of /** @type {const} */ ([[memoryResume().store, 0], [false, 1]])) {
    const servers = await startLargeServers(t, { onPart: () => ({ status: 503 }) });
    const uploader = createUploader({ api: servers.api, resume, attempts: 1 });
    uploader.add([largeFile(3)]);
    await uploader.finished();
    assert.deepEqual([uploader.items[0].state, servers.asked["/abort"]], ["failed", []]);
    uploader.remove();
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(servers.asked["/abort"].length, aborts);
  }
});
