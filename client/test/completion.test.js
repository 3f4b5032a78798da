import assert from "node:assert/strict";
import { before, test } from "node:test";

import { complete, upload, UploadError } from "../index.js";
import { setOnline } from "./network.js";
import { FILE, startServers, STORED } from "./plan.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

test("the token of a failed upload completes it later, and the file is not sent again", async (t) => {
  const servers = await startServers(t, { completed: [{ status: 503 }, { body: STORED }] });
  const { token } = await upload(FILE, { api: servers.api, attempts: 1 }).catch((error) => error);
  assert.deepEqual(await complete(token, { api: servers.api }), STORED);
  assert.deepEqual([servers.stored, servers.completions], [["/key-1"], ["token-1", "token-1"]]);
});

test("a failed completion keeps its token, and a verdict does not", async (t) => {
  const completed = [{ status: 500 }, { status: 410, body: { code: "token_expired" } }];
  const { api } = await startServers(t, { completed });
  await assert.rejects(complete("the token", { api, attempts: 1 }), { code: "server_failed", token: "the token" });
  await assert.rejects(complete("the token", { api, attempts: 1 }), { code: "token_expired", token: null });
});

test("the messages of a completion name the file if it is known", async (t) => {
  const rejected = { status: 422, body: { code: "rejected", detail: "too wide" } };
  const { api } = await startServers(t, { completed: [rejected] });
  await assert.rejects(complete("the token", { api, file: FILE }), { message: /^“cat\.png” was rejected .*too wide/ });
  await assert.rejects(complete("the token", { api }), { message: /^The file was rejected/ });
});

test("a completion can be cancelled, sends the page's headers, and reports its states", async (t) => {
  const pending = { status: 202, headers: { "Retry-After": "200" }, body: { code: "completion_pending" } };
  const servers = await startServers(t, { completed: [pending] });
  const controller = new AbortController();
  /** @type {string[]} */
  const states = [];
  const onState = (/** @type {string} */ state) => {
    states.push(state);
    if (state === "inspecting") controller.abort();
  };
  const options = { api: servers.api, headers: { authorization: "Bearer a" }, signal: controller.signal, onState };
  await assert.rejects(complete("the token", options), (error) => {
    assert.ok(error instanceof UploadError);
    return error.code === "cancelled" && error.token === "the token";
  });
  assert.deepEqual(states, ["verifying", "inspecting"]);
  assert.equal(servers.server.requests[0].headers.authorization, "Bearer a");
});

test("the time without a network is no time of the inspection", async (t) => {
  const network = setOnline(t, true);
  let nowMs = 1_000_000;
  t.mock.method(performance, "now", () => nowMs);
  const pending = { status: 202, headers: { "Retry-After": "0" }, body: { code: "completion_pending" } };
  const completed = (/** @type {number} */ number) => {
    if (number !== 2) return number < 4 ? pending : { body: STORED };
    network.set(false);
    nowMs += 3_600_000;
    setTimeout(() => network.set(true), 50);
    return { disconnect: true };
  };
  const { api } = await startServers(t, { completed });
  assert.deepEqual(await complete("the token", { api }), STORED);
});
