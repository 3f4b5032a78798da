import assert from "node:assert/strict";
import { test } from "node:test";

import { UploadError } from "../errors.js";
import { describeError, describeRetry, ENGLISH } from "../messages.js";

/** @typedef {import("../types.js").ErrorCode} ErrorCode */

const CODES = /** @type {ErrorCode[]} */ (Object.keys(ENGLISH.errors).filter((code) => !code.includes(".")));
const FILE = { name: "cat.png", type: "image/png", size: 2048 };
const DETAILS = {
  file: FILE,
  limit: 1024,
  allowedTypes: ["image/png", "application/zip"],
  status: 403,
  storageCode: "AccessDenied",
  reason: "Said by the other side.",
  origin: "https://a.example",
};
const ACTION = /\b(Try again|Choose|Check|Ask the operator|Open this page|Sign in|Rename|Give|Reload)\b/;

/** @param {ErrorCode} code @param {import("../types.js").ErrorDetails} details */
const messageOf = (code, details) => new UploadError(code, { details }).message;

test("every message is whole sentences that end with what the user can do", () => {
  for (const code of CODES) {
    for (const details of [DETAILS, {}]) {
      const message = messageOf(code, details);
      const sentences = message.split(/(?<=\.) /);
      assert.ok(sentences.length >= 2, `${code}: ${message}`);
      for (const sentence of sentences) assert.match(sentence, /^[A-Z“].*\.$/, `${code}: ${message}`);
      assert.match(sentences.slice(1).join(" "), ACTION, `${code}: ${message}`);
    }
  }
});

test("no message shows a missing value or speaks of a demo", () => {
  for (const code of CODES) {
    assert.doesNotMatch(messageOf(code, DETAILS), /undefined|null|NaN|demo/i, code);
  }
});

test("an empty file is called empty, and a small one too small", () => {
  assert.match(messageOf("too_small", { file: { ...FILE, size: 0 }, limit: 10 }), /“cat.png” is empty/);
  const small = messageOf("too_small", { file: { ...FILE, size: 3 }, limit: 10 });
  assert.match(small, /it has 3 bytes.*the minimum is 10 bytes/);
});

test("a name that the server does not accept leads to the advice to rename the file", () => {
  const details = { field: "name", reason: "'name' has a control character (U+0007) at position 4; remove it" };
  assert.equal(
    messageOf("invalid_request", details),
    "The server did not accept the request: 'name' has a control character (U+0007) at position 4; remove it. " +
      "Rename the file and choose it again.",
  );
});

test("what the application said when it forbade the upload is in the message", () => {
  const message = messageOf("forbidden", { reason: "your 5 GB are used" });
  assert.match(message, /^You are not allowed to upload here: your 5 GB are used\. Ask/);
});

test("why the inspection rejected the file is in the message", () => {
  assert.equal(
    messageOf("rejected", { file: FILE, reason: "the scanner found Eicar-Test-Signature." }),
    "“cat.png” was rejected and deleted from the storage: the scanner found Eicar-Test-Signature. Choose another file.",
  );
});

test("an inspection that does not end leaves a file that is stored and will be checked", () => {
  assert.match(messageOf("completion_pending", { file: FILE }), /^“cat.png” is stored and will be checked, but /);
});

test("each broken rule has its own reason", () => {
  const messages = ["size", "type", "checksum", "headers", "unknown", "constructor"].map((rule) =>
    messageOf("rule_violated", { file: FILE, rule }),
  );
  assert.equal(new Set(messages).size, 5);
  for (const message of messages) assert.match(message, /“cat.png” was deleted from the storage, because /);
});

test("a wait that the server asked for is in the message", () => {
  const error = new UploadError("too_many_requests", { retryAfter: 90 });
  assert.equal(error.message, "There are too many uploads at the moment. Try again in 1 min 30 s.");
});

test("the wait before another attempt names its reason, its length and the attempt", () => {
  const error = new UploadError("connection_lost");
  assert.equal(
    describeRetry({ error, seconds: 2.2, attempt: 2, attempts: 5 }),
    "The connection to the storage was lost. Trying again in 2 s (attempt 2 of 5).",
  );
});

test("the wait before another attempt gives the user nothing to do", () => {
  const transient = CODES.map((code) => new UploadError(code, { details: DETAILS })).filter((error) => error.transient);
  assert.equal(transient.length, 10);
  for (const error of transient) {
    const text = describeRetry({ error, seconds: 1, attempt: 2, attempts: 5 });
    const [reason, ...rest] = text.split(/(?<=\.) /);
    assert.ok(error.message.startsWith(reason), text);
    assert.deepEqual(rest, ["Trying again in 1 s (attempt 2 of 5)."]);
  }
});

test("a page replaces single messages, and the others stay English", () => {
  const error = new UploadError("too_large", { details: { file: FILE, limit: 1024 } });
  const german = {
    errors: {
      /** @param {import("../messages.js").DescribableError} error */
      too_large: ({ details }) => `Die Datei ist zu groß (höchstens ${details.limit} Bytes).`,
    },
    retry: () => "Neuer Versuch.",
  };
  assert.equal(describeError(error, german), "Die Datei ist zu groß (höchstens 1024 Bytes).");
  assert.equal(describeError(new UploadError("cancelled"), german), describeError(new UploadError("cancelled")));
  assert.equal(describeRetry({ error, seconds: 1, attempt: 2, attempts: 5 }, german), "Neuer Versuch.");
});
