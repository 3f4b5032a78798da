import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

test("the worker answers each part with its digest, and one that cannot be read with the reason", async (t) => {
  /** @type {any[]} */
  const answers = [];
  const scope = /** @type {any} */ (globalThis);
  scope.postMessage = (/** @type {unknown} */ answer) => answers.push(answer);
  t.after(() => {
    delete scope.postMessage;
    delete scope.onmessage;
  });
  await import("../hash_worker.js");
  await scope.onmessage({ data: new Blob(["part"]) });
  const gone = Object.assign(new Blob(["part"]), { arrayBuffer: () => Promise.reject(new Error("gone")) });
  await scope.onmessage({ data: gone });
  assert.equal(answers[0].digest, createHash("sha256").update("part").digest("hex"));
  assert.match(answers[1].reason, /gone/);
});
