/** The page's settings, and the checks that need no request. */

import { UploadError } from "../client/index.js";

/**
 * @typedef {object} Settings
 * @property {string} api
 * @property {string[]} [types] allowed media types
 * @property {number} [min_bytes]
 * @property {number} [max_bytes]
 * @property {"optional" | "required"} [sha256]
 * @property {boolean} [pending] whether uploads wait in a private place until they are verified
 * @property {string} [storage] a name of the storage for people
 */

/** @returns {Promise<Settings>} */
export async function loadSettings() {
  try {
    const response = await fetch("config.json", { cache: "no-store" });
    if (!response.ok) throw new Error(`config.json: HTTP status ${response.status}`);
    const settings = await response.json();
    if (!URL.canParse(settings?.api)) throw new Error("config.json has no valid api");
    return settings;
  } catch (error) {
    const reason = "The page's settings could not be loaded, so the page does not know where to upload.";
    throw new Error(`${reason} Check that the demo is running and try again.`, { cause: error });
  }
}

/**
 * Return the error that the server would give for this file, or null. The server decides; this saves a request.
 * @param {import("../client/types.js").FileInfo} file
 * @param {Settings} settings
 * @returns {UploadError | null}
 */
export function checkFile(file, { types = [], min_bytes = 1, max_bytes = Infinity }) {
  if (types.length && !types.includes(file.type)) {
    return new UploadError("type_not_allowed", { details: { file, allowedTypes: types } });
  }
  if (file.size > max_bytes) return new UploadError("too_large", { details: { file, limit: max_bytes } });
  if (file.size < min_bytes) return new UploadError("too_small", { details: { file, limit: min_bytes } });
  return null;
}

/**
 * Return what was dropped. A folder is recognizable only while the drop event is handled.
 * @param {DataTransfer} transfer
 * @returns {{file: File, isFolder: boolean}[]}
 */
export function readDrop(transfer) {
  const items = Array.from(transfer.items).filter((item) => item.kind === "file");
  return items.map((item) => {
    const entry = item.webkitGetAsEntry?.();
    const file = item.getAsFile() ?? new File([], entry?.name ?? "folder");
    return { file, isFolder: entry?.isDirectory ?? false };
  });
}
