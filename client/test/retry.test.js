import assert from "node:assert/strict";
import { test } from "node:test";

import { UploadError } from "../errors.js";
import { setOnline } from "./network.js";
import { parseRetryAfter, pause, retry } from "../retry.js";

/** An attempt that fails with each of the errors in turn, and then succeeds. @param {Error[]} errors */
function failing(...errors) {
  const attempt = async () => {
    attempt.calls += 1;
    const error = errors.shift();
    if (error) throw error;
    return "done";
  };
  attempt.calls = 0;
  return attempt;
}

/**
 * Run retry() without real waits, and collect what it announces.
 * @param {import("node:test").TestContext} t
 * @param {() => Promise<string>} attempt
 * @param {import("../retry.js").RetryOptions} [options]
 * @param {number} [random] what Math.random() returns
 */
function retryAtOnce(t, attempt, options = {}, random = 1) {
  t.mock.method(Math, "random", () => random);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  /** @type {import("../retry.js").Wait[]} */
  const waits = [];
  const onWait = (/** @type {import("../retry.js").Wait} */ wait) => {
    waits.push(wait);
    setImmediate(() => t.mock.timers.tick(wait.seconds * 1000));
  };
  return { waits, result: retry(attempt, { onWait, ...options }) };
}

const transient = (/** @type {object} */ options) => new UploadError("storage_unavailable", options);

test("a transient failure is repeated until it succeeds, with waits that double", async (t) => {
  const attempt = failing(transient({}), transient({}), transient({}));
  const { waits, result } = retryAtOnce(t, attempt);
  assert.equal(await result, "done");
  assert.equal(attempt.calls, 4);
  assert.deepEqual(waits.map(({ seconds }) => seconds), [4, 8, 16]);
  assert.deepEqual(waits.map((wait) => [wait.attempt, wait.attempts]), [[2, 5], [3, 5], [4, 5]]);
});

test("each wait is a random part of its maximum, and never shorter than half a second", async (t) => {
  const { waits, result } = retryAtOnce(t, failing(transient({}), transient({})), {}, 0.01);
  await result;
  assert.deepEqual(waits.map(({ seconds }) => seconds), [0.5, 0.5]);
});

test("after the last attempt its error is thrown", async (t) => {
  const errors = [1, 2, 3].map(() => transient({}));
  const attempt = failing(...errors);
  await assert.rejects(retryAtOnce(t, attempt, { attempts: 3 }).result, (error) => error === errors[2]);
  assert.equal(attempt.calls, 3);
});

test("a failure that is not transient is thrown at once", async (t) => {
  for (const error of [new UploadError("too_large"), new UploadError("ticket_expired"), new TypeError("a bug")]) {
    const attempt = failing(error);
    await assert.rejects(retry(attempt), (thrown) => thrown === error);
    assert.equal(attempt.calls, 1);
  }
});

test("the server's Retry-After lengthens the wait, and ends the attempts when it is too long", async (t) => {
  const { waits, result } = retryAtOnce(t, failing(transient({ retryAfter: 60 })));
  await result;
  assert.equal(waits[0].seconds, 60);
  await assert.rejects(retry(failing(transient({ retryAfter: 301 }))), { code: "storage_unavailable" });
});

test("missing CORS rules are believed when they are seen twice in a row", async (t) => {
  const cors = () => new UploadError("storage_cors", { details: { origin: "https://a.example" } });
  const attempt = failing(cors(), cors(), cors());
  await assert.rejects(retryAtOnce(t, attempt).result, { code: "storage_cors" });
  assert.equal(attempt.calls, 2);
});

test("an abort ends the wait, and no other attempt starts", async () => {
  const controller = new AbortController();
  const attempt = failing(transient({ retryAfter: 200 }));
  const result = retry(attempt, { signal: controller.signal, onWait: () => setImmediate(() => controller.abort()) });
  await assert.rejects(result, { name: "AbortError" });
  assert.equal(attempt.calls, 1);
});

test("a wait does not begin after an abort", async () => {
  await assert.rejects(pause(1000, { signal: AbortSignal.abort() }), { name: "AbortError" });
});

test("a browser that comes back online ends the wait", async (t) => {
  const network = setOnline(t, true);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const goOnline = () => setImmediate(() => network.set(true));
  assert.equal(await retry(failing(transient({})), { onWait: goOnline }), "done");
});

test("failures without a network are no attempts, and the next attempt comes with the network", async (t) => {
  const network = setOnline(t, false);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const unreachable = () => new UploadError("storage_unreachable", { details: { origin: "https://a.example" } });
  const attempt = failing(...Array.from({ length: 7 }, unreachable));
  let waits = 0;
  const onOffline = () => {
    waits += 1;
    // The first checks come after 30 seconds each, and the last failure is followed by the network.
    if (waits < 7) setImmediate(() => t.mock.timers.tick(30_000));
    else setImmediate(() => network.set(true));
  };
  const onWait = () => assert.fail("no attempt was used");
  assert.equal(await retry(attempt, { onOffline, attempts: 2, onWait }), "done");
  assert.deepEqual([attempt.calls, waits], [8, 7]);
});

test("an answer that came is a failed attempt, whatever the browser says of its network", async (t) => {
  setOnline(t, false);
  const attempt = failing(new UploadError("storage_unavailable", { details: { status: 503 } }));
  const { waits, result } = retryAtOnce(t, attempt, { onOffline: () => assert.fail("an answer needs a network") });
  assert.equal(await result, "done");
  assert.equal(waits.length, 1);
});

test("after a time without a network all attempts are there again", async (t) => {
  const network = setOnline(t, true);
  const lost = () => new UploadError("connection_lost");
  const attempt = failing(lost(), lost(), lost(), lost());
  const onOffline = () => setImmediate(() => network.set(true));
  // The network fails during the second attempt of three.
  const goOffline = (/** @type {import("../retry.js").Wait} */ { attempt: next }) => {
    if (attempt.calls === 1 && next === 2) network.set(false);
    setImmediate(() => t.mock.timers.tick(20_000));
  };
  t.mock.timers.enable({ apis: ["setTimeout"] });
  assert.equal(await retry(attempt, { attempts: 3, onWait: goOffline, onOffline }), "done");
  assert.equal(attempt.calls, 5);
});

test("an abort ends the wait for the network", async (t) => {
  setOnline(t, false);
  const controller = new AbortController();
  const attempt = failing(new UploadError("connection_lost"));
  const onOffline = () => setImmediate(() => controller.abort());
  await assert.rejects(retry(attempt, { signal: controller.signal, onOffline }), { name: "AbortError" });
  assert.equal(attempt.calls, 1);
});

test("a Retry-After header holds seconds or a date", () => {
  const now = Date.parse("Mon, 02 Mar 2026 10:00:00 GMT");
  assert.equal(parseRetryAfter("120"), 120);
  assert.equal(parseRetryAfter("Mon, 02 Mar 2026 10:00:30 GMT", now), 30);
  assert.equal(parseRetryAfter("Mon, 02 Mar 2026 09:00:00 GMT", now), 0);
  for (const header of [null, undefined, "", "soon"]) assert.equal(parseRetryAfter(header, now), null);
});
