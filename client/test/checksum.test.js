import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_HASHED_BYTES, sha256 } from "../checksum.js";

const FILE = { name: "a.txt", type: "text/plain", size: 3 };

test("the checksum is the SHA-256 of the bytes", async () => {
  // The first example of FIPS 180-2.
  const expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  assert.equal(await sha256(new Blob(["abc"]), FILE), expected);
});

test("a file that does not fit into memory is refused with the limit before it is read", async () => {
  const large = { size: MAX_HASHED_BYTES + 1, arrayBuffer: () => assert.fail("was read") };
  await assert.rejects(sha256(/** @type {any} */ (large), FILE), {
    code: "too_large_to_hash",
    details: { file: FILE, limit: MAX_HASHED_BYTES },
  });
});

test("a file that cannot be read any more is an error with its cause", async () => {
  const cause = new DOMException("gone", "NotFoundError");
  const gone = { size: 3, arrayBuffer: () => Promise.reject(cause) };
  await assert.rejects(sha256(/** @type {any} */ (gone), FILE), { code: "file_unreadable", cause });
});

test("a page without WebCrypto says where it exists", async (t) => {
  const original = /** @type {PropertyDescriptor} */ (Object.getOwnPropertyDescriptor(globalThis, "crypto"));
  Object.defineProperty(globalThis, "crypto", { value: {}, configurable: true });
  t.after(() => Object.defineProperty(globalThis, "crypto", original));
  await assert.rejects(sha256(new Blob(["abc"]), FILE), { code: "checksum_unavailable", message: /https/ });
});
