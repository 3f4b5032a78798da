import assert from "node:assert/strict";
import { test } from "node:test";

import { TicketsAhead } from "../tickets_ahead.js";

const START = Date.parse("2026-03-02T10:00:00Z");
const LIFETIME_MS = 600_000;

/** @param {import("node:test").TestContext} t */
function setUp(t) {
  const clock = { ms: 10_000 };
  t.mock.method(performance, "now", () => clock.ms);
  const ahead = new TicketsAhead();
  /** @type {{signal: AbortSignal, resolve: (answer: any) => void, reject: (error: unknown) => void}[]} */
  const asked = [];
  const ask = (/** @type {unknown} */ _, /** @type {AbortSignal} */ signal) =>
    new Promise((resolve, reject) => asked.push({ signal, resolve, reject }));
  return { clock, ahead, asked, fill: (/** @type {any[]} */ waiting) => ahead.fill(waiting, ask) };
}

const uploads = (/** @type {number} */ count) => Array.from({ length: count }, (_, index) => /** @type {any} */ ({ index }));

const ticket = () => ({
  status: 200,
  body: { token: "t", now: new Date(START).toISOString(), expires_at: new Date(START + LIFETIME_MS).toISOString() },
  retryAfter: null,
});

test("a queue that is fast asks for more tickets each time, and one that is slow for fewer", async (t) => {
  const { clock, ahead, asked, fill } = setUp(t);
  const waiting = uploads(400);
  const counts = [];
  for (const pauseMs of [100, 100, 100, 100, 100, 100, 5000, 5000]) {
    const before = asked.length;
    clock.ms += pauseMs;
    fill(waiting);
    counts.push(asked.length - before);
    assert.equal(ahead.isLow, false);
    for (const { resolve } of asked) resolve(ticket());
    for (const upload of waiting.splice(0, asked.length - before)) assert.ok(await ahead.take(upload));
    assert.equal(ahead.isLow, true);
  }
  assert.deepEqual(counts, [8, 16, 32, 64, 100, 100, 50, 25]);
});

test("no file's ticket is asked for twice", (t) => {
  const { asked, fill } = setUp(t);
  const waiting = uploads(5);
  fill(waiting);
  fill(waiting);
  assert.equal(asked.length, 5);
});

test("a ticket that waited says the server's time of now", async (t) => {
  const { clock, ahead, asked, fill } = setUp(t);
  const [upload] = uploads(1);
  fill([upload]);
  asked[0].resolve(ticket());
  clock.ms += LIFETIME_MS / 2 - 1;
  const answer = await ahead.take(upload);
  assert.equal(Date.parse(answer?.body.now), START + LIFETIME_MS / 2 - 1);
  assert.deepEqual([answer?.status, answer?.body.token, answer?.body.expires_at], [200, "t", ticket().body.expires_at]);
  assert.equal(await ahead.take(upload), null, "it is used once");
});

test("a ticket is not used after half of its time", async (t) => {
  const { clock, ahead, asked, fill } = setUp(t);
  const [upload] = uploads(1);
  fill([upload]);
  asked[0].resolve(ticket());
  clock.ms += LIFETIME_MS / 2;
  assert.equal(await ahead.take(upload), null);
});

test("a file without a ticket is asked for again at its turn, whatever the reason", async (t) => {
  const { ahead, asked, fill } = setUp(t);
  const [refused, failed, unasked, unknown] = uploads(4);
  fill([refused, failed, unasked]);
  asked[0].resolve({ status: 422, body: { code: "too_large" }, retryAfter: null });
  asked[1].reject(new TypeError("Failed to fetch"));
  asked[2].resolve({ status: 0, body: null, retryAfter: null });
  for (const upload of [refused, failed, unasked, unknown]) assert.equal(await ahead.take(upload), null);
});

test("a file that is dropped while its turn comes, and waits again, gets its second ticket", async (t) => {
  const { ahead, asked, fill } = setUp(t);
  const [upload] = uploads(1);
  fill([upload]);
  const first = ahead.take(upload);
  ahead.drop(upload);
  assert.ok(asked[0].signal.aborted);
  fill([upload]);
  asked[0].reject(asked[0].signal.reason);
  assert.equal(await first, null);
  asked[1].resolve(ticket());
  assert.equal((await ahead.take(upload))?.body.token, "t");
});
