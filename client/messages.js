/**
 * The English sentences for errors and waiting times. Each error message gives the reason and what the user can do.
 *
 * A message is a text. `{name}` and the like stand for the values of the error; a part in square brackets is left out
 * if one of its values is unknown. A page replaces all or some messages, with a text or with a function:
 *
 *     const GERMAN = { errors: { too_large: "{name} ist zu groß[ (höchstens {limit})]." } };
 *     describeError(error, GERMAN);    // English for the codes that GERMAN does not have
 *
 * The values are `name`, `type`, `size`, `limit` and `allowed` (of the file and its rules), `origin`, `status`,
 * `reason` (what the other side said) and `wait` (how long it asked to wait).
 */

import { typeName } from "./content_type.js";
import { formatDifferentBytes, formatDuration, shortenName } from "./format.js";

/**
 * @typedef {import("./types.js").ErrorCode} ErrorCode
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").ErrorDetails} ErrorDetails
 *
 * @typedef {object} DescribableError an UploadError, or the same three members
 * @property {ErrorCode} code
 * @property {ErrorDetails} details
 * @property {number | null} retryAfter seconds
 *
 * @typedef {string | ((error: DescribableError) => string)} Message
 *
 * @typedef {object} Messages
 * @property {Partial<Record<ErrorCode | `${ErrorCode}.${string}`, Message>>} [errors] by code; after a dot follows the
 *   broken rule, the wrong field of the request, or "empty" for a file without bytes
 * @property {string} [unnamed] the `{name}` of a file that has none
 * @property {(wait: Wait) => string} [retry] what is shown during the wait before another attempt
 */

/**
 * Return the sentences for an error.
 * @param {DescribableError} error
 * @param {Messages} [messages] English for the codes that it does not have
 * @returns {string}
 */
export function describeError(error, messages = {}) {
  const { code, details } = error;
  const circumstance = details.rule ?? details.field ?? (details.file?.size === 0 ? "empty" : "");
  const special = /** @type {const} */ (`${code}.${circumstance}`);
  const own = messages.errors ?? {};
  const message = own[special] ?? own[code] ?? ENGLISH.errors[special] ?? ENGLISH.errors[code] ?? code;
  return typeof message === "function" ? message(error) : fill(message, valuesOf(error, messages));
}

/**
 * Return the sentence for the wait before another attempt.
 * @param {Wait} wait
 * @param {Messages} [messages]
 */
export function describeRetry(wait, messages = {}) {
  return (messages.retry ?? ENGLISH.retry)(wait);
}

/**
 * @satisfies {Messages}
 * @type {{errors: Record<ErrorCode, string> & Partial<Record<`${ErrorCode}.${string}`, string>>, unnamed: string,
 *   retry: (wait: Wait) => string}}
 */
export const ENGLISH = {
  errors: {
    cancelled: "The upload was cancelled. Try again.",
    file_unreadable: "{name} cannot be read. It was changed, moved or deleted after you chose it. Choose it again.",
    checksum_unavailable: "This browser computes checksums only on https and localhost. Open this page with https.",
    too_large_to_hash:
      "{name} is too large for a checksum in the browser[: it has {size}, and the limit is {limit}]. " +
      "Choose a smaller file.",
    ticket_expired:
      "The ticket expired before the storage accepted the file. " +
      "Try again with a faster connection or a smaller file.",
    invalid_response:
      "The server's response cannot be used[: {reason}]. " +
      "Try again. If this happens again, ask the operator of this site for help.",
    server_unreachable: "Cannot reach the server[ at {origin}]. Check your network connection and try again.",
    storage_unreachable: "Cannot reach the storage[ at {origin}]. Check your network connection and try again.",
    server_cors:
      "The CORS rules of the server do not allow requests from this page[, {origin}]. " +
      "Ask the operator of this site for help.",
    storage_cors:
      "The CORS rules of the storage do not allow requests from this page[, {origin}]. " +
      "Ask the operator of this site for help.",
    connection_lost: "The connection to the storage was lost. Check your network connection and try again.",
    response_lost: "The connection to the storage was lost. Check your network connection and try again.",
    unexpected:
      "The upload failed unexpectedly[: {reason}]. " +
      "Reload the page and try again. If this happens again, ask the operator of this site for help.",

    invalid_request: "The server did not accept the request[: {reason}]. Ask the operator of this site for help.",
    "invalid_request.name": "The server did not accept the request[: {reason}]. Rename the file and choose it again.",
    too_large: "{name} is too large[: it has {size}, and the limit is {limit}]. Choose a smaller file.",
    too_small: "{name} is too small[: it has {size}, and the minimum is {limit}]. Choose a larger file.",
    "too_small.empty": "{name} is empty. Choose a file with content.",
    type_not_allowed: "Files of type [{type}] are not allowed. Choose a file of another type[: {allowed}].",
    body_too_large: "The request to the server was too long. Rename the file and choose it again.",
    unsupported_media_type:
      "The server did not accept the request[: {reason}]. Ask the operator of this site for help.",
    unauthenticated: "You are not signed in. Sign in and try again.",
    forbidden: "You are not allowed to upload here[: {reason}]. Ask the operator of this site for help.",
    invalid_token: "This upload is not yours, or not allowed any more. Try again.",
    token_expired: "The upload took too long. Try again.",
    not_uploaded: "The server did not find the file in the storage. Try again.",
    parts_missing: "The server did not find the whole file in the storage. Try again.",
    upload_ended: "The storage does not have this upload any more. Try again.",
    completion_pending: "{name} is stored and will be checked, but the check takes longer than usual. Try again later.",
    rule_violated: "{name} was deleted from the storage, because it breaks a rule. Choose another file.",
    "rule_violated.size":
      "{name} was deleted from the storage, because its size is wrong. " +
      "Choose it again.",
    "rule_violated.type":
      "{name} was deleted from the storage, because its content is not [{type}]. " +
      "Choose another file.",
    "rule_violated.checksum":
      "{name} was deleted from the storage, because its bytes do not match its checksum. " +
      "Choose it again.",
    "rule_violated.headers":
      "{name} was deleted from the storage, because it has headers that are not allowed. " +
      "Ask the operator of this site for help.",
    rejected: "{name} was rejected and deleted from the storage[: {reason}]. Choose another file.",
    not_found: "The server has no upload service at this address. Ask the operator of this site for help.",
    method_not_allowed: "The server has no upload service at this address. Ask the operator of this site for help.",
    too_many_requests: "There are too many uploads at the moment. Try again[ in {wait}].",
    credentials_unavailable: "The server cannot sign uploads at the moment. Try again[ in {wait}].",
    storage_unavailable: "The storage is not available at the moment. Try again[ in {wait}].",
    server_failed:
      "The server failed[ (HTTP status {status})]. Try again[ in {wait}]. " +
      "If this happens again, ask the operator of this site for help.",
    request_refused:
      "The server refused the request[ (HTTP status {status})][: {reason}]. Ask the operator of this site for help.",

    already_exists: "The storage already has a file with this key. Try again.",
    checksum_mismatch: "The bytes that the storage received do not match the checksum. Try again.",
    signature_refused: "The storage did not accept the server's signature. Ask the operator of this site for help.",
    clock_skewed:
      "The clocks of the server and of the storage differ too much. " +
      "Ask the operator of this site for help.",
    no_such_bucket: "The storage has no bucket of the configured name. Ask the operator of this site for help.",
    not_supported: "The storage does not support this kind of upload. Ask the operator of this site for help.",
    storage_refused:
      "The storage refused the upload[ ({status})][: {reason}]. " +
      "Try again. If this happens again, ask the operator of this site for help.",
  },
  unnamed: "The file",
  retry: ({ error, seconds, attempt, attempts }) =>
    `${firstSentence(error.message)} Trying again in ${formatDuration(seconds)} (attempt ${attempt} of ${attempts}).`,
};

/**
 * @param {DescribableError} error
 * @param {Messages} messages
 * @returns {Record<string, string | number | undefined>}
 */
function valuesOf({ details, retryAfter }, { unnamed = ENGLISH.unnamed }) {
  const { file, limit, allowedTypes = [], origin, status, storageCode, reason = "" } = details;
  const [size, most] = file && limit !== undefined ? formatDifferentBytes(file.size, limit) : [];
  return {
    name: file?.name ? `“${shortenName(file.name)}”` : unnamed,
    type: file?.type,
    size,
    limit: most,
    allowed: [...new Set(allowedTypes.map(typeName))].join(", "),
    origin,
    status: storageCode ? `${status} ${storageCode}` : status,
    reason: reason.trim().replace(/\.+$/, ""),
    wait: retryAfter ? formatDuration(retryAfter) : "",
  };
}

/** @param {string} message @param {Record<string, string | number | undefined>} values */
function fill(message, values) {
  const placeholder = /\{(\w+)\}/g;
  return message
    .replace(/\[(.*?)\]/g, (_, part) => ([...part.matchAll(placeholder)].every(([, name]) => values[name]) ? part : ""))
    .replace(placeholder, (_, name) => String(values[name]));
}

/** The reason without what the user can do, because the upload goes on by itself. @param {string} message */
function firstSentence(message) {
  return message.replace(/\. .*/s, ".");
}
