import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { before, test } from "node:test";

import { createUploader, upload } from "../index.js";
import { largeFile, memoryResume, startLargeServers } from "./large.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

const PART_BYTES = 8 * 1024 * 1024;

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

const hex = (/** @type {Uint8Array} */ bytes) => createHash("sha256").update(bytes).digest("hex");

/** A file of two parts, of which the second has half the size. */
const film = () => largeFile(2, { partBytes: PART_BYTES });

/** Count what is read to be hashed: Node.js has no workers as browsers do. @param {import("node:test").TestContext} t */
function countReads(t) {
  const { mock } = t.mock.method(Blob.prototype, "arrayBuffer");
  return { count: () => mock.callCount(), sizes: () => mock.calls.map(({ this: part }) => /** @type {any} */ (part).size) };
}

test("the ticket is for the digest of the parts, which are hashed once and signed with it", async (t) => {
  const { store: resume } = memoryResume();
  const servers = await startLargeServers(t, { needsSha256: true });
  const file = film();
  const bytes = Buffer.from(await file.arrayBuffer());
  const digests = [bytes.subarray(0, PART_BYTES), bytes.subarray(PART_BYTES)].map(hex);
  const reads = countReads(t);
  /** @type {(number | undefined)[]} */
  const hashed = [];
  /** @type {string[]} */
  const states = [];
  const result = await upload(file, {
    ...{ api: servers.api, resume, digest: true },
    onProgress: (progress) => void (progress.loaded || hashed.push(progress.hashed)),
    onState: (state) => void states.push(state),
  });
  assert.equal(result.enforced.checksum, "completion");
  const [asked] = servers.asked["/upload"];
  assert.deepEqual([asked.part_size, asked.hashes_parts, asked.sha256], [PART_BYTES, true, undefined]);
  assert.deepEqual(asked.parts_digest, { part_size: PART_BYTES, sha256: hex(Buffer.from(digests.join(""), "hex")) });
  assert.deepEqual(servers.asked["/parts"].flatMap(({ sha256 }) => sha256).sort(), [...digests].sort());
  assert.deepEqual(reads.sizes(), [PART_BYTES, PART_BYTES / 2, 64]);
  assert.deepEqual(hashed.slice(0, 2), [0, PART_BYTES]);
  assert.deepEqual(states, ["hashing", "requesting", "uploading", "verifying"]);
  assert.equal(hex(/** @type {Buffer} */ (servers.uploads[0].object)), hex(bytes));
});

test("without the option nothing is hashed for it", async (t) => {
  const servers = await startLargeServers(t, { partBytes: PART_BYTES });
  const reads = countReads(t);
  await upload(film(), { api: servers.api, resume: false });
  assert.deepEqual([servers.asked["/upload"][0].parts_digest, reads.count()], [undefined, 0]);
});

test("other bytes than were hashed are not stored, whether the storage or the server finds out", async (t) => {
  for (const [needsSha256, code] of /** @type {const} */ ([[true, "file_unreadable"], [false, "rule_violated"]])) {
    const servers = await startLargeServers(t, { needsSha256 });
    const file = film();
    const slice = file.slice.bind(file);
    let slices = 0;
    // The first two slices are hashed. Each later slice is sent, and has other bytes than the file.
    file.slice = (...range) => ((slices += 1) <= 2 ? slice(...range) : new Blob(["y".repeat(slice(...range).size)]));
    await assert.rejects(upload(file, { api: servers.api, resume: false, digest: true, attempts: 1 }), { code });
    assert.equal(servers.uploads[0].object, null);
  }
});

test("the next page goes on with an upload that has its digest, and hashes only what it sends", async (t) => {
  const { store: resume } = memoryResume();
  const controller = new AbortController();
  const onPart = (/** @type {any} */ { request }) => {
    if (request !== 2) return;
    controller.abort();
    return { disconnect: true };
  };
  const servers = await startLargeServers(t, { needsSha256: true, atOnce: 1, onPart });
  const { api, asked } = servers;
  const { signal } = controller;
  await assert.rejects(upload(film(), { api, resume, signal, digest: true, attempts: 1 }), { code: "cancelled" });
  await servers.settled();
  const stored = [...servers.uploads[0].parts.keys()];
  const sent = servers.arrivals.length;
  const reads = countReads(t);
  const result = await upload(film(), { api, resume, digest: true });
  assert.deepEqual([result.key, result.enforced.checksum, asked["/upload"].length], ["key-1", "completion", 1]);
  assert.equal(servers.arrivals.length - sent, 2 - stored.length);
  // One more part shows whether the file is still the same.
  assert.ok(reads.count() <= 2 - stored.length + 1, `${reads.sizes()}`);
});

test("an upload that began without its digest is aborted, and begun anew with it", async (t) => {
  const { store: resume } = memoryResume();
  const onRequest = (/** @type {string} */ path, /** @type {any} */ _, /** @type {number} */ number) =>
    path === "/complete" && number === 1 ? { disconnect: true } : undefined;
  const { api, asked } = await startLargeServers(t, { partBytes: PART_BYTES, onRequest });
  await assert.rejects(upload(film(), { api, resume, attempts: 1 }), { code: "server_unreachable" });
  const result = await upload(film(), { api, resume, digest: true });
  assert.deepEqual([result.key, result.enforced.checksum], ["key-2", "completion"]);
  assert.deepEqual(asked["/abort"], [{ token: "token-1" }]);
});

test("a file that comes in one request gets a ticket for its SHA-256", async (t) => {
  const refusal = { status: 400, body: { code: "invalid_request", field: "parts_digest" } };
  const onRequest = (/** @type {string} */ path, /** @type {any} */ content) =>
    path === "/upload" ? (content.parts_digest ? refusal : { status: 403, body: { code: "forbidden" } }) : undefined;
  for (const [file, requests] of /** @type {const} */ ([[largeFile(2), 1], [film(), 2]])) {
    const { api, asked } = await startLargeServers(t, { onRequest });
    await assert.rejects(upload(file, { api, digest: true, resume: false }), { code: "forbidden" });
    const last = asked["/upload"].at(-1);
    const sha256 = hex(new Uint8Array(await file.arrayBuffer()));
    assert.deepEqual([asked["/upload"].length, last.sha256, last.parts_digest], [requests, sha256, undefined]);
  }
});

test("another refusal than that one is the end", async (t) => {
  const refusal = { status: 413, body: { code: "too_large", field: "size", limit: 5 } };
  const { api, asked } = await startLargeServers(t, { onRequest: () => refusal });
  await assert.rejects(upload(film(), { api, digest: true, resume: false }), { code: "too_large" });
  assert.equal(asked["/upload"].length, 1);
});

test("a file that cannot be read, or is cancelled while it is hashed, asks the server for nothing", async (t) => {
  const { api, asked } = await startLargeServers(t, {});
  const gone = film();
  gone.slice = () => Object.assign(new Blob(["x"]), { arrayBuffer: () => Promise.reject(new Error("gone")) });
  await assert.rejects(upload(gone, { api, digest: true }), { code: "file_unreadable" });
  const uploader = createUploader({ api, digest: true });
  const off = uploader.on("change", ({ state }) => state === "hashing" && uploader.cancel());
  uploader.add([film()]);
  await uploader.finished();
  off();
  assert.equal(uploader.items[0].state, "cancelled");
  assert.deepEqual(asked["/upload"], []);
});

test("parts of the size that the server names are hashed anew, once", async (t) => {
  const partBytes = 6 * 1024 * 1024;
  const refusal = { status: 400, body: { code: "invalid_request", field: "part_size", limit: partBytes } };
  for (const takes of [partBytes, 0]) {
    const onRequest = (/** @type {string} */ path, /** @type {any} */ content) =>
      path === "/upload" && content.part_size !== takes ? refusal : undefined;
    const { api, asked } = await startLargeServers(t, { needsSha256: true, onRequest });
    const sent = upload(film(), { api, digest: true, resume: false });
    if (takes) assert.equal((await sent).enforced.checksum, "completion");
    else await assert.rejects(sent, { code: "invalid_request" });
    assert.deepEqual(
      asked["/upload"].map(({ part_size, parts_digest }) => [part_size, parts_digest.part_size]),
      [PART_BYTES, partBytes].map((size) => [size, size]),
    );
  }
});

test("a size that no part can have is not tried", async (t) => {
  for (const limit of [0, -1, undefined]) {
    const refusal = { status: 400, body: { code: "invalid_request", field: "part_size", limit } };
    const { api, asked } = await startLargeServers(t, { onRequest: () => refusal });
    await assert.rejects(upload(film(), { api, digest: true, resume: false }), { code: "invalid_request" });
    assert.equal(asked["/upload"].length, 1);
  }
});

test("a ticket that is not for the digest is not used, and its upload is aborted", async (t) => {
  for (const ignored of ["parts_digest", "part_size"]) {
    const onRequest = (/** @type {string} */ path, /** @type {any} */ content) => {
      if (path === "/upload") delete content[ignored];
      return undefined;
    };
    const { api, asked, arrivals } = await startLargeServers(t, { partBytes: 5 * 1024 * 1024, onRequest });
    await assert.rejects(upload(film(), { api, digest: true, resume: false }), { code: "invalid_response" });
    while (!asked["/abort"].length) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual([asked["/abort"], arrivals.length], [[{ token: "token-1" }], 0]);
  }
});

test("digests of parts of another size are never signed", async (t) => {
  const partBytes = 5 * 1024 * 1024;
  const refusal = { status: 400, body: { code: "invalid_request", field: "parts_digest" } };
  const onRequest = (/** @type {string} */ path, /** @type {any} */ content) =>
    path === "/upload" && content.parts_digest ? refusal : undefined;
  const { api, asked, uploads } = await startLargeServers(t, { needsSha256: true, partBytes, onRequest });
  const file = film();
  await upload(file, { api, digest: true, resume: false });
  const bytes = Buffer.from(await file.arrayBuffer());
  const parts = [0, 1, 2].map((index) => hex(bytes.subarray(index * partBytes, (index + 1) * partBytes)));
  assert.deepEqual(asked["/parts"].flatMap(({ sha256 }) => sha256).sort(), parts.sort());
  assert.equal(hex(/** @type {Buffer} */ (uploads[0].object)), hex(bytes));
});
