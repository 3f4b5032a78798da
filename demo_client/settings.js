/** What the page's own origin tells about the server, and what can be refused before anybody is asked. */

import { isFolder, tooLarge, tooSmall, typeNotAdmitted, UploadError } from "./errors.js";

/**
 * @typedef {object} Settings
 * @property {string} api
 * @property {string[]} [types] admitted content types
 * @property {number} [min_bytes]
 * @property {number} [max_bytes]
 * @property {"optional" | "required"} [sha256]
 * @property {string} [storage] what people call it
 */

/** @returns {Promise<Settings>} */
export async function loadSettings() {
  try {
    const response = await fetch("config.json", { cache: "no-store" });
    if (!response.ok) throw new Error(`config.json: ${response.status}`);
    const settings = await response.json();
    if (!URL.canParse(settings?.api)) throw new Error("config.json names no api");
    return settings;
  } catch (error) {
    const message = "The page's settings could not be loaded, so it does not know where to upload to.";
    throw new UploadError("settings_unavailable", message, { retryable: true, cause: error });
  }
}

/**
 * A courtesy that saves a round trip: the server decides.
 * @param {import("./errors.js").Subject} file
 * @param {Settings} settings
 * @returns {UploadError | null}
 */
export function refusal(file, { types, min_bytes = 1, max_bytes = Infinity }) {
  if (types?.length && !types.includes(file.type)) return typeNotAdmitted(file, types);
  if (file.size > max_bytes) return tooLarge(file, max_bytes);
  if (file.size < min_bytes) return tooSmall(file, min_bytes);
  return null;
}

/**
 * Folders have to be recognised while the drop event lasts.
 * @param {DataTransfer} transfer
 * @returns {{file: File, refused: UploadError | null}[]}
 */
export function dropped(transfer) {
  const items = Array.from(transfer.items).filter((item) => item.kind === "file");
  const found = [];
  for (const item of items) {
    const entry = item.webkitGetAsEntry?.();
    const file = item.getAsFile() ?? new File([], entry?.name ?? "folder");
    found.push({ file, refused: entry?.isDirectory ? isFolder(entry.name) : null });
  }
  return found;
}
