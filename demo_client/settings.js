/** The page's settings, and the checks that need no request. */

import { formatBytes, typeName, UploadError } from "../client/index.js";

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
 * Throw the error that the server would give for this file. The server decides; this saves a request.
 * @param {import("../client/index.js").FileInfo} file
 * @param {Settings} settings
 */
export function checkFile(file, { types = [], min_bytes = 1, max_bytes = Infinity }) {
  if (types.length && !types.includes(file.type)) {
    throw new UploadError("type_not_allowed", { details: { file, allowedTypes: types } });
  }
  if (file.size > max_bytes) throw new UploadError("too_large", { details: { file, limit: max_bytes } });
  if (file.size < min_bytes) throw new UploadError("too_small", { details: { file, limit: min_bytes } });
}

/**
 * Return the limits as a text for people.
 * @param {Settings} settings
 */
export function describeLimits({ types = [], min_bytes = 1, max_bytes, sha256 }) {
  const names = [...new Set(types.map(typeName))].sort();
  const least = min_bytes > 1 ? `at least ${formatBytes(min_bytes)}` : "";
  const most = max_bytes ? `up to ${formatBytes(max_bytes)} each` : "";
  const checksum = sha256 === "required" ? "with a checksum" : "";
  return [names.join(", "), least, most, checksum].filter(Boolean).join(" · ");
}

/**
 * Return what a file chooser should offer, for the attribute `accept`. The extensions are for systems that do not know
 * the media type.
 * @param {Settings} settings
 */
export function acceptedTypes({ types = [] }) {
  const extensions = types.map(typeName).filter((name) => !name.includes("/"));
  return [...types, ...extensions.map((name) => `.${name.toLowerCase()}`)].join(",");
}
