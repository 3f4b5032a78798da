import assert from "node:assert/strict";
import { test } from "node:test";

import { completeUpload, requestTicket } from "../api.js";
import { UploadError } from "../errors.js";
import { startServer, unusedOrigin } from "./servers.js";

const FILE = { name: "cat.png", type: "image/png", size: 2048 };
const TICKET = { method: "PUT", url: "https://storage.example/key", fields: {}, headers: {}, token: "the token" };
const STORED = {
  key: "a/key",
  object_url: "https://storage.example/key",
  etag: '"e"',
  version: null,
  size: 2048,
  type: "image/png",
};

test("the request for a ticket holds what the contract names, as JSON", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ body: TICKET }));
  assert.deepEqual(await requestTicket(FILE, "ab".repeat(32), { api: `${origin}/files/` }), TICKET);
  const [{ method, path, headers, body }] = requests;
  assert.deepEqual([method, path, headers["content-type"]], ["POST", "/files/upload", "application/json"]);
  assert.deepEqual(JSON.parse(body.toString()), { ...FILE, sha256: "ab".repeat(32) });
});

test("a member without a value is left out", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ body: TICKET }));
  await requestTicket({ ...FILE, name: "" }, null, { api: origin });
  assert.deepEqual(JSON.parse(requests[0].body.toString()), { type: "image/png", size: 2048 });
});

test("half of a surrogate pair in a name becomes a character that JSON can hold", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ body: TICKET }));
  await requestTicket({ ...FILE, name: "cat\ud83d.png" }, null, { api: origin });
  assert.equal(JSON.parse(requests[0].body.toString()).name, "cat\ufffd.png");
});

test("completion returns the stored object, and null for a private object's URL", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ body: { ...STORED, object_url: null } }));
  assert.deepEqual(await completeUpload("the token", FILE, { api: origin }), { ...STORED, object_url: null });
  assert.deepEqual([requests[0].path, requests[0].body.toString()], ["/complete", '{"token":"the token"}']);
});

test("a completion that the server has only accepted is no success, with and without a problem document", async (t) => {
  const problem = { code: "completion_pending", detail: "the inspection has not ended" };
  const { origin } = await startServer(t, (_, number) => ({
    status: 202,
    headers: { "Retry-After": "7" },
    body: number === 1 ? problem : "",
  }));
  for (const reason of [problem.detail, ""]) {
    await assert.rejects(completeUpload("the token", FILE, { api: origin }), (error) => {
      assert.ok(error instanceof UploadError);
      assert.deepEqual([error.code, error.retryAfter, error.details.reason], ["completion_pending", 7, reason]);
      assert.deepEqual([error.transient, error.retryable], [false, true]);
      return true;
    });
  }
});

test("a problem document becomes its error, with the Retry-After", async (t) => {
  const { origin } = await startServer(t, () => ({
    status: 503,
    headers: { "Content-Type": "application/problem+json", "Retry-After": "5" },
    body: { code: "credentials_unavailable", detail: "no credentials" },
  }));
  await assert.rejects(requestTicket(FILE, null, { api: origin }), { code: "credentials_unavailable", retryAfter: 5 });
});

test("a response that is no JSON object, or no usable ticket, is an error with its reason", async (t) => {
  const unusableTickets = [{ ...TICKET, method: "DELETE" }, { ...TICKET, url: "key" }];
  const bodies = ["<html>Sign in to this network</html>", "null", '"text"', ...unusableTickets];
  const { origin } = await startServer(t, (_, number) => ({ body: bodies[number - 1] }));
  for (const body of bodies) {
    await assert.rejects(requestTicket(FILE, null, { api: origin }), { code: "invalid_response" }, JSON.stringify(body));
  }
});

test("a server that is down is named with its origin", async () => {
  const origin = await unusedOrigin();
  await assert.rejects(requestTicket(FILE, null, { api: `${origin}/files` }), {
    code: "server_unreachable",
    details: { origin },
    transient: true,
  });
});

test("a server that gives this page no response although it is up is a matter of CORS", async (t) => {
  // Node.js applies no CORS rules. As in a browser, the request fails, and the opaque one succeeds.
  const { origin } = await startServer(t, () => ({ disconnect: true }));
  await assert.rejects(requestTicket(FILE, null, { api: origin }), { code: "server_cors" });
});

test("an abort is thrown as it is", async (t) => {
  const { origin } = await startServer(t, () => ({ body: TICKET }));
  await assert.rejects(requestTicket(FILE, null, { api: origin, signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("headers of the page go with both requests, and cannot replace those of the contract", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ body: TICKET }));
  const headers = { "X-CSRFToken": "the page's token", accept: "text/html" };
  await requestTicket(FILE, null, { api: origin, headers });
  await completeUpload("the token", FILE, { api: origin, headers });
  for (const { headers: sent } of requests) {
    assert.equal(sent["x-csrftoken"], "the page's token");
    assert.equal(sent.accept, "application/json, application/problem+json");
  }
  assert.equal(requests.length, 2);
});

test("a function makes the headers of each request anew, and may be asynchronous", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ body: TICKET }));
  let number = 0;
  const headers = async () => ({ Authorization: `Bearer ${(number += 1)}` });
  for (let i = 0; i < 2; i += 1) await requestTicket(FILE, null, { api: origin, headers });
  assert.deepEqual(
    requests.map((request) => request.headers.authorization),
    ["Bearer 1", "Bearer 2"],
  );
});

test("cookies go to the page's own origin, unless the page asks for more", async (t) => {
  const { origin } = await startServer(t, () => ({ body: TICKET }));
  const fetched = t.mock.method(globalThis, "fetch");
  await requestTicket(FILE, null, { api: origin });
  await requestTicket(FILE, null, { api: origin, credentials: "include" });
  assert.deepEqual(
    fetched.mock.calls.map((call) => call.arguments[1]?.credentials),
    ["same-origin", "include"],
  );
});
