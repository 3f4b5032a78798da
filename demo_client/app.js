/** The page: take files, give them to the uploader, and show what it says. */

import { canHash, createUploader, describeError, formatBytes, MAX_HASHED_BYTES } from "../client/index.js";
import { Announcer } from "./announcer.js";
import { $ } from "./dom.js";
import { filesOfDrop, filesOfInput } from "./folders.js";
import { FileList } from "./list.js";
import { MESSAGES, revealHidden } from "./names.js";
import { Proof } from "./proof.js";
import { acceptedTypes, checkFile, describeLimits, loadSettings } from "./settings.js";
import { goesOn, markOver, startCountdown } from "./tickets.js";
import { describeFiles, Totals } from "./totals.js";
import { Unfinished } from "./unfinished.js";

/**
 * @typedef {import("../client/index.js").Uploader} Uploader
 * @typedef {import("../client/index.js").UploadItem} UploadItem
 * @typedef {import("./folders.js").FoundFile} FoundFile
 * @typedef {import("./settings.js").Settings} Settings
 */

/** The page stays fluent between the files of a large folder. */
const MAX_ADDED_AT_ONCE = 50;

const input = /** @type {HTMLInputElement} */ ($("files"));
const folderInput = /** @type {HTMLInputElement} */ ($("folder"));
const checksumToggle = /** @type {HTMLInputElement} */ ($("sha256"));

/** @type {Promise<Uploader> | null} */
let starting = null;
/** @type {Uploader | null} */
let uploader = null;
/** What was chosen and is not added yet. @type {FoundFile[]} */
const chosen = [];
/** @type {WeakMap<Blob, string>} */
const folders = new WeakMap();

/* Start. */

/** Load the settings once, and start the uploader. After a failure, the next call loads them again. */
function start() {
  starting ??= loadSettings().then(startUploader, (error) => {
    starting = null;
    showBanner(error.message);
    throw error;
  });
  return starting;
}

/** @param {Settings} settings */
function startUploader(settings) {
  showSettings(settings);
  const started = createUploader({
    api: settings.api,
    check: (file) => checkFile(file, settings),
    fetch: (...request) => proof.fetch(...request),
  });
  const totals = new Totals(started);
  const proof = new Proof(settings.api, () => totals.sent);
  const summarize = () => (started.items.length > 0 ? `${describeFiles(started.totals)}.` : "");
  const announcer = new Announcer($("announcer"), summarize);
  const list = new FileList(
    $("rows"),
    ({ file }) => ({
      folder: folders.get(file) ?? "",
      api: settings.api,
      hasPendingPlace: settings.pending ?? true,
      onAction: (action, id) => {
        if (action === "copied") announcer.say("The link is copied.");
        else started[action](id);
      },
    }),
    () => totals.show(),
  );
  const unfinished = new Unfinished(settings.api, {
    fetch: (...request) => proof.fetch(...request),
    onFile: (file, { sha256 }) => started.add([file], { sha256: sha256 !== null }),
    say: (sentence) => announcer.say(sentence),
    focusElsewhere: () => (started.items.length > 0 ? $("uploads-title") : input).focus(),
  });
  /** @type {Map<number, UploadItem>} */
  const previous = new Map();
  started.on("change", (item) => {
    const before = previous.get(item.id);
    previous.set(item.id, item);
    if (item.ticket && item.ticket !== before?.ticket) {
      // Before it sends, a file in parts has bytes only if an earlier page sent them.
      const isFromEarlierPage = item.state === "requesting" && item.loaded > 0;
      startCountdown(item.ticket, { previous: before?.ticket ?? null, goesOn: isFromEarlierPage });
      proof.addTicket(item);
      if (item.ticket.parts) unfinished.refresh();
    }
    if (item.ticket) markOver(item.ticket, item.state === "done" || item.state === "cancelled");
    const sentence = item.state === before?.state ? "" : sentenceOf(item, before);
    if (sentence) announcer.say(sentence);
    list.change(item);
  });
  started.on("remove", (item) => {
    previous.delete(item.id);
    list.remove(item, input);
    if (!item.ticket?.parts) return;
    markOver(item.ticket, true);
    unfinished.refresh();
  });
  uploader = started;
  return started;
}

/** @param {Settings} settings */
function showSettings(settings) {
  $("banner").hidden = true;
  $("limits").textContent = describeLimits(settings);
  input.accept = acceptedTypes(settings);
  const server = `Server: ${new URL(settings.api).host}`;
  $("servers").textContent = settings.storage ? `Storage: ${settings.storage} · ${server}` : server;
  if (settings.sha256 === "required") {
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

/**
 * Return what a screen reader says about the file's new state, or "".
 * @param {UploadItem} item
 * @param {UploadItem | undefined} before
 */
function sentenceOf({ file, state, error, ticket }, before) {
  const name = revealHidden(file.name || "unnamed file");
  switch (state) {
    case "requesting":
    case "hashing":
      return before?.state === "waiting" ? `Uploading ${name}.` : "";
    case "uploading":
      return before?.state === "requesting" && goesOn(ticket) ? `${name} goes on with what is missing.` : "";
    case "inspecting":
      if (before?.state !== "verifying") return "";
      return ticket?.parts ? `${name} is being verified. This can take minutes.` : `${name} waits for the inspection.`;
    case "offline":
      return `Offline. ${name} goes on when the network is back.`;
    case "done":
      return `${name} is stored and verified.`;
    case "failed":
      return error ? `${name} failed. ${describeError(error, MESSAGES)}` : "";
    default:
      return "";
  }
}

/* Ways to add files: choose, drop, paste. */

/** @param {FoundFile[]} found */
async function addFiles(found) {
  chosen.push(...found);
  try {
    const started = await start();
    while (chosen.length > 0) {
      const added = chosen.splice(0, MAX_ADDED_AT_ONCE);
      for (const { file, folder } of added) folders.set(file, folder);
      started.add(added.map(({ file }) => file), { sha256: checksumToggle.checked });
      await new Promise((resolve) => setTimeout(resolve));
    }
  } catch {
    // The banner says why. The files are added when the settings are there.
  }
}

/** @param {string} text "" for none */
function showNotice(text) {
  $("notice").textContent = text;
  $("notice").hidden = text === "";
}

/** @param {HTMLInputElement} from */
function onChange(from) {
  const found = filesOfInput(from);
  // The browser reports no change when the same file is chosen again, unless the input is empty before.
  from.value = "";
  showNotice(found.length === 0 && from === folderInput ? "This folder has no files. Choose another one." : "");
  addFiles(found);
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
async function onDrop(event) {
  $("dropzone").classList.remove("over");
  if (!event.dataTransfer?.types.includes("Files")) return;
  // The whole page takes drops, because the browser opens a file that is dropped anywhere else.
  event.preventDefault();
  const { files, unreadable } = await filesOfDrop(event.dataTransfer);
  const unread = unreadable.map((path) => `“${path}”`).join(", ");
  if (unread) showNotice(`The browser cannot read ${unread}. Check that you may read it, and drop it again.`);
  else showNotice(files.length === 0 ? "This folder has no files. Drop another one." : "");
  await addFiles(files);
}

/** @param {ClipboardEvent} event */
function onPaste(event) {
  addFiles(Array.from(event.clipboardData?.files ?? [], (file) => ({ file, folder: "" })));
}

/** @param {BeforeUnloadEvent} event */
function onBeforeUnload(event) {
  const { waiting = 0, running = 0, paused = 0 } = uploader?.totals ?? {};
  if (waiting + running + paused > 0) event.preventDefault();
}

/* Buttons for all files. */

/** Take the finished files out of the list. What failed stays, so that nobody overlooks it. */
function clearFinished() {
  const finished = uploader?.items.filter(({ state }) => state === "done" || state === "cancelled") ?? [];
  for (const { id } of finished) uploader?.remove(id);
  (uploader?.items.length ? $("uploads-title") : input).focus();
}

input.addEventListener("change", () => onChange(input));
folderInput.addEventListener("change", () => onChange(folderInput));
document.addEventListener("dragover", onDragOver);
document.addEventListener("dragleave", onDragLeave);
document.addEventListener("drop", onDrop);
document.addEventListener("paste", onPaste);
window.addEventListener("beforeunload", onBeforeUnload);
$("pause-all").addEventListener("click", () => uploader?.pause());
$("resume-all").addEventListener("click", () => uploader?.resume());
$("cancel-all").addEventListener("click", () => uploader?.cancel());
$("retry-all").addEventListener("click", () => uploader?.retry());
$("clear").addEventListener("click", clearFinished);
$("banner-retry").addEventListener("click", () => addFiles([]));
start().catch(() => {});
