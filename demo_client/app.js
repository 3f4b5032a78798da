/** The page: files come in, rows come up, three uploads run at once. */

import { canHash } from "./checksum.js";
import { contentType, typeName } from "./content_type.js";
import { UploadError } from "./errors.js";
import { createQueue } from "./queue.js";
import { Row } from "./row.js";
import { dropped, loadSettings, refusal } from "./settings.js";
import { bytes } from "./units.js";
import { upload } from "./upload.js";

const AT_ONCE = 3;
const ANNOUNCEMENT_STAYS_MS = 10_000;

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const input = /** @type {HTMLInputElement} */ ($("files"));
const toggle = /** @type {HTMLInputElement} */ ($("sha256"));
const enqueue = createQueue(AT_ONCE);

/** @type {Set<Row>} */
const rows = new Set();
/** @type {Promise<import("./settings.js").Settings> | null} */
let settings = null;

/* Settings. */

/** Loaded once; after a failure the next one who asks tries again. */
function currentSettings() {
  settings ??= loadSettings().then(showSettings, (error) => {
    settings = null;
    warn(error.message);
    throw error;
  });
  return settings;
}

/** @param {import("./settings.js").Settings} loaded */
function showSettings(loaded) {
  $("banner").hidden = true;
  $("limits").textContent = limits(loaded);
  $("place").textContent = `${loaded.storage ? `Storage: ${loaded.storage} · ` : ""}Server: ${new URL(loaded.api).host}`;
  offerHashing(loaded.sha256 === "required");
  return loaded;
}

/** @param {import("./settings.js").Settings} settings */
function limits({ types, min_bytes = 1, max_bytes }) {
  const names = [...new Set((types ?? []).map(typeName))];
  const least = min_bytes > 1 ? `at least ${bytes(min_bytes)}` : "";
  const most = max_bytes ? `up to ${bytes(max_bytes)} each` : "";
  return [names.join(", "), least, most].filter(Boolean).join(" · ");
}

/** @param {boolean} required */
function offerHashing(required) {
  if (required) {
    toggle.checked = true;
    toggle.disabled = true;
    $("sha256-note").textContent = "This server requires it. Up to 512 MiB.";
  } else if (!canHash()) {
    toggle.disabled = true;
    $("sha256-note").textContent = "Browsers compute checksums on https and localhost only.";
  }
}

/** @param {string} message */
function warn(message) {
  $("banner-text").textContent = message;
  $("banner").hidden = false;
}

/* Rows. */

/**
 * @param {File} file
 * @param {UploadError | null} [refused]
 */
function add(file, refused = null) {
  const name = file.name || "unnamed file";
  let running = new AbortController();
  const row = new Row(name, file.size, (action) => {
    if (action === "cancel") running.abort();
    if (action === "retry") start();
    if (action === "remove") remove(row);
    if (action === "copied") announce(`The link to ${name} is copied.`);
  });
  rows.add(row);
  $("rows").append(row.element);
  if (refused) fail(row, refused);
  else start();

  function start() {
    running = new AbortController();
    const { signal } = running;
    const sha256 = toggle.checked;
    row.show("waiting");
    signal.addEventListener("abort", () => cancel(row));
    enqueue(() => run(row, file, { signal, sha256 }), signal);
    tally();
  }
}

/**
 * @param {Row} row
 * @param {File} file
 * @param {{signal: AbortSignal, sha256: boolean}} options
 */
async function run(row, file, { signal, sha256 }) {
  try {
    const { api, ...rules } = await currentSettings();
    const refused = refusal({ name: file.name, type: contentType(file), size: file.size }, { api, ...rules });
    if (refused) throw refused;
    if (signal.aborted) return;
    announce(`Uploading ${row.name}.`);
    const stored = await upload(file, {
      api,
      signal,
      sha256: sha256 || rules.sha256 === "required",
      onProgress: (progress) => row.progress(progress),
      onState: (state, wait) => {
        if (wait) row.countDown(wait);
        else row.show(state);
        tally();
      },
    });
    row.finish(stored);
    announce(`${row.name} is stored.`);
    tally();
  } catch (error) {
    if (!signal.aborted) fail(row, /** @type {Error} */ (error));
  }
}

/** @param {Row} row @param {Error} error */
function fail(row, error) {
  row.fail(error.message, error instanceof UploadError ? error.retryable : true);
  announce(`${row.name} failed. ${error.message}`);
  tally();
}

/** @param {Row} row */
function cancel(row) {
  row.show("cancelled", row.state === "verifying" ? "Cancelled. The file may be in the storage already." : "Cancelled");
  tally();
}

/** @param {Row} row */
function remove(row) {
  const neighbour = row.element.nextElementSibling ?? row.element.previousElementSibling;
  const focused = row.element.contains(document.activeElement);
  rows.delete(row);
  row.element.remove();
  tally();
  if (focused) ([...rows].find(({ element }) => element === neighbour) ?? input).focus();
}

function clear() {
  for (const row of rows) if (row.settled) remove(row);
  (rows.size ? $("uploads-title") : input).focus();
}

function tally() {
  const states = [...rows].map((row) => row.state);
  const count = (/** @type {string[]} */ ...wanted) => states.filter((state) => wanted.includes(state)).length;
  const [stored, failed, waiting] = [count("done"), count("failed"), count("waiting")];
  const active = states.length - stored - failed - waiting - count("cancelled");
  const parts = [active && `${active} uploading`, waiting && `${waiting} waiting`, stored && `${stored} stored`, failed && `${failed} failed`];
  $("tally").textContent = parts.filter(Boolean).join(", ");
  $("uploads").hidden = rows.size === 0;
  $("clear").hidden = rows.size < 2 || active + waiting === rows.size;
}

/** @param {string} text */
function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("announcer").append(line);
  setTimeout(() => line.remove(), ANNOUNCEMENT_STAYS_MS);
}

/* Picking, dropping, pasting. */

function picked() {
  for (const file of input.files ?? []) add(file);
  // The same file chosen again is a change only if the choice was forgotten.
  input.value = "";
}

/** @param {DragEvent} event */
function draggedOver(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  $("dropzone").classList.add("over");
}

/** @param {DragEvent} event */
function draggedOut(event) {
  if (event.relatedTarget === null) $("dropzone").classList.remove("over");
}

/** @param {DragEvent} event */
function droppedIn(event) {
  $("dropzone").classList.remove("over");
  if (!event.dataTransfer?.types.includes("Files")) return;
  // Anywhere on the page: a drop beside the zone would otherwise leave the page for the file.
  event.preventDefault();
  for (const { file, refused } of dropped(event.dataTransfer)) add(file, refused);
}

/** @param {ClipboardEvent} event */
function pasted(event) {
  for (const file of event.clipboardData?.files ?? []) add(file);
}

/** @param {BeforeUnloadEvent} event */
function leaving(event) {
  if ([...rows].some((row) => !row.settled)) event.preventDefault();
}

input.addEventListener("change", picked);
document.addEventListener("dragover", draggedOver);
document.addEventListener("dragleave", draggedOut);
document.addEventListener("drop", droppedIn);
document.addEventListener("paste", pasted);
window.addEventListener("beforeunload", leaving);
$("clear").addEventListener("click", clear);
$("banner-retry").addEventListener("click", () => currentSettings().catch(() => {}));
currentSettings().catch(() => {});
