import assert from "node:assert/strict";
import { test } from "node:test";

import { UploadError } from "../errors.js";
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
 */
function retryAtOnce(t, attempt, options = {}) {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  /** @type {import("../retry.js").Wait[]} */
  const waits = [];
  const onWait = (/** @type {import("../retry.js").Wait} */ wait) => {
    waits.push(wait);
    setImmediate(() => t.mock.timers.tick(wait.seconds * 1000));
  };
  return { waits, result: retry(attempt, { onWait, random: () => 1, ...options }) };
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
  const { waits, result } = retryAtOnce(t, failing(transient({}), transient({})), { random: () => 0.01 });
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
  const page = new EventTarget();
  Object.assign(globalThis, { addEventListener: page.addEventListener.bind(page) });
  t.after(() => Reflect.deleteProperty(globalThis, "addEventListener"));
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const goOnline = () => setImmediate(() => page.dispatchEvent(new Event("online")));
  assert.equal(await retry(failing(transient({})), { onWait: goOnline }), "done");
});

test("a Retry-After header holds seconds or a date", () => {
  const now = Date.parse("Mon, 02 Mar 2026 10:00:00 GMT");
  assert.equal(parseRetryAfter("120"), 120);
  assert.equal(parseRetryAfter("Mon, 02 Mar 2026 10:00:30 GMT", now), 30);
  assert.equal(parseRetryAfter("Mon, 02 Mar 2026 09:00:00 GMT", now), 0);
  for (const header of [null, undefined, "", "soon"]) assert.equal(parseRetryAfter(header, now), null);
});
