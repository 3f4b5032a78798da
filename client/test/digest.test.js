import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { digestOf, release } from "../digest.js";

test("the digest is the SHA-256 of the part, whose memory is given back", async () => {
  const part = new Blob(["part"]);
  /** @type {ArrayBuffer[]} */
  const buffers = [];
  part.arrayBuffer = async () => {
    buffers.push(await Blob.prototype.arrayBuffer.call(part));
    return buffers[0];
  };
  const digest = await digestOf(part);
  assert.equal(digest, createHash("sha256").update("part").digest("hex"));
  assert.equal(buffers[0].detached, true);
});

test("a part of which some bytes are missing has no digest", async () => {
  const part = new Blob(["part"]);
  part.arrayBuffer = async () => new ArrayBuffer(3);
  await assert.rejects(digestOf(part), /3 of 4 bytes/);
});

test("memory is given back at once", () => {
  const bytes = new ArrayBuffer(4);
  release(bytes);
  assert.equal(bytes.detached, true);
});
