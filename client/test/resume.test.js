import assert from "node:assert/strict";
import { before, test } from "node:test";

import { upload } from "../index.js";
import { discardUpload, statusOf, unfinishedUploads } from "../resume.js";
import { largeFile, memoryResume, startLargeServers } from "./large.js";
import { NodeXMLHttpRequest } from "./xml_http_request.js";

/** @typedef {Awaited<ReturnType<typeof startLargeServers>>} Servers */

const PREFIX = "presign-uploads:";

before(() => Object.assign(globalThis, { XMLHttpRequest: NodeXMLHttpRequest }));

/**
 * Stop an upload after some parts, as a page that is closed does.
 * @param {import("node:test").TestContext} t
 * @param {Parameters<typeof startLargeServers>[1]} plan
 * @param {{resume?: any, file?: File, sha256?: boolean}} [options]
 */
async function interrupted(t, plan = {}, { resume, sha256, file = largeFile(20) } = {}) {
  const controller = new AbortController();
  const onPart = (/** @type {any} */ { request }) => {
    if (request === 7) controller.abort();
  };
  const servers = await startLargeServers(t, { atOnce: 10, onPart, ...plan });
  const { signal } = controller;
  await assert.rejects(upload(file, { api: servers.api, signal, resume, sha256 }), { code: "cancelled" });
  await servers.settled();
  return { ...servers, servers, file, stored: [...servers.uploads[0].parts.keys()], sent: servers.arrivals.length };
}

/** @param {Servers} servers @param {number} sent */
const sentSince = ({ arrivals }, sent) => arrivals.slice(sent).map(({ upload, number }) => `${upload}/${number}`);

/** Give the test a localStorage as browsers have it. @param {import("node:test").TestContext} t */
function browserStorage(t) {
  class Items {
    /** @param {string} key */
    getItem(key) {
      return Object.hasOwn(this, key) ? /** @type {any} */ (this)[key] : null;
    }

    /** @param {string} key @param {string} value */
    setItem(key, value) {
      Object.assign(this, { [key]: value });
    }

    /** @param {string} key */
    removeItem(key) {
      Reflect.deleteProperty(this, key);
    }
  }
  const items = new Items();
  Object.defineProperty(globalThis, "localStorage", { value: items, configurable: true });
  t.after(() => Reflect.deleteProperty(globalThis, "localStorage"));
  return items;
}

test("the next page goes on with the same file, and sends only what the server does not list", async (t) => {
  const { store: resume, records } = memoryResume();
  const { servers, stored, sent, api, asked, uploads, file } = await interrupted(t, {}, { resume });
  assert.ok(stored.length > 0 && stored.length < 20);
  assert.equal(records.size, 1);
  /** @type {string[]} */
  const tickets = [];
  const again = largeFile(20);
  const onTicket = (/** @type {{token: string}} */ { token }) => void tickets.push(token);
  const result = await upload(again, { api, resume, onTicket });
  assert.equal(result.key, "key-1");
  const missing = Array.from({ length: 20 }, (_, index) => index + 1).filter((number) => !stored.includes(number));
  assert.deepEqual(sentSince(servers, sent).sort(), missing.map((number) => `1/${number}`).sort());
  assert.equal(uploads[0].object?.toString(), await file.text());
  assert.deepEqual([asked["/abort"], tickets.at(-1)], [[{ token: "token-2" }], "token-1"]);
  assert.equal(records.size, 0);
});

test("an upload whose completion nobody saw is completed again, and nothing is sent", async (t) => {
  const { store: resume } = memoryResume();
  const onRequest = (/** @type {string} */ path, /** @type {any} */ _, /** @type {number} */ number) =>
    path === "/complete" && number === 1 ? { disconnect: true } : undefined;
  const servers = await startLargeServers(t, { onRequest });
  const closed = upload(largeFile(3), { api: servers.api, resume, attempts: 1 });
  await assert.rejects(closed, { code: "server_unreachable", token: "token-1" });
  const result = await upload(largeFile(3), { api: servers.api, resume });
  assert.deepEqual([result.key, servers.sent], ["key-1", [1, 2, 3]]);
});

test("another file begins an upload of its own: by name, size, type, time or server", async (t) => {
  const { store: resume } = memoryResume();
  const { servers, sent, api, uploads } = await interrupted(t, {}, { resume });
  const text = await largeFile(20).text();
  const type = "video/mp4";
  const others = [
    new File([text], "other.mp4", { type, lastModified: 1 }),
    new File([text.slice(1)], "film.mp4", { type, lastModified: 1 }),
    new File([text], "film.mp4", { type: "video/webm", lastModified: 1 }),
    new File([text], "film.mp4", { type, lastModified: 2 }),
  ];
  for (const other of others) await upload(other, { api, resume });
  assert.deepEqual(new Set(sentSince(servers, sent).map((each) => each[0])), new Set(["2", "3", "4", "5"]));
  assert.equal(uploads[0].isOpen, true);
  const elsewhere = await startLargeServers(t, {});
  await upload(largeFile(20), { api: elsewhere.api, resume });
  assert.deepEqual([elsewhere.sent.length, elsewhere.asked["/parts/list"]], [20, []]);
});

test("a file of the same name, size and time but other bytes begins anew, and the old one is aborted", async (t) => {
  const { store: resume } = memoryResume();
  const { servers, sent, api, asked, uploads, file } = await interrupted(t, { needsSha256: true }, { resume });
  const changed = new File([(await file.text()).toUpperCase()], "film.mp4", { type: "video/mp4", lastModified: 1 });
  const result = await upload(changed, { api, resume });
  assert.equal(result.key, "key-2");
  assert.deepEqual(asked["/abort"], [{ token: "token-1" }]);
  assert.equal(sentSince(servers, sent).length, 20);
  assert.equal(uploads[1].object?.toString(), await changed.text());
});

test("the same bytes go on, where parts are hashed", async (t) => {
  const { store: resume } = memoryResume();
  const { servers, stored, sent, api } = await interrupted(t, { needsSha256: true }, { resume });
  await upload(largeFile(20), { api, resume });
  assert.equal(sentSince(servers, sent).length, 20 - stored.length);
});

test("an upload that ended meanwhile, or belongs to another user, begins anew", async (t) => {
  for (const [status, code] of [[410, "upload_ended"], [403, "invalid_token"], [403, "token_expired"]]) {
    const refusal = { status: Number(status), body: { code } };
    const { store: resume, records } = memoryResume();
    const onRequest = (/** @type {string} */ path, /** @type {any} */ { token }) =>
      path === "/parts/list" && token === "token-1" ? refusal : undefined;
    const { servers, sent, api, asked } = await interrupted(t, { onRequest }, { resume });
    const result = await upload(largeFile(20), { api, resume });
    assert.equal(result.key, "key-2");
    assert.deepEqual([sentSince(servers, sent).length, asked["/abort"], asked["/upload"].length], [20, [], 2]);
    assert.equal(records.size, 0);
  }
});

test("a server that cannot say what it has keeps the upload, and the new one is aborted", async (t) => {
  const { store: resume, records } = memoryResume();
  let isDown = true;
  const onRequest = (/** @type {string} */ path) => (path === "/parts/list" && isDown ? { status: 503 } : undefined);
  const { servers, stored, sent, api, asked } = await interrupted(t, { onRequest }, { resume });
  await assert.rejects(upload(largeFile(20), { api, resume, attempts: 1 }), { code: "server_failed" });
  assert.deepEqual([records.size, sentSince(servers, sent)], [1, []]);
  isDown = false;
  await upload(largeFile(20), { api, resume });
  assert.equal(sentSince(servers, sent).length, 20 - stored.length);
  assert.deepEqual(asked["/abort"].map(({ token }) => token), ["token-2", "token-3"]);
});

test("a server that does not know what it is asked of the upload lets the file begin anew", async (t) => {
  for (const status of [400, 404]) {
    const { store: resume, records } = memoryResume();
    const onRequest = (/** @type {string} */ path, /** @type {any} */ { token }) =>
      path === "/parts/list" && token === "token-1" ? { status, body: "<html>" } : undefined;
    const { servers, sent, api } = await interrupted(t, { onRequest }, { resume });
    const result = await upload(largeFile(20), { api, resume });
    assert.deepEqual([result.key, sentSince(servers, sent).length, records.size], ["key-2", 20, 0]);
  }
});

test("a user who is not signed in, or may not upload now, keeps his unfinished upload", async (t) => {
  for (const status of [401, 403, 429]) {
    const { store: resume, records } = memoryResume();
    const refusal = { status, body: { code: status === 403 ? "forbidden" : "" } };
    const onRequest = (/** @type {string} */ path) => (path === "/parts/list" ? refusal : undefined);
    const { api } = await interrupted(t, { onRequest }, { resume });
    await assert.rejects(upload(largeFile(20), { api, resume, attempts: 1 }));
    assert.deepEqual(JSON.parse([...records.values()][0]).ticket.token, "token-1");
  }
});

test("a record with which no page can go on is removed, and the file begins anew", async (t) => {
  const { store, records } = memoryResume();
  const { api } = await interrupted(t, {}, { resume: store });
  const [[key, text]] = records;
  const whole = JSON.parse(text);
  const { ticket } = whole;
  const changed = [
    ...[{ ticket: undefined }, { ticket: "token-1" }, { until: "tomorrow" }],
    ...[{ ticket: { ...ticket, parts: undefined } }, { ticket: { ...ticket, parts: { ...ticket.parts, count: 7 } } }],
    ...[{ ticket: { ...ticket, parts: { ...ticket.parts, part_size: 0 } } }],
  ];
  for (const record of [...changed.map((change) => ({ ...whole, ...change })), "text", 5, [], true]) {
    for (const digest of [false, true]) {
      records.set(key, JSON.stringify(record));
      const result = await upload(largeFile(20), { api, resume: store, digest });
      assert.notEqual(result.key, "key-1");
      assert.equal(records.size, 0);
    }
  }
});

test("a record is not used after the time until which the upload can be resumed", async (t) => {
  const { store: resume } = memoryResume();
  const { servers, sent, api, asked } = await interrupted(t, {}, { resume });
  const now = Date.now();
  t.mock.method(Date, "now", () => now + 7 * 86_400_000);
  await upload(largeFile(20), { api, resume });
  assert.deepEqual([sentSince(servers, sent).length, asked["/parts/list"]], [20, []]);
});

test("a file that this page or another tab is uploading begins an upload of its own", async (t) => {
  const { store: resume, records } = memoryResume();
  const servers = await startLargeServers(t, {});
  const both = await Promise.all([1, 2].map(() => upload(largeFile(5), { api: servers.api, resume })));
  assert.deepEqual(both.map(({ key }) => key).sort(), ["key-1", "key-2"]);
  const stopped = await interrupted(t, {}, { resume });
  const [key] = records.keys();
  await navigator.locks.request(PREFIX + key, async () => {
    const beside = await upload(largeFile(20), { api: stopped.api, resume });
    assert.equal(beside.key, "key-2");
    assert.equal(records.size, 1);
  });
  const after = await upload(largeFile(20), { api: stopped.api, resume });
  assert.equal(after.key, "key-1");
});

test("an upload goes on where the browser has no locks", async (t) => {
  const { locks } = navigator;
  Object.defineProperty(navigator, "locks", { value: undefined, configurable: true });
  t.after(() => Object.defineProperty(navigator, "locks", { value: locks, configurable: true }));
  const { store: resume } = memoryResume();
  const { api } = await interrupted(t, {}, { resume });
  const both = await Promise.all([1, 2].map(() => upload(largeFile(20), { api, resume })));
  assert.deepEqual(both.map(({ key }) => key).includes("key-1"), true);
  assert.notEqual(both[0].key, both[1].key);
});

test("a store that fails ends no upload", async (t) => {
  const fail = async () => {
    throw new Error("the quota is used up");
  };
  const servers = await startLargeServers(t, {});
  const result = await upload(largeFile(3), { api: servers.api, resume: { load: fail, save: fail, remove: fail } });
  assert.equal(result.key, "key-1");
});

test("an upload that the store could not remember is aborted when its page gives it up", async (t) => {
  const save = () => {
    throw new Error("the quota is used up");
  };
  const { asked } = await interrupted(t, {}, { resume: { load: () => null, save, remove: () => {} } });
  for (const end = Date.now() + 10_000; !asked["/abort"].length && Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.deepEqual(asked["/abort"], [{ token: "token-1" }]);
});

test("a record that cannot be read hides no other upload, and without a localStorage there are none", async (t) => {
  const items = browserStorage(t);
  await interrupted(t);
  const [[key, text]] = Object.entries(items);
  for (const other of ["{", "null", "5", "{}", JSON.stringify({ ...JSON.parse(text), ticket: {} })]) {
    items.setItem(`${PREFIX}other`, other);
    assert.deepEqual((await unfinishedUploads()).map(({ ticket }) => ticket.token), ["token-1"]);
  }
  const denied = new DOMException("the page may not", "SecurityError");
  const get = () => {
    throw denied;
  };
  Object.defineProperty(globalThis, "localStorage", { get, configurable: true });
  t.mock.method(globalThis.navigator.locks, "query", () => Promise.reject(denied));
  assert.deepEqual([await unfinishedUploads(), key.startsWith(PREFIX)], [[], true]);
});

test("an answer that says nothing of the parts is one of a silent server", async (t) => {
  browserStorage(t);
  await interrupted(t);
  const [unfinished] = await unfinishedUploads();
  for (const status of [200, 500]) {
    for (const body of ["null", "{}", "[]", '"x"', '{"numbers": "1"}']) {
      const fetch = async () => new Response(body, { status });
      assert.deepEqual(await statusOf(unfinished, { fetch }), { hasEnded: false, stored: null }, body);
    }
  }
});

test("the browser's own storage remembers uploads, without the requests of parts, until they end", async (t) => {
  const items = browserStorage(t);
  const { api, servers, stored, sent } = await interrupted(t);
  const [[key, value]] = Object.entries(items);
  assert.ok(key.startsWith(PREFIX));
  assert.doesNotMatch(value, /\?part=/);
  items.setItem("another program's", "{}");
  const [{ name, size, type, until }, ...more] = await unfinishedUploads();
  assert.deepEqual([name, size, type, more], ["film.mp4", 78, "video/mp4", []]);
  assert.ok(until > Date.now());
  await upload(largeFile(20), { api });
  assert.equal(sentSince(servers, sent).length, 20 - stored.length);
  assert.deepEqual([await unfinishedUploads(), Object.keys(items)], [[], ["another program's"]]);
});

test("the server says how much of an unfinished upload is stored, the shorter last part included", async (t) => {
  browserStorage(t);
  /** @type {(string | null)[]} */
  const sent = [];
  const { uploads } = await interrupted(t);
  const [unfinished] = await unfinishedUploads();
  const { parts } = uploads[0];
  parts.clear();
  for (const number of [1, 3, 20]) parts.set(number, Buffer.alloc(number === 20 ? 2 : 4));
  const fetch = (/** @type {any} */ url, /** @type {RequestInit | undefined} */ init) => {
    sent.push(new Headers(init?.headers).get("x-csrf"));
    return globalThis.fetch(url, init);
  };
  const status = await statusOf(unfinished, { fetch, headers: async () => ({ "x-csrf": "1" }) });
  assert.deepEqual(status, { hasEnded: false, stored: 10 });
  assert.deepEqual(sent, ["1"]);
});

test("an upload that has ended is forgotten, and one of another user or of a silent server is not", async (t) => {
  const items = browserStorage(t);
  /** @type {import("./servers.js").PlannedResponse | undefined} */
  let planned;
  await interrupted(t, { onRequest: (path) => (path === "/parts/list" ? planned : undefined) });
  const [unfinished] = await unfinishedUploads();
  planned = { status: 503, body: {} };
  assert.deepEqual(await statusOf(unfinished), { hasEnded: false, stored: null });
  planned = { status: 400, body: { code: "invalid_token" } };
  assert.deepEqual(await statusOf(unfinished), { hasEnded: true, stored: null });
  assert.equal(Object.keys(items).length, 1);
  planned = { status: 410, body: { code: "upload_ended" } };
  assert.deepEqual(await statusOf(unfinished), { hasEnded: true, stored: null });
  assert.deepEqual(Object.keys(items), []);
});

for (const sha256 of [false, true]) {
  const kind = sha256 ? "whose ticket allows only its bytes " : "";
  test(`a discarded upload ${kind}is forgotten, and aborted at the server`, async (t) => {
    const items = browserStorage(t);
    const { asked, uploads } = await interrupted(t, {}, { sha256 });
    const [unfinished] = await unfinishedUploads();
    assert.equal(await discardUpload(unfinished), "aborted");
    assert.deepEqual([Object.keys(items), asked["/abort"], uploads[0].isOpen], [[], [{ token: "token-1" }], false]);
  });
}

test("a discarded upload of which the server cannot be told is forgotten", async (t) => {
  const items = browserStorage(t);
  await interrupted(t);
  const [unfinished] = await unfinishedUploads();
  assert.equal(await discardUpload(unfinished, { fetch: () => Promise.reject(new TypeError("offline")) }), "forgotten");
  assert.deepEqual(Object.keys(items), []);
});

test("an upload that goes on is not called unfinished, and cannot be discarded", async (t) => {
  const items = browserStorage(t);
  const { api, asked, servers } = await interrupted(t);
  const [unfinished] = await unfinishedUploads();
  const going = upload(largeFile(20), { api });
  while (asked["/parts/list"].length === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual([await unfinishedUploads(), await discardUpload(unfinished)], [[], "busy"]);
  assert.equal((await going).key, "key-1");
  assert.deepEqual([Object.keys(items), servers.uploads[0].isOpen], [[], false]);
});

test("an upload without a store leaves nothing behind", async (t) => {
  const items = browserStorage(t);
  const { asked } = await interrupted(t, {}, { resume: false });
  // Nothing waits for the abort, so it can be later than the parts.
  for (const end = Date.now() + 10_000; !asked["/abort"].length && Date.now() < end; ) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.deepEqual([Object.keys(items), asked["/abort"]], [[], [{ token: "token-1" }]]);
});

test("what the browser remembers of abandoned uploads goes away when another upload is remembered", async (t) => {
  const items = browserStorage(t);
  const abandoned = { until: Date.now() - 1 };
  for (const key of ["one", "two"]) items.setItem(PREFIX + key, JSON.stringify(abandoned));
  items.setItem(`${PREFIX}damaged`, "no JSON");
  items.setItem(`${PREFIX}other`, JSON.stringify({ until: Date.now() + 60_000 }));
  items.setItem("another script's", "no JSON");
  await interrupted(t);
  const keys = Object.keys(items);
  assert.deepEqual(keys.slice(0, 2), [`${PREFIX}other`, "another script's"]);
  assert.equal(keys.length, 3);
  assert.ok(keys[2].startsWith(PREFIX));
});
