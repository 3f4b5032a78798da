import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { before, test } from "node:test";
import { inspect } from "node:util";

import { complete, store, upload, UploadError } from "../index.js";
import { Upload } from "../upload.js";
import { setOnline } from "./network.js";
import { FILE as BLOB, startServers, STORED, UPLOADED } from "./plan.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

const NOT_UPLOADED = { status: 409, body: { code: "not_uploaded", detail: "nothing there" } };
const PENDING = { status: 202, headers: { "Retry-After": "0" }, body: { code: "completion_pending", detail: "wait" } };
const EXPIRED = { status: 403, body: "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>" };
const EXISTS = { status: 412, body: "<Error><Code>PreconditionFailed</Code></Error>" };
const REFUSED = { status: 403, body: "<Error><Code>AccessDenied</Code><Message>no</Message></Error>" };

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

/**
 * Upload through a planned server and a planned storage.
 * @param {import("node:test").TestContext} t
 * @param {Parameters<typeof startServers>[1] & {options?: Partial<import("../upload.js").UploadOptions>,
 *   start?: typeof upload | typeof store}} plan
 */
async function run(t, { options = {}, start = upload, ...plan }) {
  const servers = await startServers(t, plan);
  /** @type {string[]} */
  const states = [];
  const result = start(BLOB, { api: servers.api, onState: (state) => states.push(state), ...options });
  // So that a test can look at the requests before it looks at the result.
  const [outcome] = await Promise.allSettled([result]);
  return {
    outcome: outcome.status === "fulfilled" ? outcome.value : /** @type {UploadError} */ (outcome.reason),
    states,
    tickets: servers.tickets,
    completions: servers.completions,
    stored: servers.stored,
    storage: servers.storage,
    server: servers.server,
  };
}

test("a call without an address or with something else than a file says what to give", async () => {
  const wrong = /** @type {any} */ ({});
  for (const start of [upload, store]) {
    await assert.rejects(start(BLOB, wrong), { name: "TypeError", message: /^api must be the URL/ });
    await assert.rejects(start(BLOB, /** @type {any} */ (undefined)), { name: "TypeError", message: /^api must be the URL/ });
    for (const file of ["cat.png", [BLOB], null, undefined]) {
      const one = /** @type {any} */ (file);
      await assert.rejects(start(one, { api: "/files" }), { name: "TypeError", message: /^file must be one File/ });
    }
  }
  await assert.rejects(complete("token", wrong), { name: "TypeError", message: /^api must be the URL/ });
});

test("an upload leaves no listener on its signal, which may be the signal of many uploads", async (t) => {
  const { signal } = new AbortController();
  const headers = async () => ({ Authorization: "Bearer token" });
  const { outcome } = await run(t, { options: { signal, headers } });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(getEventListeners(signal, "abort"), []);
});

test("an upload asks for a ticket, sends the file, completes, and returns what is stored", async (t) => {
  const { outcome, states, completions, storage } = await run(t, {});
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(states, ["requesting", "uploading", "verifying"]);
  assert.deepEqual(completions, ["token-1"]);
  assert.equal(storage.requests[0].body.toString(), "bytes");
});

test("store() sends the file and returns the ticket, and leaves the completion to the application", async (t) => {
  const { outcome, states, completions, storage } = await run(t, { start: store, stored: [{ status: 503 }, {}] });
  assert.equal(/** @type {any} */ (outcome).token, "token-1");
  assert.deepEqual(states, ["requesting", "uploading", "retrying", "uploading"]);
  assert.deepEqual(completions, []);
  assert.equal(storage.requests.length, 2);
});

test("store() throws the same errors as upload()", async (t) => {
  const { outcome } = await run(t, { start: store, options: { signal: AbortSignal.abort() } });
  assert.ok(outcome instanceof UploadError);
  assert.equal(outcome.code, "cancelled");
});

test("the page's headers go to the server with both requests, and never to the storage", async (t) => {
  const { server, storage } = await run(t, { options: { headers: { "X-CSRFToken": "secret" } } });
  assert.deepEqual(
    server.requests.map(({ headers }) => headers["x-csrftoken"]),
    ["secret", "secret"],
  );
  assert.equal(storage.requests[0].headers["x-csrftoken"], undefined);
});

test("a private object has no URL, even where the ticket and the storage name one", async (t) => {
  const stored = [{ status: 201, headers: { Location: "https://storage.example/a/key" } }];
  const { outcome } = await run(t, { stored, completed: [{ body: { ...STORED, object_url: null } }] });
  assert.equal(/** @type {any} */ (outcome).object_url, null);
});

test("with a checksum the ticket is asked for exactly these bytes", async (t) => {
  const { states, server } = await run(t, { options: { sha256: true } });
  assert.equal(states[0], "hashing");
  assert.match(JSON.parse(server.requests[0].body.toString()).sha256, /^[0-9a-f]{64}$/);
});

test("a file whose disk never answers while it is hashed can be cancelled", async () => {
  const file = Object.assign(new File(["bytes"], "cat.png"), { arrayBuffer: () => new Promise(() => {}) });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 10);
  const options = { api: "http://127.0.0.1:1/", sha256: true, signal: controller.signal };
  await assert.rejects(upload(file, options), { code: "cancelled" });
});

test("progress starts at zero and ends at the file's size", async (t) => {
  /** @type {number[]} */
  const loaded = [];
  await run(t, { options: { onProgress: (progress) => loaded.push(progress.loaded) } });
  assert.deepEqual([loaded[0], loaded.at(-1)], [0, 5]);
});

test("a transient failure of the storage is repeated with the same ticket", async (t) => {
  const { outcome, states, tickets, stored } = await run(t, { stored: [{ status: 503 }, {}] });
  assert.deepEqual(outcome, UPLOADED);
  assert.equal(tickets, 1);
  assert.deepEqual(stored, ["/key-1", "/key-1"]);
  assert.deepEqual(states, ["requesting", "uploading", "retrying", "uploading", "verifying"]);
});

test("an expired ticket is replaced once", async (t) => {
  const { outcome, stored, completions } = await run(t, { stored: [EXPIRED, {}] });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(stored, ["/key-1", "/key-2"]);
  assert.deepEqual(completions, ["token-2"]);
});

test("a second expired ticket is the end", async (t) => {
  const { outcome, tickets } = await run(t, { stored: [EXPIRED] });
  assert.ok(outcome instanceof UploadError);
  assert.deepEqual([outcome.code, tickets], ["ticket_expired", 2]);
});

test("a ticket that expired before the file was sent is not used", async (t) => {
  const { outcome, stored, tickets } = await run(t, { lifetimeMs: -1 });
  assert.equal(/** @type {UploadError} */ (outcome).code, "ticket_expired");
  assert.deepEqual([stored, tickets], [[], 2]);
});

test("a file that is already there is this file, and is completed", async (t) => {
  const { outcome, completions } = await run(t, { stored: [EXISTS] });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(completions, ["token-1"]);
});

test("after a lost response the server is asked, and the file is not sent again if it is there", async (t) => {
  const { outcome, stored, completions } = await run(t, { stored: [{ disconnect: true }] });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual([stored, completions], [["/key-1"], ["token-1"]]);
});

test("after a lost response the file is sent again if it is not there", async (t) => {
  const { outcome, stored } = await run(t, {
    stored: [{ disconnect: true }, {}],
    completed: [NOT_UPLOADED, { body: STORED }],
  });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(stored, ["/key-1", "/key-1"]);
});

test("a refusal by the storage is no failure when the file is there", async (t) => {
  const { outcome, completions } = await run(t, { stored: [REFUSED] });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(completions, ["token-1"]);
});

test("a refusal by the storage is thrown when the file is not there", async (t) => {
  const { outcome } = await run(t, { stored: [REFUSED], completed: [NOT_UPLOADED] });
  assert.ok(outcome instanceof UploadError);
  assert.deepEqual([outcome.code, outcome.details.storageCode], ["storage_refused", "AccessDenied"]);
});

test("a rule that the stored file breaks is thrown with the rule", async (t) => {
  const completed = [{ status: 422, body: { code: "rule_violated", rule: "type", detail: "…", limit: "image/png" } }];
  const { outcome } = await run(t, { completed });
  assert.ok(outcome instanceof UploadError);
  assert.deepEqual([outcome.code, outcome.details.rule, outcome.retryable], ["rule_violated", "type", false]);
});

test("while the server has no verdict it is asked again, which is no failed attempt", async (t) => {
  const completed = [PENDING, PENDING, { status: 503 }, PENDING, { body: STORED }];
  const { outcome, states, stored, completions } = await run(t, { completed, options: { attempts: 2 } });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual(stored, ["/key-1"]);
  assert.deepEqual(completions, Array(5).fill("token-1"));
  const runs = states.filter((state, index) => state !== states[index - 1]);
  const waits = ["inspecting", "retrying", "inspecting"];
  assert.deepEqual(runs, ["requesting", "uploading", "verifying", ...waits]);
});

test("the server is asked again when it said, and not before", async (t) => {
  const startedAt = performance.now();
  await run(t, { completed: [{ ...PENDING, headers: { "Retry-After": "2" } }, { body: STORED }] });
  assert.ok(performance.now() - startedAt >= 1_990);
});

test("after five minutes without a verdict the file is said to be stored and not yet checked", async (t) => {
  let nowMs = 1_000_000;
  t.mock.method(performance, "now", () => nowMs);
  const aMinuteLater = () => {
    nowMs += 60_000;
    return PENDING;
  };
  const { outcome, stored, completions } = await run(t, { completed: aMinuteLater });
  assert.ok(outcome instanceof UploadError);
  assert.deepEqual([outcome.code, outcome.retryable], ["completion_pending", true]);
  assert.deepEqual([stored, completions.length], [["/key-1"], 6]);
});

test("a wait beyond the five minutes does not begin", async (t) => {
  const { outcome, completions } = await run(t, { completed: [{ ...PENDING, headers: { "Retry-After": "301" } }] });
  assert.ok(outcome instanceof UploadError);
  assert.equal(/** @type {UploadError} */ (outcome).code, "completion_pending");
  assert.deepEqual(completions, ["token-1"]);
});

test("a wait for the inspection can be cancelled", async (t) => {
  const controller = new AbortController();
  const onState = (/** @type {string} */ state) => state === "inspecting" && controller.abort();
  const completed = [{ ...PENDING, headers: { "Retry-After": "200" } }];
  const { outcome, completions } = await run(t, { completed, options: { signal: controller.signal, onState } });
  assert.equal(/** @type {UploadError} */ (outcome).code, "cancelled");
  assert.deepEqual(completions, ["token-1"]);
});

test("after a lost response the file is not sent again while it is inspected", async (t) => {
  const { outcome, stored, completions } = await run(t, {
    stored: [{ disconnect: true }],
    completed: [PENDING, PENDING, { body: STORED }],
  });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual([stored, completions], [["/key-1"], ["token-1", "token-1", "token-1"]]);
});

test("a file that the inspection rejects is thrown with the reason", async (t) => {
  const completed = [PENDING, { status: 422, body: { code: "rejected", detail: "the image is too wide" } }];
  const { outcome } = await run(t, { completed });
  assert.ok(outcome instanceof UploadError);
  assert.deepEqual([outcome.code, outcome.retryable], ["rejected", false]);
  assert.match(outcome.message, /the image is too wide/);
});

test("the page gets each ticket before the file is sent", async (t) => {
  /** @type {string[]} */
  const keys = [];
  await run(t, { stored: [EXPIRED, {}], options: { onTicket: (ticket) => keys.push(ticket.key) } });
  assert.deepEqual(keys, ["key-1", "key-2"]);
});

test("an abort is a cancelled upload, and sends nothing any more", async (t) => {
  const controller = new AbortController();
  const onState = (/** @type {string} */ state) => state === "uploading" && controller.abort();
  const { outcome, stored, completions } = await run(t, { options: { signal: controller.signal, onState } });
  assert.equal(/** @type {UploadError} */ (outcome).code, "cancelled");
  assert.deepEqual([stored, completions], [[], []]);
});

test("a programming error is thrown as an UploadError with its cause", async () => {
  const error = await upload(BLOB, { api: "not a URL" }).catch((error) => error);
  assert.ok(error instanceof UploadError);
  assert.equal(error.code, "unexpected");
  assert.match(error.message, /Invalid URL/);
  assert.ok(error.cause instanceof TypeError);
});

test("a server that cannot be reached at the completion leaves the token in the error, and in no console", async (t) => {
  const { outcome, stored } = await run(t, { completed: [{ disconnect: true }], options: { attempts: 2 } });
  const error = /** @type {UploadError} */ (outcome);
  assert.deepEqual([error.code, error.token, stored], ["server_unreachable", "token-1", ["/key-1"]]);
  assert.doesNotMatch(inspect(error, { depth: 9, showHidden: true }) + JSON.stringify(error), /token-1/);
});

test("a verdict of the server leaves no token, because nothing can be completed any more", async (t) => {
  const verdicts = { invalid_token: 403, token_expired: 410, not_uploaded: 409, rule_violated: 422, rejected: 422 };
  for (const [code, status] of Object.entries(verdicts)) {
    const { outcome } = await run(t, { completed: [{ status, body: { code } }] });
    const error = /** @type {UploadError} */ (outcome);
    assert.deepEqual([error.code, error.token], [code, null]);
  }
});

test("a file that did not reach the storage leaves no token", async (t) => {
  const { outcome } = await run(t, { stored: [{ status: 503 }], options: { attempts: 1 } });
  assert.equal(/** @type {UploadError} */ (outcome).token, null);
});

test("an upload that is run again after a failed completion completes, and sends nothing again", async (t) => {
  const servers = await startServers(t, { completed: [{ status: 503 }, { body: STORED }] });
  const again = new Upload(BLOB, { api: servers.api, attempts: 1 });
  await assert.rejects(again.run(), { code: "server_failed", token: "token-1" });
  assert.deepEqual(await again.run(), UPLOADED);
  assert.deepEqual([servers.tickets, servers.stored, servers.completions], [1, ["/key-1"], ["token-1", "token-1"]]);
});

test("an upload that is run again after a verdict begins anew", async (t) => {
  const rejected = { status: 422, body: { code: "rejected", detail: "too wide" } };
  const servers = await startServers(t, { completed: [rejected, { body: STORED }] });
  const again = new Upload(BLOB, { api: servers.api });
  await assert.rejects(again.run(), { code: "rejected" });
  assert.deepEqual(await again.run(), UPLOADED);
  assert.deepEqual([servers.stored, servers.completions], [["/key-1", "/key-2"], ["token-1", "token-2"]]);
});

test("a ticket that was not used up is used when the upload is run again, unless it expired meanwhile", async (t) => {
  for (const [lifetimeMs, expected] of /** @type {[number, string[]][]} */ ([
    [60_000, ["/key-1", "/key-1"]],
    [500, ["/key-1", "/key-2"]],
  ])) {
    const servers = await startServers(t, { stored: [{ status: 503 }, {}], lifetimeMs });
    const again = new Upload(BLOB, { api: servers.api, attempts: 1 });
    await assert.rejects(again.run(), { code: "storage_unavailable" });
    await new Promise((resolve) => setTimeout(resolve, 600));
    await again.run();
    assert.deepEqual(servers.stored, expected);
  }
});

test("after a request that was sent and got no answer, the server is asked before anything is sent again", async (t) => {
  const completed = [{ disconnect: true }, { body: STORED }];
  const { outcome, stored, completions } = await run(t, { stored: [{ disconnect: true }], completed });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual([stored, completions], [["/key-1"], ["token-1", "token-1"]]);
});

test("an abort while the storage's answer is on its way lets the next run ask the server first", async (t) => {
  const controller = new AbortController();
  const stored = () => {
    controller.abort();
    return { disconnect: true };
  };
  const servers = await startServers(t, { stored });
  const again = new Upload(BLOB, { api: servers.api });
  await assert.rejects(again.run(controller.signal), { code: "cancelled", token: "token-1" });
  assert.deepEqual(await again.run(), UPLOADED);
  assert.deepEqual([servers.stored, servers.completions], [["/key-1"], ["token-1"]]);
});

test("store() never completes, not even to know whether the file is stored", async (t) => {
  const { outcome, stored, completions } = await run(t, { start: store, stored: [{ disconnect: true }, EXISTS] });
  assert.equal(/** @type {any} */ (outcome).token, "token-1");
  assert.deepEqual([stored, completions], [["/key-1", "/key-1"], []]);
});

test("a ticket that expired while the browser was offline is replaced, however often", async (t) => {
  const network = setOnline(t, true);
  let requests = 0;
  const stored = () => {
    requests += 1;
    if (requests > 3) return {};
    network.set(false);
    setTimeout(() => network.set(true), 600);
    return { disconnect: true };
  };
  const completed = [NOT_UPLOADED, NOT_UPLOADED, NOT_UPLOADED, { body: STORED }];
  const { outcome, states, tickets } = await run(t, { stored, lifetimeMs: 500, completed });
  assert.deepEqual(outcome, UPLOADED);
  assert.deepEqual([tickets, states.filter((state) => state === "offline").length], [4, 3]);
});

test("the page's own fetch sends the requests to the server", async (t) => {
  /** @type {string[]} */
  const paths = [];
  const own = (/** @type {any} */ url, /** @type {RequestInit | undefined} */ init) => {
    paths.push(new URL(url).pathname);
    return fetch(url, init);
  };
  await run(t, { options: { fetch: own } });
  assert.deepEqual(paths, ["/upload", "/complete"]);
});
