/** Characters in a file's name that nobody sees: show them, and say which of them the server refused. */

import { ENGLISH, shortenName } from "../client/index.js";

/** Control characters, and those that make a name show another extension than it has. */
const HIDDEN = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/**
 * "a<tab>b.txt" -> "a[U+0009]b.txt"
 * @param {string} name
 */
export function showHidden(name) {
  return name.replaceAll(HIDDEN, (character) => `[${codePoint(character)}]`);
}

/**
 * The client's sentences, and one of the page's own for a name that the server refused.
 * @type {import("../client/messages.js").Messages}
 */
export const MESSAGES = {
  errors: {
    invalid_request: (error) => {
      const { field, file } = error.details;
      const found = [...new Set(file?.name.match(HIDDEN) ?? [])].map(codePoint);
      if (field !== "name" || found.length === 0) return ENGLISH.errors.invalid_request(error);
      const what = found.length === 1 ? "a hidden character" : "hidden characters";
      const name = showHidden(shortenName(file?.name ?? ""));
      return `“${name}” has ${what} in its name: ${found.join(", ")}. Rename the file and choose it again.`;
    },
  },
};

/** @param {string} character */
function codePoint(character) {
  return `U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
