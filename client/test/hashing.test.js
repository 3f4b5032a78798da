import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { unlessAborted } from "../abort.js";
import { Hasher } from "../hashing.js";

const PART = new Blob(["part"]);
const DIGEST = createHash("sha256").update("part").digest("hex");
const OTHER = "00".repeat(32);

/**
 * Give the test a browser's Worker.
 * @param {import("node:test").TestContext} t
 * @param {(worker: any) => void} respond is called for each part
 */
function withWorker(t, respond) {
  const workers = /** @type {any[]} */ ([]);
  class FakeWorker {
    /** @param {URL} url @param {object} options */
    constructor(url, options) {
      workers.push(this);
      Object.assign(this, { url, options, parts: 0, isTerminated: false });
    }

    postMessage() {
      /** @type {any} */ (this).parts += 1;
      respond(this);
    }

    terminate() {
      Object.assign(this, { isTerminated: true });
    }
  }
  Object.assign(globalThis, { Worker: FakeWorker });
  t.after(() => Reflect.deleteProperty(globalThis, "Worker"));
  return workers;
}

test("parts are hashed one after another in one worker, which ends with the upload", async (t) => {
  let running = 0;
  let most = 0;
  const workers = withWorker(t, (worker) => {
    most = Math.max(most, (running += 1));
    setTimeout(() => {
      running -= 1;
      worker.onmessage({ data: { digest: OTHER } });
    }, 5);
  });
  const hasher = new Hasher();
  const digests = await Promise.all([1, 2, 3].map(() => hasher.digest(PART)));
  assert.equal(digests.length, 3);
  assert.deepEqual([workers.length, workers[0].parts, most], [1, 3, 1]);
  assert.deepEqual([workers[0].url.pathname.split("/").pop(), workers[0].options.type], ["hash_worker.js", "module"]);
  assert.equal(workers[0].isTerminated, false);
  hasher.close();
  assert.equal(workers[0].isTerminated, true);
});

test("a worker that cannot start is replaced by the page, for all parts that follow", async (t) => {
  const workers = withWorker(t, (worker) => setTimeout(() => worker.onerror()));
  const hasher = new Hasher();
  assert.deepEqual(await Promise.all([PART, PART].map((part) => hasher.digest(part))), [DIGEST, DIGEST]);
  assert.deepEqual([workers.length, workers[0].isTerminated], [1, true]);
});

test("a worker that the browser forbids, or that says nothing for a minute, is replaced by the page", async (t) => {
  class Forbidden {
    constructor() {
      throw new DOMException("another origin", "SecurityError");
    }
  }
  Object.assign(globalThis, { Worker: Forbidden });
  t.after(() => Reflect.deleteProperty(globalThis, "Worker"));
  assert.equal(await new Hasher().digest(PART), DIGEST);
  t.mock.timers.enable({ apis: ["setTimeout"] });
  withWorker(t, () => queueMicrotask(() => t.mock.timers.tick(60_000)));
  assert.equal(await new Hasher().digest(PART), DIGEST);
});

test("a part that is never read keeps nobody who cancels, and not the parts of the next run", async (t) => {
  const workers = withWorker(t, (worker) => {
    if (workers.length > 1) setTimeout(() => worker.onmessage({ data: { digest: OTHER } }));
  });
  const hasher = new Hasher();
  const controller = new AbortController();
  const waiting = [PART, PART].map((part) => unlessAborted(hasher.digest(part), controller.signal));
  setTimeout(() => controller.abort(new Error("cancelled")));
  for (const each of waiting) await assert.rejects(each, /cancelled/);
  hasher.close();
  assert.equal(await hasher.digest(PART), OTHER);
  assert.deepEqual([workers.length, workers[0].parts, workers[0].isTerminated], [2, 1, true]);
});

test("without workers the page hashes", async () => {
  assert.equal(await new Hasher().digest(PART), DIGEST);
});

test("a part that cannot be read is no fault of the worker, and the next one is hashed", async (t) => {
  let parts = 0;
  withWorker(t, (worker) => {
    parts += 1;
    const data = parts === 1 ? { reason: "gone" } : { digest: OTHER };
    setTimeout(() => worker.onmessage({ data }));
  });
  const hasher = new Hasher();
  await assert.rejects(hasher.digest(PART), /gone/);
  assert.equal(await hasher.digest(PART), OTHER);
});
