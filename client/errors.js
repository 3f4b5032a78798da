/** The errors of an upload: a code for programs, and the details for a message. No network, no DOM, no clock. */

import { describeError } from "./messages.js";

/**
 * @typedef {import("./types.js").ErrorDetails} ErrorDetails
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").Problem} Problem
 *
 * @typedef {keyof typeof RETRY_BY_CODE} ErrorCode
 */

/* Who may try again. "automatic": upload() itself does. "manual": the user may. "never": the same file fails again. */

const CLIENT_CODES = /** @type {const} */ ({
  cancelled: "manual",
  file_unreadable: "never",
  checksum_unavailable: "never",
  too_large_to_hash: "never",
  ticket_expired: "manual",
  invalid_response: "manual",
  server_unreachable: "automatic",
  storage_unreachable: "automatic",
  // A server that is starting can look like missing CORS rules. retry() stops when the error comes a second time.
  server_cors: "automatic",
  storage_cors: "automatic",
  connection_lost: "automatic",
  // The whole file was sent, so the storage may have it.
  response_lost: "automatic",
  unexpected: "never",
});

/** The `code` of a problem document, and the codes that stand for statuses without one. */
const SERVER_CODES = /** @type {const} */ ({
  invalid_request: "never",
  too_large: "never",
  too_small: "never",
  type_not_allowed: "never",
  body_too_large: "never",
  unsupported_media_type: "never",
  unauthenticated: "manual",
  forbidden: "never",
  invalid_token: "manual",
  token_expired: "manual",
  not_uploaded: "manual",
  // upload() itself asks again, for some minutes. After that the file is still there, but a new upload may be quicker.
  completion_pending: "manual",
  rule_violated: "never",
  rejected: "never",
  not_found: "never",
  method_not_allowed: "never",
  too_many_requests: "automatic",
  credentials_unavailable: "automatic",
  storage_unavailable: "automatic",
  server_failed: "automatic",
  request_refused: "never",
});

const STORAGE_CODES = /** @type {const} */ ({
  already_exists: "manual",
  checksum_mismatch: "manual",
  signature_refused: "manual",
  clock_skewed: "manual",
  no_such_bucket: "manual",
  not_supported: "never",
  storage_refused: "manual",
});

export const RETRY_BY_CODE = { ...CLIENT_CODES, ...SERVER_CODES, ...STORAGE_CODES };

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
    this.transient = RETRY_BY_CODE[code] === "automatic";
    this.retryable = RETRY_BY_CODE[code] !== "never";
  }

  /**
   * The ticket's token if the storage may have the file already, else null: `complete` ends the upload with it. Consoles
   * and error reports do not show it, because it is an accessor.
   */
  get token() {
    return this.#token;
  }

  set token(token) {
    this.#token = token;
  }
}

/**
 * Return the error for the server's error response.
 * @param {number} status
 * @param {Problem} problem {} when the body is not a problem document
 * @param {FileInfo} file
 * @param {number | null} [retryAfter] seconds
 */
export function fromProblem(status, problem, file, retryAfter = null) {
  const { code: problemCode, rule, field, limit } = problem;
  const reason = String(problem.detail ?? problem.title ?? "");
  const details = { file, status, problemCode, reason, rule, field, ...limitDetails(limit) };
  return new UploadError(serverCode(status, problemCode), { details, retryAfter });
}

/**
 * @param {number} status
 * @param {string | undefined} problemCode
 * @returns {ErrorCode}
 */
function serverCode(status, problemCode = "") {
  if (Object.hasOwn(SERVER_CODES, problemCode)) return /** @type {ErrorCode} */ (problemCode);
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
