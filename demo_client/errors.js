/**
 * What can go wrong with an upload, in words for the person who waits for it.
 * Pure: no network, no DOM, no clock.
 */

import { typeName } from "./content_type.js";
import { bytes, distinctBytes, duration, shortened } from "./units.js";

/**
 * @typedef {object} Subject what the messages are about
 * @property {string} name
 * @property {string} type
 * @property {number} size bytes
 *
 * @typedef {object} Problem RFC 9457, as our server answers
 * @property {string} [title]
 * @property {string} [detail]
 * @property {string} [code]
 * @property {string} [field]
 * @property {unknown} [value]
 * @property {unknown} [limit]
 * @property {string} [rule]
 *
 * @typedef {object} Nature
 * @property {boolean} [retryable] the same file may be accepted when a person tries it again
 * @property {boolean} [transient] worth another attempt without asking anybody
 * @property {number | null} [retryAfter] seconds that the other side asked us to wait
 * @property {unknown} [cause]
 */

/** Everything that upload() throws. `message` is for a person, `code` for a program. */
export class UploadError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {Nature} [nature]
   */
  constructor(code, message, { retryable = false, transient = false, retryAfter = null, cause } = {}) {
    super(message, { cause });
    this.name = "UploadError";
    this.code = code;
    this.transient = transient;
    this.retryable = retryable || transient;
    this.retryAfter = retryAfter;
  }
}

/* What the page, our server and the storage all may say about a file, in one wording. */

/** @param {Subject} file @param {unknown} limit bytes */
export function tooLarge(file, limit) {
  if (typeof limit !== "number") return new UploadError("too_large", `${called(file)} is too large (${bytes(file.size)}).`);
  const [size, most] = distinctBytes(file.size, limit);
  return new UploadError("too_large", `${called(file)} is too large: it has ${size}, at most ${most} are allowed.`);
}

/** @param {Subject} file @param {unknown} limit bytes */
export function tooSmall(file, limit) {
  if (file.size === 0) return new UploadError("too_small", `${called(file)} is empty.`);
  if (typeof limit !== "number") return new UploadError("too_small", `${called(file)} is too small (${bytes(file.size)}).`);
  const [size, least] = distinctBytes(file.size, limit);
  return new UploadError("too_small", `${called(file)} is too small: it has ${size}, at least ${least} are needed.`);
}

/** @param {Subject} file @param {unknown} admitted content types */
export function typeNotAdmitted(file, admitted) {
  const names = Array.isArray(admitted) ? [...new Set(admitted.map((type) => typeName(String(type))))] : [];
  const allowed = names.length ? ` Allowed: ${names.join(", ")}.` : "";
  return new UploadError("type_not_admitted", `Files of type ${file.type} are not allowed here.${allowed}`);
}

/** @param {string} name */
export function isFolder(name) {
  return new UploadError("is_folder", `“${shortened(name)}” is a folder. Open it and choose the files inside.`);
}

/** @param {Subject} file @param {unknown} [cause] */
export function fileChanged(file, cause) {
  const message = `${called(file)} cannot be read. It was changed, moved or deleted after you chose it; choose it again.`;
  return new UploadError("file_changed", message, { cause });
}

/** @param {unknown} [cause] */
export function cancelled(cause) {
  return new UploadError("cancelled", "Cancelled.", { retryable: true, cause });
}

export function ticketExpired() {
  const message = "The upload ticket expired before the storage accepted the file. Try again.";
  return new UploadError("ticket_expired", message, { retryable: true });
}

/** @param {string} why */
export function malformedAnswer(why) {
  return new UploadError("malformed_answer", `The server gave an answer that makes no sense: ${why}.`);
}

/* No answer at all. */

/**
 * Transient, since a restarting server fails a preflight too; retry() lets it count only when it comes twice.
 * @param {"storage" | "server"} who
 * @param {string} page origin
 */
export function corsNotSetUp(who, page) {
  const code = who === "storage" ? "storage_cors" : "server_cors";
  const whom = who === "storage" ? "The storage does not allow uploads" : "The server does not allow requests";
  return new UploadError(code, `${whom} from this page (CORS is not set up for ${page}).`, { transient: true });
}

/** @param {"storage" | "server"} who @param {string} origin */
export function unreachable(who, origin) {
  const code = `${who}_unreachable`;
  const whom = who === "storage" ? "the storage" : "the demo server";
  return new UploadError(code, `Cannot reach ${whom} at ${origin}.`, { transient: true });
}

/** @param {boolean} allSent every byte had left when the connection broke, so the file may have arrived */
export function connectionLost(allSent) {
  const code = allSent ? "answer_lost" : "connection_lost";
  return new UploadError(code, "The connection to the storage broke off every time. Try again later.", { transient: true });
}

/* Answers of our server. */

/**
 * @param {number} status
 * @param {Problem} problem {} when the body was none
 * @param {Subject} file
 * @param {number | null} [retryAfter] seconds
 */
export function fromProblem(status, problem, file, retryAfter = null) {
  const code = problem.code ?? `http_${status}`;
  const own = FILE_PROBLEMS[code];
  if (own) return own(file, problem);
  const [message, nature] = SERVER_PROBLEMS[code] ?? [];
  const said = problem.detail ?? problem.title ?? "";
  if (message) return new UploadError(code, message.replace("{detail}", said), { ...nature, retryAfter });
  if (status === 429) return fromProblem(status, { ...problem, code: "too_many_requests" }, file, retryAfter);
  const transient = status >= 500 && status !== 501;
  return new UploadError(code, sentence(`The server refused the request (${status})`, said), { transient, retryAfter });
}

/** @type {Record<string, (file: Subject, problem: Problem) => UploadError>} */
const FILE_PROBLEMS = {
  too_large: (file, problem) => tooLarge(file, problem.limit),
  too_small: (file, problem) => tooSmall(file, problem.limit),
  type_not_admitted: (file, problem) => typeNotAdmitted(file, problem.limit),
  rule_violated: (file, problem) => ruleViolated(file, problem.rule),
};

/** @type {Record<string, [string, Nature?]>} */
const SERVER_PROBLEMS = {
  malformed_request: ["The server did not accept the request: {detail}"],
  body_too_large: ["The request was too long for the server. A shorter file name may help."],
  unsupported_media_type: ["The server did not accept the request: {detail}"],
  unauthenticated: ["Please sign in, then try again.", { retryable: true }],
  forbidden: ["You are not allowed to upload here."],
  invalid_token: ["The server no longer knows this upload. Try again.", { retryable: true }],
  token_expired: ["The upload was finished too late for the server to confirm it. Try again.", { retryable: true }],
  not_uploaded: ["The file has not arrived in the storage. Try again.", { retryable: true }],
  not_found: ["There is no upload service at that address of the server."],
  method_not_allowed: ["There is no upload service at that address of the server."],
  too_many_requests: ["There are too many uploads at the moment. Try again later.", { transient: true }],
  credentials_unavailable: ["The server cannot sign uploads at the moment. Try again later.", { transient: true }],
  storage_unavailable: ["The server cannot reach the storage at the moment. Try again later.", { transient: true }],
};

/** @param {Subject} file @param {string} [rule] */
function ruleViolated(file, rule) {
  /** @type {Record<string, string>} */
  const reasons = {
    size: "its size is not the one that was announced",
    type: `its content is not ${file.type}`,
    checksum: "its bytes are not the ones that were announced",
  };
  const reason = reasons[rule ?? ""] ?? "it is not what was announced";
  return new UploadError("rule_violated", `${called(file)} was refused after the upload and deleted: ${reason}.`);
}

/* Answers of the storage: S3, Azure and Google all send XML with a <Code>. */

/**
 * @param {number} status
 * @param {string} body XML, or anything
 * @param {Subject} file
 * @param {number | null} [retryAfter] seconds
 */
export function fromStorage(status, body, file, retryAfter = null) {
  const code = element(body, "Code");
  const said = element(body, "Message");
  if (saysExpired(status, code, body)) return ticketExpired();
  const known = STORAGE_CODES[code] ?? STORAGE_CODES[String(status)];
  if (known) return known(file, body, retryAfter);
  if (status >= 500 || status === 429) return busy(retryAfter);
  const message = sentence(`The storage refused the upload (${status}${code && ` ${code}`})`, said);
  return new UploadError("storage_refused", message, { retryable: true });
}

/**
 * @param {number} status
 * @param {string} code
 * @param {string} body
 */
function saysExpired(status, code, body) {
  if (code === "ExpiredToken" || code === "TokenRefreshRequired") return true;
  // Azure's words for an expired SAS are "Signature not valid in the specified time frame".
  return (status === 400 || status === 403) && /expired|not valid in the specified time frame/i.test(body);
}

/** @param {number | null} retryAfter */
function busy(retryAfter) {
  return new UploadError("storage_unavailable", "The storage is not available at the moment. Try again later.", {
    transient: true,
    retryAfter,
  });
}

function alreadyExists() {
  return new UploadError("already_exists", "The storage already has a file under this key. Try again.", { retryable: true });
}

function checksumMismatch() {
  const message = "The bytes that arrived are not the ones that were announced. Try again.";
  return new UploadError("checksum_mismatch", message, { retryable: true });
}

function signatureRefused() {
  const message = "The storage does not accept the server's signature. Whoever runs the server has to check its credentials.";
  return new UploadError("signature_refused", message, { retryable: true });
}

/** @type {Record<string, (file: Subject, body: string, retryAfter: number | null) => UploadError>} */
const STORAGE_CODES = {
  EntityTooLarge: (file, body) => tooLarge(file, numeric(element(body, "MaxSizeAllowed"))),
  RequestBodyTooLarge: (file) => tooLarge(file, null),
  413: (file) => tooLarge(file, null),
  EntityTooSmall: (file, body) => tooSmall(file, numeric(element(body, "MinSizeAllowed"))),
  PreconditionFailed: alreadyExists,
  BlobAlreadyExists: alreadyExists,
  UnauthorizedBlobOverwrite: alreadyExists,
  412: alreadyExists,
  BadDigest: checksumMismatch,
  InvalidDigest: checksumMismatch,
  Md5Mismatch: checksumMismatch,
  XAmzContentSHA256Mismatch: checksumMismatch,
  XAmzContentChecksumMismatch: checksumMismatch,
  SignatureDoesNotMatch: signatureRefused,
  InvalidAccessKeyId: signatureRefused,
  AuthenticationFailed: signatureRefused,
  RequestTimeTooSkewed: () =>
    new UploadError("clock_skewed", "The clocks of the server and of the storage disagree. Whoever runs the server has to set its clock.", {
      retryable: true,
    }),
  NoSuchBucket: () => new UploadError("no_such_bucket", "The bucket that this page uploads to does not exist.", { retryable: true }),
  NotImplemented: () => new UploadError("not_supported", "The storage does not know this kind of upload."),
  501: () => new UploadError("not_supported", "The storage does not know this kind of upload."),
  RequestTimeout: (_file, _body, retryAfter) => busy(retryAfter),
  ConditionalRequestConflict: (_file, _body, retryAfter) => busy(retryAfter),
  408: (_file, _body, retryAfter) => busy(retryAfter),
};

/* Waiting. */

/** @type {Record<string, string>} */
const WHY_AGAIN = {
  storage_unavailable: "The storage is not available",
  credentials_unavailable: "The server cannot sign uploads",
  too_many_requests: "Too many uploads at once",
  server_unreachable: "Cannot reach the demo server",
  server_cors: "The server does not answer this page",
};

/**
 * "Connection lost, trying again in 2 s (attempt 2 of 5)".
 * @param {{error: UploadError, seconds: number, attempt: number, attempts: number}} wait
 */
export function tryingAgain({ error, seconds, attempt, attempts }) {
  const server = error.code.startsWith("http_5") ? "The server failed" : "Connection lost";
  return `${WHY_AGAIN[error.code] ?? server}, trying again in ${duration(seconds)} (attempt ${attempt} of ${attempts})`;
}

/* Words. */

/** @param {Subject} file */
function called(file) {
  return file.name ? `“${shortened(file.name)}”` : "The file";
}

/** @param {string} opening @param {string} said by the other side */
function sentence(opening, said) {
  const trimmed = said.trim().replace(/\.+$/, "");
  return trimmed ? `${opening}: ${trimmed}.` : `${opening}.`;
}

/** @param {string} xml @param {string} name */
function element(xml, name) {
  return new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1] ?? "";
}

/** @param {string} digits */
function numeric(digits) {
  return /^\d+$/.test(digits) ? Number(digits) : null;
}
