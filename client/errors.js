/** The errors of an upload: a code for programs, and the details for a message. No network, no DOM, no clock. */

import { describeError } from "./messages.js";

/**
 * @typedef {import("./types.js").ErrorCode} ErrorCode
 * @typedef {import("./types.js").ErrorDetails} ErrorDetails
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").Problem} Problem
 */

/**
 * After these, upload() itself tries again. A server that is starting can look like missing CORS rules, so retry()
 * believes in missing rules only when it sees them twice. After "response_lost" the storage may have the file.
 * @type {ErrorCode[]}
 */
const TRANSIENT = [
  "server_unreachable",
  "storage_unreachable",
  "server_cors",
  "storage_cors",
  "connection_lost",
  "response_lost",
  "too_many_requests",
  "credentials_unavailable",
  "storage_unavailable",
  "server_failed",
];

/** What a server may send as the `code` of a problem document. @type {ErrorCode[]} */
const SERVER_CODES = [
  "invalid_request",
  "too_large",
  "too_small",
  "type_not_allowed",
  "body_too_large",
  "unsupported_media_type",
  "unauthenticated",
  "forbidden",
  "invalid_token",
  "token_expired",
  "not_uploaded",
  "parts_missing",
  "upload_ended",
  "completion_pending",
  "rule_violated",
  "rejected",
  "not_found",
  "method_not_allowed",
  "too_many_requests",
  "credentials_unavailable",
  "storage_unavailable",
  "server_failed",
  "request_refused",
];

/** After these, the same file fails again. @type {ErrorCode[]} */
const FINAL = [
  "file_unreadable",
  "checksum_unavailable",
  "too_large_to_hash",
  "unexpected",
  "invalid_request",
  "too_large",
  "too_small",
  "type_not_allowed",
  "body_too_large",
  "unsupported_media_type",
  "forbidden",
  "rule_violated",
  "rejected",
  "not_found",
  "method_not_allowed",
  "request_refused",
  "not_supported",
];

/**
 * Everything that upload() throws.
 *
 * `code` is for programs and never changes its meaning. `details` holds the values that belong to the code. `message`
 * is an English sentence for the user; describeError() makes one in other words. `retryable` says whether the same file
 * may succeed when the user tries again, `transient` whether upload() tries again by itself. `retryAfter` is the
 * number of seconds that the server or the storage asked to wait, or null.
 */
export class UploadError extends Error {
  /** @type {string | null} */
  #token = null;

  /**
   * @param {ErrorCode} code
   * @param {{details?: ErrorDetails, retryAfter?: number | null, cause?: unknown}} [options]
   */
  constructor(code, { details = {}, retryAfter = null, cause } = {}) {
    super(describeError({ code, details, retryAfter }), { cause });
    this.name = "UploadError";
    this.code = code;
    this.details = Object.freeze(details);
    this.retryAfter = retryAfter;
    this.transient = TRANSIENT.includes(code);
    this.retryable = !FINAL.includes(code);
  }

  /**
   * The ticket's token if the storage may have the file already, else null: `complete` ends the upload with it.
   * Consoles and error reports do not show it, because it is an accessor.
   */
  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
  }
}

/**
 * Say whether the error is an UploadError with one of the codes.
 * @param {unknown} error
 * @param {...ErrorCode} codes
 */
export function hasCode(error, ...codes) {
  return error instanceof UploadError && codes.includes(error.code);
}

/**
 * Return the error for the server's error response.
 * @param {number} status
 * @param {Problem} problem {} when the body is not a problem document
 * @param {FileInfo} file
 * @param {number | null} [retryAfter] seconds
 */
export function fromProblem(status, problem, file, retryAfter = null) {
  const { code: problemCode, rule, field, limit, numbers } = problem;
  const reason = String(problem.detail ?? problem.title ?? "");
  const details = { file, status, problemCode, reason, rule, field, numbers, ...limitDetails(limit) };
  return new UploadError(serverCode(status, problemCode), { details, retryAfter });
}

/**
 * @param {number} status
 * @param {string | undefined} problemCode
 * @returns {ErrorCode}
 */
function serverCode(status, problemCode = "") {
  const known = SERVER_CODES.find((code) => code === problemCode);
  if (known) return known;
  if (status === 202) return "completion_pending";
  if (status === 429) return "too_many_requests";
  return status >= 500 && status !== 501 ? "server_failed" : "request_refused";
}

/** @param {unknown} limit */
function limitDetails(limit) {
  if (typeof limit === "number") return { limit };
  if (Array.isArray(limit)) return { allowedTypes: limit.map(String) };
  return {};
}

/**
 * Return the error for the storage's error response. S3, Azure and Google all send XML with a `<Code>`.
 * @param {number} status
 * @param {string} body XML, or any other text
 * @param {FileInfo} file
 * @param {number | null} [retryAfter] seconds
 */
export function fromStorage(status, body, file, retryAfter = null) {
  const storageCode = xmlElement(body, "Code");
  const limit = wholeNumber(xmlElement(body, "MaxSizeAllowed") || xmlElement(body, "MinSizeAllowed"));
  const details = { file, status, storageCode, reason: xmlElement(body, "Message"), limit };
  return new UploadError(storageErrorCode(status, storageCode, body), { details, retryAfter });
}

/**
 * The codes of S3, Azure and Google, and the statuses that mean the same without a code.
 * @type {Map<string | number, ErrorCode>}
 */
const BY_STORAGE_CODE = new Map(
  /** @type {[ErrorCode, (string | number)[]][]} */ ([
    ["too_large", ["EntityTooLarge", "RequestBodyTooLarge", 413]],
    ["too_small", ["EntityTooSmall"]],
    ["already_exists", ["PreconditionFailed", "BlobAlreadyExists", "UnauthorizedBlobOverwrite", 412]],
    [
      "checksum_mismatch",
      ["BadDigest", "InvalidDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch"],
    ],
    ["signature_refused", ["SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed"]],
    ["clock_skewed", ["RequestTimeTooSkewed"]],
    ["no_such_bucket", ["NoSuchBucket"]],
    ["not_supported", ["NotImplemented", 501]],
    ["storage_unavailable", ["RequestTimeout", "ConditionalRequestConflict", 408, 429]],
  ]).flatMap(([code, names]) => names.map((name) => [name, code])),
);

/**
 * @param {number} status
 * @param {string} storageCode
 * @param {string} body
 * @returns {ErrorCode}
 */
function storageErrorCode(status, storageCode, body) {
  if (saysExpired(status, storageCode, body)) return "ticket_expired";
  const known = BY_STORAGE_CODE.get(storageCode) ?? BY_STORAGE_CODE.get(status);
  return known ?? (status >= 500 ? "storage_unavailable" : "storage_refused");
}

/**
 * @param {number} status
 * @param {string} storageCode
 * @param {string} body
 */
function saysExpired(status, storageCode, body) {
  if (storageCode === "ExpiredToken" || storageCode === "TokenRefreshRequired") return true;
  // Azure describes an expired SAS as "Signature not valid in the specified time frame".
  return (status === 400 || status === 403) && /expired|not valid in the specified time frame/i.test(body);
}

/** @param {string} xml @param {string} name */
function xmlElement(xml, name) {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? "";
}

/** @param {string} digits */
function wholeNumber(digits) {
  return /^\d+$/.test(digits) ? Number(digits) : undefined;
}
