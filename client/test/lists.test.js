import assert from "node:assert/strict";
import { before, test } from "node:test";

import { createUploader, upload } from "../index.js";
import { setOnline } from "./network.js";
import { ENFORCED, files, statesOf, STORED } from "./plan.js";
import { startServer } from "./servers.js";
import { clockToPutForward, gate } from "./timing.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

/** @typedef {import("./servers.js").PlannedResponse} PlannedResponse */
/** @typedef {import("../uploader.js").UploaderOptions} UploaderOptions */

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

/**
 * A server that takes lists, and a storage.
 * @param {import("node:test").TestContext} t
 * @param {object} plan
 * @param {(path: string, contents: any[], number: number) => PlannedResponse | null | Promise<PlannedResponse | null>}
 *   [plan.wholly] the answer to a list, instead of one for each file; `number` counts the requests to this path from 1
 * @param {(content: any, asked: number) => object | null} [plan.ticket] the answer for the ticket of one file, with
 *   `retry_after`; `asked` counts how often this file was asked for
 * @param {(token: string, asked: number) => object | null} [plan.completion] the same for its completion
 * @param {(path: string) => PlannedResponse} [plan.stored]
 * @param {number} [plan.lifetimeMs] of tickets
 */
async function startServers(t, { wholly, ticket, completion, stored = () => ({}), lifetimeMs = 60_000 }) {
  // The shortest waits.
  t.mock.method(Math, "random", () => 0);
  const storage = await startServer(t, ({ path }) => stored(path));
  /** @type {Map<string, number>} */
  const asked = new Map();
  const now = Date.parse("2026-03-02T10:00:00Z");
  const answer = (/** @type {string} */ path, /** @type {any} */ content) => {
    const name = path + (content.name ?? content.token);
    const count = (asked.get(name) ?? 0) + 1;
    asked.set(name, count);
    if (path === "/complete") return completion?.(content.token, count) ?? { status: 200, body: STORED };
    const url = `${storage.origin}/${content.name}`;
    const own = { url, key: content.name, object_url: url, token: `${content.name}#${count}` };
    const times = { now: new Date(now).toISOString(), expires_at: new Date(now + lifetimeMs).toISOString() };
    const body = { method: "PUT", fields: {}, headers: {}, enforced: ENFORCED, ...own, ...times };
    return ticket?.(content, count) ?? { status: 200, body };
  };
  /** @type {Record<string, any[]>} */
  const received = { "/upload": [], "/complete": [] };
  const server = await startServer(t, async ({ path, body }) => {
    const content = JSON.parse(body.toString());
    const number = received[path].push(content);
    if (!Array.isArray(content)) {
      const { status, body: own, retry_after } = /** @type {any} */ (answer(path, content));
      return { status, body: own, ...(retry_after && { headers: { "Retry-After": String(retry_after) } }) };
    }
    return (await wholly?.(path, content, number)) ?? { body: content.map((each) => answer(path, each)) };
  });
  return {
    api: server.origin,
    server,
    storage,
    /** The contents of all requests to a path: objects, and arrays of them. */
    received,
    /** How many files each request to a path had; 0 for one that is no list. */
    counts: (/** @type {string} */ path) => received[path].map((each) => (Array.isArray(each) ? each.length : 0)),
  };
}

test("many files take few requests, and each file has its own ticket and result", async (t) => {
  const { api, counts, storage, received } = await startServers(t, {
    completion: (token) => ({ status: 200, body: { ...STORED, key: token } }),
  });
  const uploader = createUploader({ api });
  uploader.add(files(60));
  const items = await uploader.finished();
  assert.deepEqual(items.map(({ result }) => result?.key), items.map(({ file }) => `${file.name}#1`));
  assert.equal(new Set(storage.requests.map(({ path }) => path)).size, 60);
  assert.equal(received["/upload"].flat().length, 60, "one ticket for each file");
  assert.equal(received["/complete"].flat().length, 60);
  assert.ok(counts("/upload").length <= 15, `${counts("/upload")}`);
  assert.ok(counts("/complete").length <= 30, `${counts("/complete")}`);
});

test("one file is no list, with `upload` and in a queue", async (t) => {
  const { api, counts } = await startServers(t, {});
  await upload(files(1)[0], { api });
  const uploader = createUploader({ api });
  uploader.add(files(1));
  await uploader.finished();
  assert.deepEqual([counts("/upload"), counts("/complete"), statesOf(uploader)], [[0, 0], [0, 0], ["done"]]);
});

test("each file of a list has its own verdict, as a single request has", async (t) => {
  const refused = { status: 422, body: { code: "too_large", limit: 3, detail: "too large" } };
  const { api, received } = await startServers(t, {
    ticket: ({ name }, asked) => {
      if (name === "1.png") return refused;
      if (name === "2.png" && asked === 1) return { status: 503, body: { code: "storage_unavailable" } };
      if (name === "3.png") return { status: 403, body: { code: "forbidden" } };
      return null;
    },
    completion: (token, asked) => {
      if (token.startsWith("4")) return { status: 422, body: { code: "rule_violated", rule: "type" } };
      if (token.startsWith("5") && asked < 3) return { status: 202, body: {}, retry_after: 0.5 };
      return null;
    },
  });
  const uploader = createUploader({ api });
  /** @type {Record<string, string[]>} */
  const states = {};
  uploader.on("change", ({ file, state }) => (states[`${file.name}`] ??= []).push(state));
  uploader.add(files(6));
  const items = await uploader.finished();
  assert.deepEqual(statesOf(uploader), ["done", "failed", "done", "failed", "failed", "done"]);
  const [, tooLarge, , forbidden, wrongType] = items.map(({ error }) => error);
  assert.deepEqual([tooLarge?.code, tooLarge?.details.limit, tooLarge?.details.file?.name], ["too_large", 3, "1.png"]);
  assert.deepEqual([forbidden?.code, forbidden?.details.status, forbidden?.token], ["forbidden", 403, null]);
  assert.deepEqual([wrongType?.code, wrongType?.details.rule, wrongType?.token], ["rule_violated", "type", null]);
  assert.ok(states["2.png"].includes("retrying"));
  assert.ok(states["5.png"].includes("inspecting"));
  assert.ok(Array.isArray(received["/upload"][0]), "the first request is a list");
});

test("the wait that the server asks of one file is that file's wait", async (t) => {
  const { api } = await startServers(t, {
    ticket: ({ name }, asked) =>
      name === "1.png" && asked === 1 ? { status: 503, body: { code: "storage_unavailable" }, retry_after: 1 } : null,
  });
  const uploader = createUploader({ api });
  /** @type {(number | null)[]} */
  const waits = [];
  uploader.on("change", ({ wait }) => wait && waits.push(wait.error.retryAfter, wait.seconds));
  uploader.add(files(3));
  await uploader.finished();
  assert.deepEqual([waits, statesOf(uploader)], [[1, 1], ["done", "done", "done"]]);
});

test("a wait that is no number of seconds is not waited for, and does not make the client ask at once", async (t) => {
  for (const retry_after of ["soon", -1, {}]) {
    /** @type {number[]} */
    const askedAtMs = [];
    const { api } = await startServers(t, {
      ticket: ({ name }, asked) => {
        if (name === "1.png") askedAtMs.push(performance.now());
        const unavailable = { status: 503, body: { code: "storage_unavailable" }, retry_after };
        return name === "1.png" && asked === 1 ? unavailable : null;
      },
    });
    const uploader = createUploader({ api });
    uploader.add(files(3));
    const items = await uploader.finished();
    assert.deepEqual(items.map(({ state }) => state), ["done", "done", "done"]);
    assert.equal(askedAtMs.length, 2);
    assert.ok(askedAtMs[1] - askedAtMs[0] >= 490, `${askedAtMs}`);
  }
});

for (const [what, answer] of /** @type {[string, PlannedResponse][]} */ ([
  ["400", { status: 400, body: { code: "invalid_request" } }],
  ["422", { status: 422, body: { detail: "Input should be a valid dictionary" } }],
  ["500", { status: 500, body: "cannot read properties of undefined" }],
  ["200 and one object", { body: { error: "type is missing" } }],
  ["200 and too short a list", { body: [] }],
])) {
  test(`a server that answers a list with ${what} gets single requests from then on`, async (t) => {
    const { api, counts } = await startServers(t, { wholly: () => answer });
    const uploader = createUploader({ api });
    uploader.add(files(10));
    await uploader.finished();
    assert.deepEqual(statesOf(uploader), Array(10).fill("done"));
    for (const path of ["/upload", "/complete"]) {
      assert.deepEqual(counts(path).filter((count) => count > 0).length <= 1, true, `${path}: ${counts(path)}`);
      assert.equal(counts(path).filter((count) => count === 0).length, 10);
    }
  });
}

test("a server that takes fewer files in a list gets shorter lists", async (t) => {
  const { api, counts } = await startServers(t, {
    wholly: (_, contents) =>
      contents.length > 2 ? { status: 413, body: { code: "too_many_files", limit: 2 } } : null,
  });
  const uploader = createUploader({ api });
  uploader.add(files(12));
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), Array(12).fill("done"));
  const [first, ...later] = counts("/upload");
  assert.ok(first > 2 && later.includes(2) && Math.max(...later) <= 2, `${first}, ${later}`);
});

for (const limit of [-1, 0.5, 0, 1000, "2", true, null]) {
  test(`a server that refuses lists with the limit ${JSON.stringify(limit)} gets single requests`, async (t) => {
    const { api, counts } = await startServers(t, {
      wholly: (path, contents, number) => {
        // A client that asks for ever must not keep this test.
        const refused = { status: 413, body: { code: "too_many_files", limit } };
        return number > 50 ? null : refused;
      },
    });
    const uploader = createUploader({ api });
    uploader.add(files(6));
    await uploader.finished();
    assert.deepEqual(statesOf(uploader), Array(6).fill("done"));
    assert.ok(counts("/upload").length <= 8, `${counts("/upload")}`);
  });
}

test("what concerns the whole list concerns each of its files", async (t) => {
  const { api } = await startServers(t, { wholly: () => ({ status: 401, body: { code: "unauthenticated" } }) });
  const uploader = createUploader({ api });
  uploader.add(files(3));
  const items = await uploader.finished();
  assert.deepEqual(items.map(({ error }) => error?.code), Array(3).fill("unauthenticated"));
});

test("a list whose answer is lost is repeated, and no file is sent again", async (t) => {
  /** @type {Set<string>} */
  const lost = new Set();
  const { api, storage } = await startServers(t, {
    wholly: (path) => {
      if (lost.has(path)) return null;
      lost.add(path);
      return { disconnect: true };
    },
  });
  const uploader = createUploader({ api });
  uploader.add(files(20));
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), lost.size], [Array(20).fill("done"), 2]);
  assert.equal(storage.requests.length, 20);
});

const UNAVAILABLE = { status: 503, body: { code: "storage_unavailable" } };

for (const failure of [UNAVAILABLE, { disconnect: true }]) {
  const how = JSON.stringify(failure);
  test(`the files of a list of completions that fails keep their tokens for a retry: ${how}`, async (t) => {
    let isDown = true;
    const { api, storage } = await startServers(t, {
      wholly: (path) => (isDown && path === "/complete" ? failure : null),
      completion: () => (isDown ? UNAVAILABLE : null),
    });
    const uploader = createUploader({ api, attempts: 1 });
    uploader.add(files(8));
    const items = await uploader.finished();
    assert.deepEqual(items.map(({ error }) => error?.token), items.map(({ file }) => `${file.name}#1`));
    isDown = false;
    uploader.retry();
    await uploader.finished();
    assert.deepEqual([statesOf(uploader), storage.requests.length], [Array(8).fill("done"), 8]);
  });
}

test("a file that is cancelled, paused or removed while its list goes on leaves the others alone", async (t) => {
  const [arrival, release] = [gate(), gate()];
  const { api, storage } = await startServers(t, {
    wholly: async () => {
      arrival.open();
      await release.opened;
      return null;
    },
  });
  const uploader = createUploader({ api });
  const [first, second, third] = uploader.add(files(5));
  await arrival.opened;
  uploader.cancel(first.id);
  uploader.pause(second.id);
  uploader.remove(third.id);
  release.open();
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), ["cancelled", "paused", "done", "done"]);
  assert.deepEqual(storage.requests.map(({ path }) => path).sort(), ["/3.png", "/4.png"]);
  uploader.resume();
  uploader.retry(first.id);
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), Array(4).fill("done"));
});

test("a list of which every file is cancelled is given up", async (t) => {
  /** @type {AbortSignal[]} */
  const signals = [];
  const arrival = gate();
  const uploader = createUploader({
    api: "https://server.example",
    fetch: (_, options) => {
      const signal = /** @type {AbortSignal} */ (options?.signal);
      signals.push(signal);
      arrival.open();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    },
  });
  t.after(() => uploader.cancel());
  uploader.add(files(3));
  await arrival.opened;
  uploader.cancel(1);
  uploader.cancel(2);
  assert.deepEqual(signals.map(({ aborted }) => aborted), [false]);
  uploader.cancel(3);
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true]);
});

test("files are sent while others are completed", async (t) => {
  const { api, storage } = await startServers(t, {});
  const uploader = createUploader({
    api,
    fetch: async (url, options) => {
      // No completion is answered before all files are stored.
      if (String(url).endsWith("/complete")) {
        while (storage.requests.length < 12) await new Promise((resolve) => setTimeout(resolve, 5));
      }
      return fetch(url, options);
    },
  });
  uploader.add(files(12));
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), Array(12).fill("done"));
});

test("a slow list does not hold up the next one", async (t) => {
  const release = gate();
  const { api } = await startServers(t, {
    wholly: async (path, _, number) => {
      if (path === "/complete" && number === 2) await release.opened;
      return null;
    },
  });
  const uploader = createUploader({ api });
  const stillVerified = () => uploader.items.filter(({ state }) => state === "verifying").length;
  uploader.on("change", () => {
    if (uploader.totals.done + stillVerified() === 30 && uploader.totals.done > 15) release.open();
  });
  uploader.add(files(30));
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), Array(30).fill("done"));
});

test("a ticket that gets old before the file's turn is replaced", async (t) => {
  const clock = clockToPutForward(t);
  const { api, received } = await startServers(t, {
    lifetimeMs: 600_000,
    stored: (path) => {
      // The tickets of the waiting files are there by now.
      if (path === "/6.png") clock.skippedMs = 400_000;
      return {};
    },
  });
  const uploader = createUploader({ api, concurrency: 2 });
  uploader.add(files(12));
  await uploader.finished();
  assert.deepEqual(statesOf(uploader), Array(12).fill("done"));
  const names = received["/upload"].flat().map(({ name }) => name);
  assert.ok(names.length > 12, `${names}`);
});

test("a ticket says the server's time of the file's turn", async (t) => {
  const clock = clockToPutForward(t);
  const { api } = await startServers(t, {
    lifetimeMs: 600_000,
    stored: (path) => {
      if (path === "/6.png") clock.skippedMs = 200_000;
      return {};
    },
  });
  const uploader = createUploader({ api, concurrency: 2 });
  uploader.add(files(10));
  const items = await uploader.finished();
  const now = (/** @type {number} */ index) => Date.parse(String(items[index].ticket?.now));
  assert.ok(now(9) - now(0) >= 190_000, `${now(9) - now(0)} ms`);
});

test("files whose check fails are in no list", async (t) => {
  const { api, received } = await startServers(t, {});
  const { UploadError } = await import("../index.js");
  let checks = 0;
  const uploader = createUploader({
    api,
    check: ({ name }) => {
      checks += 1;
      if (name === "15.png") throw new UploadError("type_not_allowed");
    },
  });
  uploader.add(files(20));
  const items = await uploader.finished();
  assert.deepEqual([items[15].error?.code, uploader.totals.done, checks], ["type_not_allowed", 19, 20]);
  assert.ok(!received["/upload"].flat().some(({ name }) => name === "15.png"));
});

test("files with other headers are in other lists", async (t) => {
  const { api, server } = await startServers(t, {});
  const uploader = createUploader({ api, headers: { "x-kind": "all" } });
  uploader.add(files(2));
  uploader.add([new File(["bytes"], "a.png"), new File(["bytes"], "b.png")], { headers: { "x-kind": "these" } });
  await uploader.finished();
  const lists = server.requests.filter(({ path }) => path === "/upload");
  const kinds = lists.map(({ headers, body }) => [headers["x-kind"], JSON.parse(body.toString()).length]);
  assert.deepEqual(kinds.sort(), [["all", 2], ["these", 2]]);
});

test("large files are in no list, and three of them are sent at the same time", async (t) => {
  const { api, counts } = await startServers(t, {});
  const large = new Uint8Array(5 * 1024 * 1024);
  const uploader = createUploader({ api });
  let most = 0;
  uploader.on("change", () => {
    most = Math.max(most, uploader.items.filter(({ state }) => state === "requesting" || state === "uploading").length);
  });
  uploader.add(Array.from({ length: 5 }, (_, index) => new File([large], `${index}.png`, { type: "image/png" })));
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), counts("/upload"), most], [Array(5).fill("done"), Array(5).fill(0), 3]);
});

test("six small files are sent at the same time, and fewer after failures", async (t) => {
  let requests = 0;
  const { api } = await startServers(t, { stored: () => ((requests += 1) <= 6 ? { status: 503 } : {}) });
  const uploader = createUploader({ api });
  const sending = () =>
    uploader.items.filter(({ state }) => ["requesting", "uploading", "retrying"].includes(state)).length;
  let [before, after] = [0, 0];
  uploader.on("change", ({ id, state }) => {
    if (requests <= 6) before = Math.max(before, sending());
    // After each of six failures half as many, and one more after 1, 2 and 3 successes.
    if (id === 7 && state === "requesting") after = sending();
  });
  uploader.add(files(12));
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), before], [Array(12).fill("done"), 6]);
  assert.ok(after >= 1 && after <= 4, `${after} files at the same time`);
});

test("a number of files at the same time that the page gives is a bound, completions included", async (t) => {
  const { api } = await startServers(t, {});
  const uploader = createUploader({ api, concurrency: 4 });
  let most = 0;
  uploader.on("change", () => (most = Math.max(most, uploader.totals.running)));
  uploader.add(files(30));
  await uploader.finished();
  assert.deepEqual([most, uploader.totals.done], [4, 30]);
});

test("a list that fails without a network is no attempt, and all of its files go on with the network", async (t) => {
  const network = setOnline(t, true);
  let isCut = true;
  const { api } = await startServers(t, {
    wholly: () => {
      if (!isCut) return null;
      network.set(false);
      return { disconnect: true };
    },
  });
  const uploader = createUploader({ api, attempts: 1 });
  uploader.on("change", () => {
    if (!isCut || uploader.items.filter(({ state }) => state === "offline").length < 5) return;
    isCut = false;
    network.set(true);
  });
  uploader.add(files(5));
  await uploader.finished();
  assert.deepEqual([statesOf(uploader), isCut], [Array(5).fill("done"), false]);
});
