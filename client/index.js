/**
 * Upload a file from the browser straight into object storage, with a ticket from the application's server.
 *
 *     import { upload, UploadError } from "presign-uploads";
 *
 *     const controller = new AbortController();
 *     try {
 *       const stored = await upload(file, {
 *         api: "https://app.example.com/files",
 *         signal: controller.signal,
 *         onProgress: ({ loaded, total }) => { ... },
 *       });
 *       console.log(stored.key, stored.object_url, stored.enforced);
 *     } catch (error) {
 *       if (error instanceof UploadError) console.log(error.code, error.message, error.retryable);
 *     }
 *
 * `createUploader` uploads many files, which can be paused, cancelled and tried again.
 *
 * This file only hands names on. It is the only file that a page imports.
 *
 * @typedef {import("./types.js").ErrorCode} ErrorCode
 * @typedef {import("./retry.js").Wait} Wait
 * @typedef {import("./messages.js").Messages} Messages
 * @typedef {import("./types.js").ErrorDetails} ErrorDetails
 * @typedef {import("./types.js").FileInfo} FileInfo
 * @typedef {import("./types.js").StoredObject} StoredObject
 * @typedef {import("./types.js").Ticket} Ticket
 * @typedef {import("./upload.js").State} State
 * @typedef {import("./upload.js").UploadOptions} UploadOptions
 * @typedef {import("./upload.js").UploadResult} UploadResult
 * @typedef {import("./uploader.js").ItemState} ItemState
 * @typedef {import("./uploader.js").Totals} Totals
 * @typedef {import("./uploader.js").Uploader} Uploader
 * @typedef {import("./uploader.js").UploaderOptions} UploaderOptions
 * @typedef {import("./uploader.js").UploadItem} UploadItem
 */

export { canHash, MAX_HASHED_BYTES } from "./checksum.js";
export { complete } from "./completion.js";
export { contentType, extension, typeName } from "./content_type.js";
export { UploadError } from "./errors.js";
export { formatBytes, formatDuration, shortenName } from "./format.js";
export { describeError, describeRetry, ENGLISH } from "./messages.js";
export { store, upload } from "./upload.js";
export { createUploader } from "./uploader.js";
