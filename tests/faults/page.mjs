/**
 * A page that uploads one file with the JavaScript client, as a process that can be killed, stopped and continued.
 *
 *     node page.mjs '{"api": …, "path": …, "type": …, "state": …, "isPatient": …, "giveUpMs": …}'
 *
 * It writes one line of JSON: the key, or the code of the error. A line of its standard input is a number of
 * milliseconds by which its clocks jump: "wall" (Date) or "both" (also performance.now()).
 */

import { createHash } from "node:crypto";
import { mkdirSync, openAsBlob, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";

import { NodeXMLHttpRequest } from "../../client/test/xml_http_request.js";

const { api, path, type, state, isPatient, giveUpMs } = JSON.parse(process.argv[2]);

/** A test does not wait for minutes until a request that stands still is given up. */
const LONG_MS = 60_000;

let wallMs = 0;
let monotonicMs = 0;
const dateNow = Date.now;
const performanceNow = performance.now.bind(performance);
const { setTimeout } = globalThis;
Date.now = () => dateNow() + wallMs;
performance.now = () => performanceNow() + monotonicMs;
if (!isPatient) Math.random = () => 0;
Object.assign(globalThis, {
  XMLHttpRequest: NodeXMLHttpRequest,
  setTimeout: (act, ms, ...rest) => setTimeout(act, ms >= LONG_MS ? giveUpMs : ms, ...rest),
});
createInterface({ input: process.stdin }).on("line", (line) => {
  const [clocks, ms] = line.split(" ");
  wallMs += Number(ms);
  if (clocks === "both") monotonicMs += Number(ms);
});

mkdirSync(state, { recursive: true });
const fileOf = (key) => join(state, createHash("sha256").update(key).digest("hex"));
const resume = {
  load: (key) => JSON.parse(readFileSync(fileOf(key), "utf8")),
  save: (key, record) => writeFileSync(fileOf(key), JSON.stringify(record)),
  remove: (key) => rmSync(fileOf(key), { force: true }),
};

const { upload } = await import("../../client/index.js");
const file = new File([await openAsBlob(path)], basename(path), { type, lastModified: 1 });
try {
  const { key } = await upload(file, { api, resume });
  console.log(JSON.stringify({ key }));
} catch (error) {
  console.log(JSON.stringify({ error: `${error.code ?? error}: ${error.message}` }));
  process.exitCode = 1;
}
process.stdin.destroy();
