/**
 * The types that more than one file uses. Ticket, StoredObject and Problem are the HTTP contract with the server.
 *
 * @typedef {object} Ticket all that a client needs to store one file
 * @property {"POST" | "PUT"} method POST: send a form with `fields` and the file. PUT: send the file with `headers`.
 * @property {string} url
 * @property {Record<string, string>} fields
 * @property {Record<string, string>} headers
 * @property {string} expires_at RFC 3339, UTC
 * @property {string} now the server's time when it signed the ticket
 * @property {string} key
 * @property {string | null} object_url null when the object is private
 * @property {Record<string, "storage" | "completion">} enforced who refuses an upload that breaks each rule
 * @property {string} token identifies the upload when the server is asked to complete it
 * @property {TicketParts} [parts] only for a large file: the requests of its parts replace the ticket's own
 *
 * @typedef {object} TicketParts how a large file is cut into parts
 * @property {number} part_size bytes of each part but the last, which has the rest
 * @property {number} count
 * @property {number} at_once for how many parts to ask the server at a time
 * @property {boolean} needs_sha256 the server signs a part together with its SHA-256
 * @property {string} resumable_until RFC 3339, UTC
 * @property {PartRequest[]} requests of the first parts; none if `needs_sha256`
 *
 * @typedef {object} PartRequest
 * @property {number} number from 1
 * @property {number} size bytes
 * @property {"PUT"} method
 * @property {string} url
 * @property {Record<string, string>} headers
 *
 * @typedef {object} StoredObject
 * @property {string} key
 * @property {string | null} object_url null when the object is private
 * @property {string | null} etag
 * @property {string | null} version null when the bucket has no versioning
 * @property {number} size bytes
 * @property {string} type media type
 *
 * @typedef {object} Problem the server's error response (RFC 9457)
 * @property {string} [title]
 * @property {string} [detail]
 * @property {string} [code]
 * @property {string} [field] the member of the request that is wrong
 * @property {unknown} [limit] bytes for a size, a list of media types for a type
 * @property {string} [rule] the broken rule
 * @property {number[]} [numbers] of the parts that the storage does not have
 *
 * The codes of errors. What the client finds by itself:
 * @typedef {"cancelled" | "file_unreadable" | "checksum_unavailable" | "too_large_to_hash" | "unexpected"} PageCode
 * @typedef {"server_unreachable" | "server_cors" | "invalid_response" | "ticket_expired"} ServerConnectionCode
 * @typedef {"storage_unreachable" | "storage_cors" | "connection_lost" | "response_lost"} StorageConnectionCode
 *
 * What the server says by the `code` of its problem document, or by its status:
 * @typedef {"invalid_request" | "too_large" | "too_small" | "type_not_allowed" | "unsupported_media_type"} RequestCode
 * @typedef {"unauthenticated" | "forbidden" | "too_many_requests" | "body_too_large" | "request_refused"} AccessCode
 * @typedef {"not_found" | "method_not_allowed" | "server_failed" | "credentials_unavailable"} ServiceCode
 * @typedef {"invalid_token" | "token_expired" | "not_uploaded" | "completion_pending"} CompletionCode
 * @typedef {"parts_missing" | "upload_ended"} PartsCode
 * @typedef {"rule_violated" | "rejected" | "storage_unavailable"} VerdictCode
 *
 * What the storage's answer means; it shares "too_large", "too_small", "storage_unavailable" and "ticket_expired":
 * @typedef {"already_exists" | "checksum_mismatch" | "signature_refused" | "clock_skewed"} SignedRequestCode
 * @typedef {"no_such_bucket" | "not_supported" | "storage_refused"} StorageCode
 *
 * @typedef {PageCode | ServerConnectionCode | StorageConnectionCode} ClientCode
 * @typedef {RequestCode | AccessCode | ServiceCode | CompletionCode | PartsCode | VerdictCode} ServerCode
 * @typedef {ClientCode | ServerCode | SignedRequestCode | StorageCode} ErrorCode
 *
 * @typedef {object} FileInfo what the server and the messages are told about a file
 * @property {string} name "" when it has none
 * @property {string} type media type
 * @property {number} size bytes
 *
 * @typedef {object} ErrorDetails the values that belong to an error; which of them are set depends on the code
 * @property {FileInfo} [file]
 * @property {number} [limit] bytes
 * @property {string[]} [allowedTypes] media types
 * @property {string} [rule] the broken rule, such as "size"
 * @property {string} [field] the member of the request that the server did not accept
 * @property {number[]} [numbers] of the parts that the storage does not have, at most 1000
 * @property {number} [status] HTTP status
 * @property {string} [problemCode] the server's own code, when the client does not know it
 * @property {string} [storageCode] the storage's own code, such as "AccessDenied"
 * @property {string} [reason] what the server, the storage or the browser said, for developers
 * @property {string} [origin] of the server or the storage that cannot be reached, or of the page that CORS excludes
 */

export {};
