/** Sizes, durations and names as text for people. */

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/**
 * 48213 -> "47.1 KiB".
 * @param {number} count
 */
export function formatBytes(count) {
  if (count === 1) return "1 byte";
  const power = count < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(count) / 10));
  const digits = power === 0 ? 0 : 1;
  const value = (count / 1024 ** power).toLocaleString("en", { maximumFractionDigits: digits });
  return `${value} ${UNITS[power]}`;
}

/**
 * Format two different sizes so that their texts differ too: rounded, 1 GiB and one byte more are both "1 GiB".
 * @param {number} one
 * @param {number} other
 * @returns {[string, string]}
 */
export function formatDifferentBytes(one, other) {
  if (formatBytes(one) !== formatBytes(other)) return [formatBytes(one), formatBytes(other)];
  return [`${one.toLocaleString("en")} bytes`, `${other.toLocaleString("en")} bytes`];
}

/**
 * 75 -> "1 min 15 s". Less than a second is "1 s". From two days on, days are counted.
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const hours = Math.floor(whole / 3600);
  if (hours < 48) return `${hours} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(hours / 24)} days ${hours % 24} h`;
}

/**
 * Shorten a long name in its middle, so that its beginning and its extension stay.
 * @param {string} name
 * @param {number} [length] characters
 */
export function shortenName(name, length = 72) {
  const characters = Array.from(name);
  if (characters.length <= length) return name;
  const tail = 16;
  return `${characters.slice(0, length - tail - 1).join("")}…${characters.slice(-tail).join("")}`;
}
