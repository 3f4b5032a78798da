/** A server and a storage for large files: the whole contract of parts, in memory, on real HTTP. */

import { createHash } from "node:crypto";

import { ENFORCED, STORED } from "./plan.js";
import { startServer } from "./servers.js";

/**
 * @typedef {import("./servers.js").PlannedResponse} PlannedResponse
 * @typedef {import("./servers.js").ReceivedRequest} ReceivedRequest
 * @typedef {import("../resume.js").ResumeStore} ResumeStore
 *
 * @typedef {object} StoredUpload
 * @property {Map<number, Buffer>} parts
 * @property {number} size
 * @property {number} partBytes
 * @property {string} [digest] of the parts, if the ticket allows only these bytes
 * @property {boolean} isOpen
 * @property {Buffer | null} object what was completed
 *
 * @typedef {object} Arrival one request for a part
 * @property {number} upload number of the ticket, from 1
 * @property {number} number of the part
 * @property {number} request counts the requests for all parts, from 1
 */

export const PART_BYTES = 4;
const LIFETIME_MS = 600_000;
const NOW = "2026-03-02T10:00:00Z";

/**
 * Start both. Tokens are "token-1", "token-2" and so on.
 * @param {import("node:test").TestContext} t
 * @param {object} plan
 * @param {(arrival: Arrival) => PlannedResponse | void | Promise<PlannedResponse | void>} [plan.onPart] responds in the
 *   place of the storage, which then does not store the part
 * @param {(arrival: Arrival) => PlannedResponse | void} [plan.afterPart] responds after the part was stored
 * @param {(path: string, content: any, number: number) => PlannedResponse | void} [plan.onRequest] responds in the
 *   place of the server; `number` counts the requests for this path
 * @param {boolean} [plan.needsSha256]
 * @param {number} [plan.partBytes]
 * @param {number} [plan.atOnce]
 * @param {number} [plan.lifetimeMs] of the requests for parts
 */
export async function startLargeServers(t, plan) {
  const { onPart, afterPart, onRequest, needsSha256 = false, partBytes = PART_BYTES, atOnce = 3 } = plan;
  const { lifetimeMs = LIFETIME_MS } = plan;
  t.mock.method(Math, "random", () => 0);
  /** @type {StoredUpload[]} */
  const uploads = [];
  /** @type {Arrival[]} */
  const arrivals = [];
  /** @type {Record<string, any[]>} */
  const asked = { "/upload": [], "/parts": [], "/parts/list": [], "/complete": [], "/abort": [] };
  let running = 0;
  let mostRunning = 0;

  const storage = await startServer(t, async ({ path, headers, body }) => {
    const address = new URL(path, "http://storage");
    const upload = Number(address.pathname.slice("/key-".length));
    const number = Number(address.searchParams.get("part"));
    const arrival = { upload, number, request: arrivals.length + 1 };
    arrivals.push(arrival);
    mostRunning = Math.max(mostRunning, (running += 1));
    try {
      const planned = await onPart?.(arrival);
      if (planned) return planned;
      const stored = uploads[upload - 1];
      if (!stored.isOpen) return { status: 404, body: "<Error><Code>NoSuchUpload</Code></Error>" };
      if (String(body.length) !== address.searchParams.get("size")) return { status: 403, body: "wrong length" };
      const digest = createHash("sha256").update(body).digest("hex");
      if (needsSha256 && headers["x-sha256"] !== digest) return { status: 400, body: "<Code>BadDigest</Code>" };
      stored.parts.set(number, body);
      return afterPart?.(arrival) ?? {};
    } finally {
      running -= 1;
    }
  });

  const sign = (/** @type {number} */ upload, /** @type {number[]} */ numbers, /** @type {string[]} */ sha256 = []) =>
    numbers.map((number, index) => {
      const { partBytes, size: total } = uploads[upload - 1];
      const size = Math.min(partBytes, total - (number - 1) * partBytes);
      const url = `${storage.origin}/key-${upload}?part=${number}&size=${size}`;
      return { number, size, method: "PUT", url, headers: needsSha256 ? { "x-sha256": sha256[index] } : {} };
    });
  const times = { now: NOW, expires_at: new Date(Date.parse(NOW) + lifetimeMs).toISOString() };
  const planOf = (/** @type {StoredUpload} */ { size, partBytes }) => ({
    part_size: partBytes,
    count: Math.ceil(size / partBytes),
    at_once: atOnce,
    needs_sha256: needsSha256,
    resumable_until: new Date(Date.parse(NOW) + 7 * 86_400_000).toISOString(),
  });

  const server = await startServer(t, ({ path, body }) => {
    const content = JSON.parse(body.toString());
    asked[path].push(content);
    const planned = onRequest?.(path, content, asked[path].length);
    if (planned) return planned;
    if (path === "/upload") {
      const { size, part_size = partBytes, parts_digest } = content;
      const begun = { parts: new Map(), size, partBytes: part_size, digest: parts_digest?.sha256, object: null };
      const upload = uploads.push({ ...begun, isOpen: true });
      const plan = planOf(uploads[upload - 1]);
      const count = Math.min(atOnce, plan.count);
      const enforced = parts_digest ? { ...ENFORCED, checksum: "completion" } : ENFORCED;
      const first = Array.from({ length: count }, (_, index) => index + 1);
      return {
        body: {
          ...{ method: "PUT", url: `${storage.origin}/key-${upload}`, fields: {}, headers: {} },
          ...{ ...times, key: `key-${upload}`, object_url: null, enforced, token: `token-${upload}` },
          parts: { ...plan, requests: needsSha256 ? [] : sign(upload, first) },
        },
      };
    }
    const number = Number(content.token.slice("token-".length));
    const upload = uploads[number - 1];
    const ended = { status: 410, body: { code: "upload_ended" } };
    if (path === "/abort") {
      upload.isOpen = false;
      upload.parts.clear();
      return { body: {} };
    }
    if (path === "/parts") return { body: { ...times, requests: sign(number, content.numbers, content.sha256) } };
    const { count } = planOf(upload);
    const all = Array.from({ length: count }, (_, index) => index + 1);
    if (path === "/parts/list") {
      if (!upload.isOpen && !upload.object) return ended;
      const numbers = upload.object ? all : all.filter((each) => upload.parts.has(each));
      return { body: { size: upload.size, ...planOf(upload), numbers } };
    }
    if (!upload.isOpen && !upload.object) return ended;
    const missing = upload.object ? [] : all.filter((each) => !upload.parts.has(each));
    if (missing.length) return { status: 409, body: { code: "parts_missing", numbers: missing } };
    const digests = Array.from(upload.object ? [] : all, (each) => sha256(/** @type {Buffer} */ (upload.parts.get(each))));
    if (upload.digest && digests.length && sha256(Buffer.concat(digests)).toString("hex") !== upload.digest) {
      upload.isOpen = false;
      return { status: 422, body: { code: "rule_violated", rule: "checksum" } };
    }
    upload.object ??= Buffer.concat(all.map((each) => /** @type {Buffer} */ (upload.parts.get(each))));
    upload.isOpen = false;
    return { body: { ...STORED, key: `key-${number}`, size: upload.object.length } };
  });

  return {
    api: server.origin,
    uploads,
    arrivals,
    asked,
    server,
    /** The numbers of the parts that arrived, in ascending order, with those that came twice. */
    get sent() {
      return arrivals.map(({ number }) => number).sort((one, other) => one - other);
    },
    /** Wait until nothing arrives any more, after an upload was stopped. */
    async settled() {
      for (let before = -1; before !== arrivals.length;) {
        before = arrivals.length;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    },
    get mostRunning() {
      return mostRunning;
    },
  };
}

/** @param {Buffer} bytes */
function sha256(bytes) {
  return createHash("sha256").update(bytes).digest();
}

/**
 * A file of `count` parts, each of one letter.
 * @param {number} count
 * @param {{lastModified?: number, partBytes?: number}} [options] the last part has half the size
 */
export function largeFile(count, { lastModified = 1, partBytes = PART_BYTES } = {}) {
  const letters = Array.from({ length: count }, (_, index) => String.fromCharCode(97 + (index % 26)));
  const text = letters.map((letter) => letter.repeat(partBytes)).join("");
  return new File([text.slice(0, text.length - partBytes / 2)], "film.mp4", { type: "video/mp4", lastModified });
}

/** Keep records in memory, as a browser's localStorage does. */
export function memoryResume() {
  /** @type {Map<string, string>} */
  const records = new Map();
  /** @type {ResumeStore} */
  const store = {
    load: async (key) => JSON.parse(records.get(key) ?? "null"),
    save: async (key, record) => void records.set(key, JSON.stringify(record)),
    remove: async (key) => void records.delete(key),
  };
  return { records, store };
}
