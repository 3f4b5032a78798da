/** Sizes and durations as people read them. Pure. */

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/**
 * 48213 -> "47.1 KiB". Binary units, since every limit in a storage policy is set in them.
 * @param {number} count
 */
export function bytes(count) {
  if (count === 1) return "1 byte";
  const power = count < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(count) / 10));
  const digits = power === 0 ? 0 : 1;
  const value = (count / 1024 ** power).toLocaleString("en", { maximumFractionDigits: digits });
  return `${value} ${UNITS[power]}`;
}

/**
 * Two sizes that differ, in words that differ: 1 GiB and one byte more are both "1 GiB" when rounded.
 * @param {number} one
 * @param {number} other
 * @returns {[string, string]}
 */
export function distinctBytes(one, other) {
  if (one === other || bytes(one) !== bytes(other)) return [bytes(one), bytes(other)];
  return [`${one.toLocaleString("en")} bytes`, `${other.toLocaleString("en")} bytes`];
}

/**
 * 75 -> "1 min 15 s".
 * @param {number} seconds
 */
export function duration(seconds) {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * A long name keeps its beginning and its extension.
 * @param {string} name
 * @param {number} [length]
 */
export function shortened(name, length = 72) {
  const letters = Array.from(name);
  if (letters.length <= length) return name;
  const tail = 16;
  return `${letters.slice(0, length - tail - 1).join("")}…${letters.slice(-tail).join("")}`;
}
