import assert from "node:assert/strict";
import { before, test } from "node:test";

import { sendFile } from "../storage.js";
import { startServer, unusedOrigin } from "./servers.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

/** @typedef {import("../types.js").Ticket} Ticket */

const FILE = { name: "cat.png", type: "image/png", size: 5 };
const BLOB = new File(["bytes"], "cat.png", { type: "image/png" });

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

/** @param {Partial<Ticket>} ticket */
const ticketFor = (ticket) => /** @type {Ticket} */ ({ method: "PUT", fields: {}, headers: {}, ...ticket });

test("a PUT sends the file with the ticket's headers and no other content type", async (t) => {
  const { origin, requests } = await startServer(t, () => ({}));
  const headers = { "x-amz-meta-a": "b", "If-None-Match": "*", Host: "other.example", "Content-Length": "999" };
  await sendFile(ticketFor({ url: `${origin}/key?signature=s`, headers }), BLOB, FILE);
  const [received] = requests;
  assert.deepEqual([received.method, received.path], ["PUT", "/key?signature=s"]);
  assert.equal(received.body.toString(), "bytes");
  assert.equal(received.headers["x-amz-meta-a"], "b");
  assert.equal(received.headers["if-none-match"], "*");
  assert.equal(received.headers["content-type"], undefined);
  assert.equal(received.headers["content-length"], "5");
});

test("a POST sends the ticket's fields in their order, and the file last", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ status: 201 }));
  const fields = { key: "a/key", "Content-Type": "image/png", policy: "p" };
  await sendFile(ticketFor({ method: "POST", url: origin, fields }), BLOB, FILE);
  const body = requests[0].body.toString();
  const names = [...body.matchAll(/ name="([^"]+)"/g)].map(([, name]) => name);
  assert.deepEqual(names, ["key", "Content-Type", "policy", "file"]);
  assert.match(String(requests[0].headers["content-type"]), /^multipart\/form-data; boundary=/);
});

test("progress is told in bytes of the file, though a form is longer", async (t) => {
  const { origin } = await startServer(t, () => ({}));
  /** @type {number[][]} */
  const progress = [];
  const onProgress = (/** @type {number} */ loaded, /** @type {number} */ total) => progress.push([loaded, total]);
  await sendFile(ticketFor({ method: "POST", url: origin }), BLOB, FILE, { onProgress });
  assert.deepEqual(progress.at(-1), [5, 5]);
});

test("the progress of a small form is not asked for once the storage has answered the page", async (t) => {
  const { origin } = await startServer(t, () => ({}));
  /** @type {boolean[]} */
  const listened = [];
  const { send } = NodeXMLHttpRequest.prototype;
  /** @this {NodeXMLHttpRequest} @param {Blob | FormData} body */
  const listenedSend = function (body) {
    listened.push(Boolean(this.upload.onprogress));
    return send.call(this, body);
  };
  t.mock.method(NodeXMLHttpRequest.prototype, "send", listenedSend);
  const form = ticketFor({ method: "POST", url: origin });
  /** @type {number[][]} */
  const progress = [];
  const onProgress = (/** @type {number} */ loaded, /** @type {number} */ total) => progress.push([loaded, total]);
  const larger = new File([new Uint8Array(256 * 1024 + 1)], "large.png");
  await sendFile(form, BLOB, FILE, { onProgress });
  await sendFile(form, BLOB, FILE, { onProgress });
  await sendFile(form, larger, FILE);
  await sendFile(ticketFor({ url: origin }), BLOB, FILE);
  assert.deepEqual(listened, [true, false, true, true]);
  assert.deepEqual(progress, [[5, 5], [5, 5]]);
});

test("a small form without a response may be stored", async (t) => {
  const { origin } = await startServer(t, (_, number) => ({ disconnect: number > 1 }));
  const form = ticketFor({ method: "POST", url: origin });
  await sendFile(form, BLOB, FILE);
  /** @type {number[]} */
  const loads = [];
  const onProgress = (/** @type {number} */ loaded) => loads.push(loaded);
  await assert.rejects(sendFile(form, BLOB, FILE, { onProgress }), { code: "response_lost" });
  assert.deepEqual(loads, [5]);
});

test("a refusal becomes its error, with the Retry-After", async (t) => {
  const body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
  const { origin } = await startServer(t, () => ({ status: 503, headers: { "Retry-After": "3" }, body }));
  const sending = sendFile(ticketFor({ url: origin }), BLOB, FILE);
  await assert.rejects(sending, { code: "storage_unavailable", retryAfter: 3 });
});

test("a file that cannot be read any more is named before any other cause", async () => {
  const gone = { size: 5, slice: () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }) };
  const ticket = ticketFor({ url: await unusedOrigin() });
  await assert.rejects(sendFile(ticket, /** @type {any} */ (gone), FILE), { code: "file_unreadable" });
});

test("a storage that is down is named with its origin", async () => {
  const origin = await unusedOrigin();
  await assert.rejects(sendFile(ticketFor({ url: `${origin}/key` }), BLOB, FILE), {
    code: "storage_unreachable",
    details: { origin },
  });
});

test("a connection that breaks after the whole file was sent may have stored it", async (t) => {
  const { origin } = await startServer(t, () => ({ disconnect: true }));
  await assert.rejects(sendFile(ticketFor({ url: origin }), BLOB, FILE), { code: "response_lost" });
});

test("a storage that is up but takes nothing from this page is a matter of CORS", async (t) => {
  class RefusedByBrowser extends NodeXMLHttpRequest {
    async send() {
      this.onloadend();
    }
  }
  const { origin } = await startServer(t, () => ({}));
  Object.assign(globalThis, { XMLHttpRequest: RefusedByBrowser });
  t.after(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));
  await assert.rejects(sendFile(ticketFor({ url: origin }), BLOB, FILE), { code: "storage_cors" });
});

test("a storage that took bytes from this page before is no matter of CORS", async (t) => {
  const { origin } = await startServer(t, () => ({}));
  await sendFile(ticketFor({ url: origin }), BLOB, FILE);
  class Broken extends NodeXMLHttpRequest {
    async send() {
      this.onloadend();
    }
  }
  Object.assign(globalThis, { XMLHttpRequest: Broken });
  t.after(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));
  await assert.rejects(sendFile(ticketFor({ url: origin }), BLOB, FILE), { code: "connection_lost" });
});

test("nothing is sent after an abort", async (t) => {
  const { origin, requests } = await startServer(t, () => ({}));
  const sending = sendFile(ticketFor({ url: origin }), BLOB, FILE, { signal: AbortSignal.abort() });
  await assert.rejects(sending, { name: "AbortError" });
  assert.deepEqual(requests, []);
});

test("an abort ends the request and is thrown as it is", async (t) => {
  const controller = new AbortController();
  const { origin } = await startServer(t, () => {
    controller.abort();
    return {};
  });
  const sending = sendFile(ticketFor({ url: origin }), BLOB, FILE, { signal: controller.signal });
  await assert.rejects(sending, { name: "AbortError" });
});
