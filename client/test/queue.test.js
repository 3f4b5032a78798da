import assert from "node:assert/strict";
import { test } from "node:test";

import { createQueue } from "../queue.js";

const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Tasks that end when they are told to. */
function controlledTasks() {
  /** @type {string[]} */
  const started = [];
  /** @type {Record<string, PromiseWithResolvers<void>>} */
  const tasks = {};
  const task = (/** @type {string} */ name) => () => {
    started.push(name);
    tasks[name] = Promise.withResolvers();
    return tasks[name].promise;
  };
  return { started, task, tasks };
}

test("tasks start in their order, and never more at the same time than the limit", async () => {
  const { started, task, tasks } = controlledTasks();
  const add = createQueue(2);
  for (const name of ["a", "b", "c", "d"]) add(task(name), new AbortController().signal);
  await settled();
  assert.deepEqual(started, ["a", "b"]);
  tasks.b.resolve();
  await settled();
  assert.deepEqual(started, ["a", "b", "c"]);
  tasks.a.resolve();
  tasks.c.resolve();
  await settled();
  assert.deepEqual(started, ["a", "b", "c", "d"]);
});

test("a task that was aborted while it waited never starts", async () => {
  const { started, task, tasks } = controlledTasks();
  const add = createQueue(1);
  const aborted = new AbortController();
  add(task("a"), new AbortController().signal);
  add(task("b"), aborted.signal);
  add(task("c"), new AbortController().signal);
  aborted.abort();
  tasks.a.resolve();
  await settled();
  assert.deepEqual(started, ["a", "c"]);
});
