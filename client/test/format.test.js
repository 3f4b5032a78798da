import assert from "node:assert/strict";
import { test } from "node:test";

import { formatBytes, formatDifferentBytes, formatDuration, shortenName } from "../format.js";

test("a size is shown in the largest unit that leaves at least 1", () => {
  const sizes = { 0: "0 bytes", 1: "1 byte", 1023: "1,023 bytes", 1024: "1 KiB", 48213: "47.1 KiB" };
  for (const [count, text] of Object.entries(sizes)) assert.equal(formatBytes(Number(count)), text);
  assert.equal(formatBytes(3 * 1024 ** 3), "3 GiB");
  assert.equal(formatBytes(5 * 1024 ** 5), "5,120 TiB");
});

test("two sizes that differ by one byte have different texts", () => {
  assert.deepEqual(formatDifferentBytes(1024 ** 3 + 1, 1024 ** 3), ["1,073,741,825 bytes", "1,073,741,824 bytes"]);
  assert.deepEqual(formatDifferentBytes(2048, 1024), ["2 KiB", "1 KiB"]);
});

test("a duration is shown in two units at most, and is never zero", () => {
  const durations = { 0: "1 s", 59.4: "59 s", 75: "1 min 15 s", 3600: "1 h 0 min", 7260: "2 h 1 min" };
  Object.assign(durations, { 172_740: "47 h 59 min", 172_800: "2 days 0 h", 604_799: "6 days 23 h" });
  for (const [seconds, text] of Object.entries(durations)) assert.equal(formatDuration(Number(seconds)), text);
});

test("a long name keeps its beginning and its extension, and no character is cut in two", () => {
  assert.equal(shortenName("short.png"), "short.png");
  const shortened = shortenName(`${"🐈".repeat(100)}.png`);
  assert.equal(Array.from(shortened).length, 72);
  assert.ok(shortened.startsWith("🐈🐈") && shortened.endsWith("🐈.png"));
  assert.ok(shortened.isWellFormed());
});
