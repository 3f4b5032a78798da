import assert from "node:assert/strict";
import { test } from "node:test";

import { fromProblem, fromStorage, UploadError } from "../errors.js";

const FILE = { name: "cat.png", type: "image/png", size: 2048 };

const xml = (/** @type {string} */ code, more = "") =>
  `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Said by the storage.</Message>${more}</Error>`;

test("an error has its code, its details, and a sentence as its message", () => {
  const error = new UploadError("too_large", { details: { file: FILE, limit: 1024 } });
  assert.equal(error.code, "too_large");
  assert.deepEqual(error.details, { file: FILE, limit: 1024 });
  assert.match(error.message, /^“cat.png” is too large: it has 2 KiB, and the limit is 1 KiB\. /);
  assert.ok(error instanceof Error);
});

test("the code decides who may try again", () => {
  const natures = { too_large: [false, false], ticket_expired: [true, false], storage_unavailable: [true, true] };
  for (const [code, [retryable, transient]] of Object.entries(natures)) {
    const error = new UploadError(/** @type {import("../types.js").ErrorCode} */ (code));
    assert.deepEqual([error.retryable, error.transient], [retryable, transient], code);
  }
});

test("a problem's limit is bytes for a size and a list for a type", () => {
  const size = fromProblem(413, { code: "too_large", detail: "…", limit: 1024 }, FILE);
  assert.equal(size.code, "too_large");
  assert.equal(size.details.limit, 1024);
  const type = fromProblem(415, { code: "type_not_allowed", limit: ["image/png", "text/plain"] }, FILE);
  assert.equal(type.code, "type_not_allowed");
  assert.deepEqual(type.details.allowedTypes, ["image/png", "text/plain"]);
  assert.match(type.message, /PNG, TXT/);
});

test("a code that the client does not know is kept, with what the server said", () => {
  const error = fromProblem(403, { code: "quota_exceeded", detail: "your 5 GB are used." }, FILE);
  assert.equal(error.code, "request_refused");
  assert.equal(error.details.problemCode, "quota_exceeded");
  assert.match(error.message, /\(HTTP status 403\): your 5 GB are used\. Ask/);
});

test("a server cannot send a code that only the client itself decides", () => {
  for (const code of ["cancelled", "connection_lost", "ticket_expired", "constructor"]) {
    assert.equal(fromProblem(403, { code }, FILE).code, "request_refused", code);
  }
});

test("a response without a problem document is judged by its status", () => {
  const codes = { 429: "too_many_requests", 500: "server_failed", 502: "server_failed", 501: "request_refused" };
  for (const [status, code] of Object.entries(codes)) {
    assert.equal(fromProblem(Number(status), {}, FILE).code, code, status);
  }
  assert.equal(fromProblem(404, {}, FILE).code, "request_refused");
});

test("the Retry-After is kept", () => {
  assert.equal(fromProblem(429, { code: "too_many_requests" }, FILE, 7).retryAfter, 7);
  assert.equal(fromStorage(503, xml("SlowDown"), FILE, 9).retryAfter, 9);
});

test("the refusals of S3, Azure and Google become the same codes", () => {
  /** @type {[number, string, string][]} */
  const refusals = [
    [400, "EntityTooLarge", "too_large"],
    [413, "RequestBodyTooLarge", "too_large"],
    [400, "EntityTooSmall", "too_small"],
    [412, "PreconditionFailed", "already_exists"],
    [409, "BlobAlreadyExists", "already_exists"],
    [403, "UnauthorizedBlobOverwrite", "already_exists"],
    [400, "BadDigest", "checksum_mismatch"],
    [400, "Md5Mismatch", "checksum_mismatch"],
    [403, "SignatureDoesNotMatch", "signature_refused"],
    [403, "AuthenticationFailed", "signature_refused"],
    [403, "RequestTimeTooSkewed", "clock_skewed"],
    [404, "NoSuchBucket", "no_such_bucket"],
    [501, "NotImplemented", "not_supported"],
    [400, "RequestTimeout", "storage_unavailable"],
    [503, "SlowDown", "storage_unavailable"],
    [500, "InternalError", "storage_unavailable"],
    [403, "AccessDenied", "storage_refused"],
    [400, "ExpiredToken", "ticket_expired"],
  ];
  for (const [status, storageCode, code] of refusals) {
    assert.equal(fromStorage(status, xml(storageCode), FILE).code, code, storageCode);
  }
});

test("an expired ticket is recognized in the words of each storage", () => {
  const bodies = [
    "<Code>AccessDenied</Code><Message>Invalid according to Policy: Policy expired.</Message>",
    "<Code>AccessDenied</Code><Message>Request has expired</Message>",
    "<Code>AuthenticationFailed</Code><AuthenticationErrorDetail>Signature not valid in the specified time frame",
  ];
  for (const body of bodies) assert.equal(fromStorage(403, body, FILE).code, "ticket_expired", body);
});

test("a storage's limit is in the details", () => {
  const large = fromStorage(400, xml("EntityTooLarge", "<MaxSizeAllowed>1024</MaxSizeAllowed>"), FILE);
  assert.match(large.message, /the limit is 1 KiB/);
  const small = fromStorage(400, xml("EntityTooSmall", "<MinSizeAllowed>4096</MinSizeAllowed>"), FILE);
  assert.match(small.message, /the minimum is 4 KiB/);
});

test("a refusal without XML is judged by its status", () => {
  assert.equal(fromStorage(412, "", FILE).code, "already_exists");
  assert.equal(fromStorage(408, "<html>timeout</html>", FILE).code, "storage_unavailable");
  assert.equal(fromStorage(403, "no", FILE).message.startsWith("The storage refused the upload (403). "), true);
});
