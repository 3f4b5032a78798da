/** Characters in a file's name that nobody sees: show them, and say which of them the server refused. */

import { describeError, shortenName } from "../client/index.js";

/** Control characters, and those that make a name show another extension than it has. */
const HIDDEN = /[\p{Cc}\u202a-\u202e\u2066-\u2069]/gu;

/**
 * "a<tab>b.txt" -> "a[U+0009]b.txt"
 * @param {string} name
 */
export function revealHidden(name) {
  return name.replaceAll(HIDDEN, (character) => `[${codePoint(character)}]`);
}

/**
 * The page's own sentence for a name that the server refused; all others are the client's.
 * @type {import("../client/index.js").Messages}
 */
export const MESSAGES = {
  errors: {
    "invalid_request.name": (error) => {
      const { name = "" } = error.details.file ?? {};
      const found = [...new Set(name.match(HIDDEN) ?? [])].map(codePoint);
      if (found.length === 0) return describeError(error);
      const what = found.length === 1 ? "a hidden character" : "hidden characters";
      const shown = revealHidden(shortenName(name));
      return `“${shown}” has ${what} in its name: ${found.join(", ")}. Rename the file and choose it again.`;
    },
  },
};

/** @param {string} character */
function codePoint(character) {
  return `U+${character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}
