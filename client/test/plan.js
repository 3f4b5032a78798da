/** A server and a storage whose responses a test plans, and the files of these tests. */

import { startServer } from "./servers.js";

/** @typedef {import("./servers.js").PlannedResponse} PlannedResponse */

export const FILE = new File(["bytes"], "cat.png", { type: "image/png" });
export const STORED = {
  key: "a/key",
  object_url: "https://cdn.example/a/key",
  etag: '"e"',
  version: null,
  size: 5,
  type: "image/png",
};
export const ENFORCED = { size: "storage", type: "storage" };
export const UPLOADED = { ...STORED, enforced: ENFORCED };

/** Return files with the names 0.png, 1.png and so on. @param {number} count */
export function files(count) {
  return Array.from({ length: count }, (_, index) => new File(["bytes"], `${index}.png`, { type: "image/png" }));
}

/** Return the states of all files, in their order. @param {import("../uploader.js").Uploader} uploader */
export function statesOf(uploader) {
  return uploader.items.map(({ state }) => state);
}

/**
 * Start a server and a storage, each of which gives its responses in turn and then repeats the last one. A function
 * makes the response when it is asked for.
 * @param {import("node:test").TestContext} t
 * @param {object} plan
 * @param {PlannedResponse[] | ((number: number) => PlannedResponse)} [plan.stored] of the storage
 * @param {PlannedResponse[] | ((number: number) => PlannedResponse)} [plan.completed] of the server to completions
 * @param {number} [plan.lifetimeMs] of tickets
 */
export async function startServers(t, { stored = [{}], completed = [{ body: STORED }], lifetimeMs = 60_000 }) {
  // The shortest waits.
  t.mock.method(Math, "random", () => 0);
  const storage = await startServer(t, (_, number) => planned(stored, number));
  const now = "2026-03-02T10:00:00Z";
  const ticket = (/** @type {number} */ number) => ({
    method: "PUT",
    url: `${storage.origin}/key-${number}`,
    fields: {},
    headers: {},
    now,
    expires_at: new Date(Date.parse(now) + lifetimeMs).toISOString(),
    key: `key-${number}`,
    object_url: `${storage.origin}/key-${number}`,
    enforced: ENFORCED,
    token: `token-${number}`,
  });
  const counts = { "/upload": 0, "/complete": 0 };
  const server = await startServer(t, ({ path }) => {
    const number = (counts[/** @type {keyof typeof counts} */ (path)] += 1);
    return path === "/upload" ? { body: ticket(number) } : planned(completed, number);
  });
  return {
    api: server.origin,
    storage,
    server,
    /** The number of tickets. */
    get tickets() {
      return counts["/upload"];
    },
    /** The tokens of all completions. */
    get completions() {
      const requests = server.requests.filter(({ path }) => path === "/complete");
      return requests.map(({ body }) => JSON.parse(body.toString()).token);
    },
    /** The paths of all requests to the storage. */
    get stored() {
      return storage.requests.map(({ path }) => path);
    },
  };
}

/** @param {PlannedResponse[] | ((number: number) => PlannedResponse)} plan @param {number} number from 1 */
function planned(plan, number) {
  return typeof plan === "function" ? plan(number) : plan[Math.min(number, plan.length) - 1];
}
