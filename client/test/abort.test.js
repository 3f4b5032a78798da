import assert from "node:assert/strict";
import { getEventListeners } from "node:events";
import { test } from "node:test";

import { unlessAborted } from "../abort.js";

const NEVER = new Promise(() => {});
const REASON = new Error("cancelled");

test("what is settled in time is passed on, and leaves no listener", async () => {
  const { signal } = new AbortController();
  assert.equal(await unlessAborted("text", signal), "text");
  assert.equal(await unlessAborted(Promise.resolve(1)), 1);
  await assert.rejects(unlessAborted(Promise.reject(REASON), signal), REASON);
  assert.deepEqual(getEventListeners(signal, "abort"), []);
});

test("an abort ends the wait for what is never settled, with the signal's reason", async () => {
  const controller = new AbortController();
  const waiting = unlessAborted(NEVER, controller.signal);
  controller.abort(REASON);
  await assert.rejects(waiting, REASON);
  assert.deepEqual(getEventListeners(controller.signal, "abort"), []);
});

test("a signal that was aborted before wins over a value, and a later failure is not lost as unhandled", async (t) => {
  /** @type {unknown[]} */
  const unhandled = [];
  const listen = (/** @type {unknown} */ reason) => void unhandled.push(reason);
  process.on("unhandledRejection", listen);
  t.after(() => process.off("unhandledRejection", listen));
  const signal = AbortSignal.abort(REASON);
  await assert.rejects(unlessAborted("text", signal), REASON);
  const failing = new Promise((_, reject) => setTimeout(() => reject(new Error("disk"))));
  await assert.rejects(unlessAborted(failing, signal), REASON);
  await new Promise((resolve) => setTimeout(resolve, 20));
  assert.deepEqual(unhandled, []);
});
