/**
 * The English sentences for errors and waiting times. Each error message gives the reason and what the user can do.
 *
 * A page replaces all or some of them:
 *
 *     const GERMAN = { errors: { cancelled: () => "Der Upload wurde abgebrochen. ..." } };
 *     describeError(error, GERMAN);    // English for the codes that GERMAN does not have
 */

import { typeName } from "./content_type.js";
import { formatBytes, formatDifferentBytes, formatDuration, shortenName } from "./format.js";

/**
 * @typedef {import("./errors.js").ErrorCode} ErrorCode
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./types.js").ErrorDetails} ErrorDetails
 * @typedef {import("./types.js").FileInfo} FileInfo
 *
 * @typedef {object} DescribableError an UploadError, or the same three members
 * @property {ErrorCode} code
 * @property {ErrorDetails} details
 * @property {number | null} retryAfter seconds
 *
 * @typedef {object} Messages
 * @property {Partial<Record<ErrorCode, (error: DescribableError) => string>>} [errors]
 * @property {(wait: Wait) => string} [retry] what is shown during the wait before another attempt
 */

/**
 * Return the sentence for an error.
 * @param {DescribableError} error
 * @param {Messages} [messages] English for the codes that it does not have
 */
export function describeError(error, messages = ENGLISH) {
  const describe = messages.errors?.[error.code] ?? ENGLISH.errors[error.code];
  return describe(error);
}

/**
 * Return the sentence for the wait before another attempt.
 * @param {Wait} wait
 * @param {Messages} [messages]
 */
export function describeRetry(wait, messages = ENGLISH) {
  return (messages.retry ?? ENGLISH.retry)(wait);
}

const ASK_OPERATOR = "Ask the operator of this site";
const NO_SERVICE = `The server has no upload service at this address. ${ASK_OPERATOR} to correct the address.`;

/** @satisfies {Messages} */
export const ENGLISH = {
  errors: {
    cancelled: () => "The upload was cancelled. Try again to upload the file.",
    file_unreadable: ({ details }) =>
      `${nameOf(details)} cannot be read. It was changed, moved or deleted after you chose it. Choose it again.`,
    checksum_unavailable: () =>
      "This browser computes checksums only on https and localhost. " +
      "Open this page with https, or upload without a checksum.",
    too_large_to_hash: ({ details: { file, limit } }) =>
      `A file of ${formatBytes(file?.size ?? 0)} is too large for a checksum in the browser; the limit is ` +
      `${formatBytes(limit ?? 0)}. Choose a smaller file, or upload without a checksum.`,
    ticket_expired: () =>
      "The upload ticket expired before the storage accepted the file. Try again. " +
      "If this happens again, use a faster connection or a smaller file.",
    invalid_response: ({ details }) =>
      `${withReason("The server's response cannot be used", details.reason)} ` +
      "Try again later. If this happens again, tell the operator of this site.",
    server_unreachable: ({ details }) => unreachable("server", details),
    storage_unreachable: ({ details }) => unreachable("storage", details),
    server_cors: ({ details }) =>
      `The server does not accept requests from this page, because its CORS settings do not allow ${details.origin}. ` +
      `${ASK_OPERATOR} to allow it.`,
    storage_cors: ({ details }) =>
      `The storage does not accept uploads from this page, because its CORS rules do not allow ${details.origin}. ` +
      `${ASK_OPERATOR} to allow it.`,
    connection_lost: () =>
      "The connection to the storage was lost during the upload. Check your network connection and try again.",
    response_lost: () =>
      "The connection to the storage was lost before the upload was confirmed. " +
      "Check your network connection and try again.",
    unexpected: ({ details }) =>
      `${withReason("The upload failed because of an unexpected error", details.reason)} ` +
      "Reload the page and try again. If this happens again, tell the operator of this site.",

    invalid_request: ({ details }) =>
      `${withReason("The server did not accept the request", details.reason)} ` +
      (details.field === "name" ? "Rename the file and choose it again." : `${ASK_OPERATOR} for help.`),
    too_large: ({ details: { file, limit } }) => {
      if (!file || limit === undefined) return `${nameOf({ file })} is too large. Choose a smaller file.`;
      const [size, most] = formatDifferentBytes(file.size, limit);
      return `${nameOf({ file })} is too large: it has ${size}, and the limit is ${most}. Choose a smaller file.`;
    },
    too_small: ({ details: { file, limit } }) => {
      if (file?.size === 0) return `${nameOf({ file })} is empty. Choose a file with content.`;
      if (!file || limit === undefined) return `${nameOf({ file })} is too small. Choose a larger file.`;
      const [size, least] = formatDifferentBytes(file.size, limit);
      return `${nameOf({ file })} is too small: it has ${size}, and the minimum is ${least}. Choose a larger file.`;
    },
    type_not_allowed: ({ details: { file, allowedTypes = [] } }) => {
      const allowed = [...new Set(allowedTypes.map(typeName))].join(", ");
      return (
        `Files of type ${file?.type} are not allowed. ` +
        (allowed ? `Choose a file of an allowed type: ${allowed}.` : "Choose a file of another type.")
      );
    },
    body_too_large: () => "The request to the server was too long. Give the file a shorter name and choose it again.",
    unsupported_media_type: ({ details }) =>
      `${withReason("The server did not accept the request", details.reason)} ${ASK_OPERATOR} for help.`,
    unauthenticated: () => "You are not signed in. Sign in and try again.",
    forbidden: ({ details }) =>
      `${withReason("You are not allowed to upload here", details.reason)} ${ASK_OPERATOR} for permission.`,
    invalid_token: () =>
      "The server does not accept this upload, because it is not yours or not allowed any more. " +
      "Try again to upload the file.",
    token_expired: () => "The upload took too long, so the server does not accept it any more. Try again.",
    not_uploaded: () => "The server did not find the file in the storage. Try again.",
    completion_pending: ({ details }) =>
      `${nameOf(details)} is stored and will be checked, but the check takes longer than usual. ` +
      "Check later whether the file was accepted. Try again if it was not.",
    rule_violated: ({ details }) => ruleViolated(details),
    rejected: ({ details }) =>
      `${withReason(`${nameOf(details)} was rejected and deleted from the storage`, details.reason)} ` +
      "Choose another file.",
    not_found: () => NO_SERVICE,
    method_not_allowed: () => NO_SERVICE,
    too_many_requests: ({ retryAfter }) => `There are too many uploads at the moment. ${tryAgainIn(retryAfter)}`,
    credentials_unavailable: ({ retryAfter }) =>
      `The server cannot sign uploads at the moment. ${tryAgainIn(retryAfter)}`,
    storage_unavailable: ({ retryAfter }) => `The storage is not available at the moment. ${tryAgainIn(retryAfter)}`,
    server_failed: ({ details, retryAfter }) =>
      `The server failed (HTTP status ${details.status}). ${tryAgainIn(retryAfter)} ` +
      "If this happens again, tell the operator of this site.",
    request_refused: ({ details }) =>
      `${withReason(`The server refused the request (HTTP status ${details.status})`, details.reason)} ` +
      `${ASK_OPERATOR} for help.`,

    already_exists: () =>
      "The storage already has a file with this key and does not overwrite it. Try again to upload under a new key.",
    checksum_mismatch: () => "The bytes that the storage received do not match the checksum. Try again.",
    signature_refused: () =>
      "The storage did not accept the server's signature. " +
      `${ASK_OPERATOR} to check the storage credentials, and try again.`,
    clock_skewed: () =>
      "The clocks of the server and of the storage differ too much. " +
      `${ASK_OPERATOR} to correct the server's clock, and try again.`,
    no_such_bucket: () =>
      `The storage has no bucket of the configured name. ${ASK_OPERATOR} to correct the name, and try again.`,
    not_supported: () =>
      `The storage does not support this kind of upload. ${ASK_OPERATOR} to configure another upload method.`,
    storage_refused: ({ details: { status, storageCode, reason } }) =>
      `${withReason(`The storage refused the upload (${[status, storageCode].filter(Boolean).join(" ")})`, reason)} ` +
      "Try again. If this happens again, tell the operator of this site.",
  },

  retry: ({ error, seconds, attempt, attempts }) => {
    const reason = RETRY_REASONS[error.code] ?? "The upload failed";
    return `${reason}. Trying again in ${formatDuration(seconds)} (attempt ${attempt} of ${attempts}).`;
  },
};

/** @type {Partial<Record<ErrorCode, string>>} */
const RETRY_REASONS = {
  server_unreachable: "Cannot reach the server",
  storage_unreachable: "Cannot reach the storage",
  server_cors: "The server did not accept a request from this page",
  storage_cors: "The storage did not accept a request from this page",
  connection_lost: "The connection to the storage was lost",
  response_lost: "The connection to the storage was lost",
  too_many_requests: "There are too many uploads at the moment",
  credentials_unavailable: "The server cannot sign uploads at the moment",
  storage_unavailable: "The storage is not available at the moment",
  server_failed: "The server failed",
};

/** @param {"server" | "storage"} target @param {ErrorDetails} details */
function unreachable(target, { origin }) {
  return `Cannot reach the ${target} at ${origin}. Check your network connection and try again.`;
}

/** @param {ErrorDetails} details */
function ruleViolated({ file, rule }) {
  const deleted = `${nameOf({ file })} was deleted from the storage, because`;
  switch (rule) {
    case "size":
      return `${deleted} its size is not the size that the ticket allows. Choose the file again.`;
    case "type":
      return `${deleted} its content is not ${file?.type}. Choose a file whose content matches its name.`;
    case "checksum":
      return `${deleted} its bytes do not match its checksum. Choose the file again.`;
    case "headers":
      return `${deleted} it has headers or settings that the ticket does not allow. ${ASK_OPERATOR} for help.`;
    default:
      return `${deleted} it does not keep the rules of the ticket. Choose the file again.`;
  }
}

/** @param {number | null} seconds */
function tryAgainIn(seconds) {
  return seconds ? `Try again in ${formatDuration(seconds)}.` : "Try again later.";
}

/** @param {ErrorDetails} details */
function nameOf({ file }) {
  return file?.name ? `“${shortenName(file.name)}”` : "The file";
}

/** @param {string} sentence without its full stop @param {string} [reason] in the words of the other side */
function withReason(sentence, reason = "") {
  const trimmed = reason.trim().replace(/\.+$/, "");
  return trimmed ? `${sentence}: ${trimmed}.` : `${sentence}.`;
}
