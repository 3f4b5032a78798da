/** The page: take files, show a row for each, and run three uploads at the same time. */

import {
  canHash,
  contentType,
  createQueue,
  formatBytes,
  MAX_HASHED_BYTES,
  shortenName,
  typeName,
  upload,
  UploadError,
} from "../client/index.js";
import { Row } from "./row.js";
import { checkFile, loadSettings, readDrop } from "./settings.js";

const MAX_CONCURRENT_UPLOADS = 3;
const ANNOUNCEMENT_MS = 10_000;

const $ = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
const input = /** @type {HTMLInputElement} */ ($("files"));
const checksumToggle = /** @type {HTMLInputElement} */ ($("sha256"));
const enqueue = createQueue(MAX_CONCURRENT_UPLOADS);

/** @type {Set<Row>} */
const rows = new Set();
/** @type {Promise<import("./settings.js").Settings> | null} */
let settings = null;

/* Settings. */

/** Load the settings once. After a failure, the next call loads them again. */
function currentSettings() {
  settings ??= loadSettings().then(showSettings, (error) => {
    settings = null;
    showBanner(error.message);
    throw error;
  });
  return settings;
}

/** @param {import("./settings.js").Settings} loaded */
function showSettings(loaded) {
  $("banner").hidden = true;
  $("limits").textContent = describeLimits(loaded);
  const server = `Server: ${new URL(loaded.api).host}`;
  $("servers").textContent = loaded.storage ? `Storage: ${loaded.storage} · ${server}` : server;
  showChecksumOption(loaded.sha256 === "required");
  return loaded;
}

/** @param {import("./settings.js").Settings} settings */
function describeLimits({ types, min_bytes = 1, max_bytes }) {
  const names = [...new Set((types ?? []).map(typeName))];
  const least = min_bytes > 1 ? `at least ${formatBytes(min_bytes)}` : "";
  const most = max_bytes ? `up to ${formatBytes(max_bytes)} each` : "";
  return [names.join(", "), least, most].filter(Boolean).join(" · ");
}

/** @param {boolean} required */
function showChecksumOption(required) {
  if (required) {
    checksumToggle.checked = true;
    checksumToggle.disabled = true;
    $("sha256-note").textContent = `This server requires it. For files up to ${formatBytes(MAX_HASHED_BYTES)}.`;
  } else if (!canHash()) {
    checksumToggle.disabled = true;
    $("sha256-note").textContent = "Browsers compute checksums only on https and localhost. Open this page there.";
  }
}

/** @param {string} message */
function showBanner(message) {
  $("banner-text").textContent = message;
  $("banner").hidden = false;
}

/* Rows. */

/** @param {File} file */
function addFile(file) {
  let running = new AbortController();
  const row = addRow(file, {
    cancel: () => running.abort(),
    retry: start,
  });
  start();

  function start() {
    running = new AbortController();
    const { signal } = running;
    const sha256 = checksumToggle.checked;
    row.show("waiting");
    signal.addEventListener("abort", () => showCancelled(row));
    enqueue(() => run(row, file, { signal, sha256 }), signal);
    showTotals();
  }
}

/** @param {File} folder */
function addFolder(folder) {
  const row = addRow(folder);
  const reason = `“${shortenName(folder.name)}” is a folder, and only files can be uploaded.`;
  showFailed(row, `${reason} Open it and choose the files in it.`, { retryable: false });
}

/**
 * @param {File} file
 * @param {Partial<Record<"cancel" | "retry", () => void>>} [actions]
 */
function addRow(file, actions = {}) {
  const row = new Row(file, {
    ...actions,
    remove: () => removeRow(row),
    copied: () => announce(`The link to ${row.name} is copied.`),
  });
  rows.add(row);
  $("rows").append(row.element);
  return row;
}

/**
 * @param {Row} row
 * @param {File} file
 * @param {{signal: AbortSignal, sha256: boolean}} options
 */
async function run(row, file, { signal, sha256 }) {
  try {
    const current = await currentSettings();
    const refusal = checkFile({ name: file.name, type: contentType(file), size: file.size }, current);
    if (refusal) throw refusal;
    if (signal.aborted) return;
    announce(`Uploading ${row.name}.`);
    row.begin({ hasPendingPlace: current.pending ?? true });
    const stored = await upload(file, {
      api: current.api,
      signal,
      sha256: sha256 || current.sha256 === "required",
      onProgress: (progress) => row.showProgress(progress),
      onTicket: (ticket) => row.showTicket(ticket, current.api),
      onState: (state, wait) => {
        if (state === "inspecting" && row.state === "verifying") announce(`${row.name} waits for the inspection.`);
        if (wait) row.showWait(wait);
        else row.show(state);
        showTotals();
      },
    });
    row.showStored(stored);
    announce(`${row.name} is stored and verified.`);
    showTotals();
  } catch (error) {
    if (signal.aborted) return;
    const { message } = /** @type {Error} */ (error);
    showFailed(row, message, error instanceof UploadError ? error : { retryable: true });
  }
}

/** @param {Row} row @param {string} message @param {{retryable: boolean, code?: string}} options */
function showFailed(row, message, options) {
  row.showFailed(message, options);
  announce(`${row.name} failed. ${message}`);
  showTotals();
}

/** @param {Row} row */
function showCancelled(row) {
  const isStored = row.state === "verifying" || row.state === "inspecting";
  row.show("cancelled", isStored ? "Cancelled. The file may be in the storage already." : "Cancelled");
  showTotals();
}

/** @param {Row} row */
function removeRow(row) {
  const neighbour = row.element.nextElementSibling ?? row.element.previousElementSibling;
  const focused = row.element.contains(document.activeElement);
  rows.delete(row);
  row.element.remove();
  showTotals();
  if (focused) ([...rows].find(({ element }) => element === neighbour) ?? input).focus();
}

function removeFinished() {
  for (const row of rows) if (row.finished) removeRow(row);
  (rows.size ? $("uploads-title") : input).focus();
}

function showTotals() {
  const states = [...rows].map((row) => row.state);
  const count = (/** @type {string[]} */ ...wanted) => states.filter((state) => wanted.includes(state)).length;
  const [stored, failed, waiting] = [count("done"), count("failed"), count("waiting")];
  const active = states.length - stored - failed - waiting - count("cancelled");
  const totals = { uploading: active, waiting, stored, failed };
  const texts = Object.entries(totals).map(([name, total]) => total > 0 && `${total} ${name}`);
  $("totals").textContent = texts.filter(Boolean).join(", ");
  $("uploads").hidden = rows.size === 0;
  $("clear").hidden = rows.size < 2 || active + waiting === rows.size;
}

/** @param {string} text */
function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  $("announcer").append(line);
  setTimeout(() => line.remove(), ANNOUNCEMENT_MS);
}

/* Ways to add files: choose, drop, paste. */

function onChange() {
  for (const file of input.files ?? []) addFile(file);
  // The browser reports no change when the same file is chosen again, unless the input is empty before.
  input.value = "";
}

/** @param {DragEvent} event */
function onDragOver(event) {
  if (!event.dataTransfer?.types.includes("Files")) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  $("dropzone").classList.add("over");
}

/** @param {DragEvent} event */
function onDragLeave(event) {
  if (event.relatedTarget === null) $("dropzone").classList.remove("over");
}

/** @param {DragEvent} event */
function onDrop(event) {
  $("dropzone").classList.remove("over");
  if (!event.dataTransfer?.types.includes("Files")) return;
  // The whole page takes drops, because the browser opens a file that is dropped anywhere else.
  event.preventDefault();
  for (const { file, isFolder } of readDrop(event.dataTransfer)) (isFolder ? addFolder : addFile)(file);
}

/** @param {ClipboardEvent} event */
function onPaste(event) {
  for (const file of event.clipboardData?.files ?? []) addFile(file);
}

/** @param {BeforeUnloadEvent} event */
function onBeforeUnload(event) {
  if ([...rows].some((row) => !row.finished)) event.preventDefault();
}

input.addEventListener("change", onChange);
document.addEventListener("dragover", onDragOver);
document.addEventListener("dragleave", onDragLeave);
document.addEventListener("drop", onDrop);
document.addEventListener("paste", onPaste);
window.addEventListener("beforeunload", onBeforeUnload);
$("clear").addEventListener("click", removeFinished);
$("banner-retry").addEventListener("click", () => currentSettings().catch(() => {}));
currentSettings().catch(() => {});
