/**
 * One file in the list: show the state of its upload, and the buttons for what the user can do. Names and messages are
 * inserted as text, never as HTML.
 */

import {
  contentType,
  describeError,
  describeRetry,
  extension,
  formatBytes,
  formatDuration,
  shortenName,
  typeName,
} from "../client/index.js";
import { Details } from "./details.js";
import { showButtons } from "./dom.js";
import { MESSAGES, revealHidden } from "./names.js";
import { forgetPreview, showPreview } from "./previews.js";
import { Rate } from "./rate.js";
import { goesOn } from "./tickets.js";

/**
 * @typedef {import("../client/index.js").ItemState} ItemState
 * @typedef {import("../client/index.js").UploadItem} UploadItem
 *
 * @typedef {"pause" | "resume" | "cancel" | "retry" | "remove" | "copied"} Action
 *
 * @typedef {object} RowOptions
 * @property {string} folder of the file, or ""
 * @property {string} api URL of the application's server
 * @property {boolean} hasPendingPlace whether files wait in a private place until they are verified
 * @property {(action: Action, id: number) => void} onAction
 */

/** @type {Record<ItemState, string>} */
const STATE_TEXTS = {
  waiting: "Waiting for its turn",
  paused: "Paused",
  hashing: "Computing the checksum…",
  requesting: "Requesting a ticket…",
  uploading: "Uploading",
  retrying: "Trying again",
  offline: "Offline. The upload goes on when the network is back.",
  verifying: "Being verified…",
  inspecting: "Waiting for the inspection…",
  done: "Stored and verified",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** In these states, a file in parts stays stored as far as it is, and says how far. */
const STOPPED_STATES = new Set(["waiting", "paused", "retrying", "offline", "failed"]);

const ENDED_STATES = new Set(["done", "failed", "cancelled"]);

/** Each takes the focus of the other. */
const COUNTERPARTS = new Map([
  ["pause", "resume"],
  ["resume", "pause"],
]);

export class Row {
  #options;
  #item;
  #details;
  #rate = new Rate();
  /** Whether this run sends; before, a file in parts only learns what earlier runs have stored. */
  #isSending = false;
  /** @type {ItemState | null} */
  #shownState = null;
  /** @type {import("../client/index.js").Wait | null} */
  #shownWait = null;
  #retryAtMs = 0;
  /** @type {Map<string, HTMLElement>} */
  #found = new Map();

  /** @param {UploadItem} item @param {RowOptions} options */
  constructor(item, options) {
    this.#options = options;
    this.#item = item;
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("row"));
    this.element = /** @type {HTMLLIElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.element.addEventListener("click", (event) => this.#onClick(event));
    this.#details = new Details(/** @type {HTMLDetailsElement} */ (this.#find("details")), options);
    this.#showFile();
  }

  get id() {
    return this.#item.id;
  }

  /** Whether the row shows something that changes with time alone. */
  get isTicking() {
    return this.#item.state === "retrying" || this.#item.state === "uploading" || this.#details.isOpen;
  }

  /** @param {UploadItem} item the same file, later */
  update(item) {
    this.#item = item;
    const { state, wait } = item;
    if (state !== this.#shownState || wait !== this.#shownWait) this.#showState();
    this.#shownState = state;
    this.#shownWait = wait;
    this.#showProgress();
    this.#details.update(item);
  }

  /** Show the time that has passed. */
  tick() {
    const { state, wait } = this.#item;
    this.#details.tick();
    if (state === "uploading") this.#showProgress();
    if (state !== "retrying" || !wait) return;
    this.#showMessage(describeRetry({ ...wait, seconds: Math.max(0, (this.#retryAtMs - performance.now()) / 1000) }));
  }

  /** Show the picture when the row comes into sight. The row must be in the page. */
  watch() {
    const image = /** @type {HTMLImageElement} */ (this.#find(".preview"));
    showPreview(this.element, image, this.#item.file, contentType(this.#item.file));
  }

  remove() {
    forgetPreview(this.element);
    this.element.remove();
  }

  /** @param {string} selector */
  #find(selector) {
    const found = this.#found.get(selector) ?? /** @type {HTMLElement} */ (this.element.querySelector(selector));
    this.#found.set(selector, found);
    return found;
  }

  #showFile() {
    const { file } = this.#item;
    const name = revealHidden(file.name || "unnamed file");
    const folder = this.#options.folder ? `${revealHidden(this.#options.folder)}/` : "";
    this.#find("bdi").textContent = shortenName(name, 56);
    this.#find(".folder").textContent = folder;
    this.#find(".name").title = `${folder}${name}`;
    this.#find(".badge").textContent = extension(name).slice(0, 4).toUpperCase() || "FILE";
    this.#find(".size").textContent = formatBytes(file.size);
    this.#find(".type").textContent = typeName(contentType(file));
    this.#find("progress").setAttribute("aria-label", `Upload of ${name}`);
    for (const control of this.element.querySelectorAll("button, .open, summary")) {
      control.setAttribute("aria-label", `${control.textContent?.trim()}: ${name}`);
    }
  }

  #showState() {
    const { state, wait, error, result } = this.#item;
    const ended = ENDED_STATES.has(state);
    this.element.dataset.state = state;
    this.#rate.reset();
    this.#isSending = false;
    this.#showMessage(this.#message());
    if (wait) this.#retryAtMs = performance.now() + wait.seconds * 1000;
    if (result) this.#showLink(result.object_url);
    this.#find("progress").hidden = ended;
    const visible = {
      pause: !ended && state !== "paused",
      resume: state === "paused",
      cancel: !ended,
      retry: state === "cancelled" || (state === "failed" && error?.retryable === true),
      remove: ended,
    };
    showButtons(visible, (action) => this.#find(`[data-action="${action}"]`), COUNTERPARTS, this.element);
  }

  #message() {
    const { state, wait, error, loaded, ticket } = this.#item;
    if (state === "failed" && error) return describeError(error, MESSAGES);
    if (state === "retrying" && wait) return describeRetry(wait);
    if (state === "done" && this.#options.hasPendingPlace) return "Verified and published";
    // The storage needs minutes to copy a large file, also where nothing inspects it.
    if (state === "inspecting" && ticket?.parts) return "Being verified and published. This can take minutes.";
    if (state === "uploading" && goesOn(ticket)) return "Going on with what is missing";
    if (state === "cancelled" && loaded > 0) return "Cancelled. The file may be in the storage already.";
    return STATE_TEXTS[state];
  }

  /** @param {string} message */
  #showMessage(message) {
    this.#find(".message").textContent = message;
  }

  #showProgress() {
    const { state, loaded, sent, ticket, file } = this.#item;
    const percent = state === "done" ? 100 : percentOf(loaded, file.size);
    showBar(/** @type {HTMLProgressElement} */ (this.#find("progress")), percent, percentOf(sent, file.size));
    if (state === "uploading") {
      this.#isSending ||= !ticket?.parts || sent > loaded;
      // The parts on their way are most of what a slow line carries, so the speed is that of all bytes that leave.
      if (this.#isSending) this.#rate.add(sent, performance.now());
    }
    this.#find(".figures").textContent = this.#figures(percent).join(" · ");
  }

  /** @param {number} percent @returns {string[]} */
  #figures(percent) {
    const { state, loaded, sent, ticket, file, error } = this.#item;
    if (state !== "uploading") {
      const isKept = ticket?.parts && loaded > 0 && STOPPED_STATES.has(state) && error?.retryable !== false;
      return isKept ? [`${percent} % stored`] : [];
    }
    if (loaded === file.size) return ["100 %", "waiting for the storage"];
    const { bytesPerSecond } = this.#rate;
    if (bytesPerSecond === null) return [`${percent} %`];
    const left = formatDuration((file.size - sent) / bytesPerSecond);
    return [`${percent} %`, `${formatBytes(Math.round(bytesPerSecond))}/s`, `${left} left`];
  }

  /** @param {string | null} url */
  #showLink(url) {
    const isSafe = url !== null && /^https?:/i.test(url);
    const link = /** @type {HTMLAnchorElement} */ (this.#find(".open"));
    this.#find(".private").hidden = isSafe;
    for (const part of [link, this.#find('[data-action="copy"]')]) part.hidden = !isSafe;
    if (!isSafe) return;
    link.href = url;
    this.#details.showAddress(url);
  }

  /** @param {MouseEvent} event */
  #onClick(event) {
    const button = /** @type {Element} */ (event.target).closest("button");
    if (!button) return;
    if (button.dataset.action === "copy") this.#copy(button);
    else this.#options.onAction(/** @type {Action} */ (button.dataset.action), this.id);
  }

  /** @param {HTMLButtonElement} button */
  async #copy(button) {
    const label = /** @type {HTMLElement} */ (button.querySelector(".label"));
    const link = /** @type {HTMLAnchorElement} */ (this.#find(".open"));
    try {
      await navigator.clipboard.writeText(link.href);
      label.textContent = "Copied";
      this.#options.onAction("copied", this.id);
    } catch {
      // Without permission or https the page cannot copy. The user can copy the selected address.
      this.#details.selectAddress();
      label.textContent = "Selected";
    }
    setTimeout(() => (label.textContent = "Copy link"), 2000);
  }
}

/**
 * Show what is stored, and lighter behind it what was sent and is not confirmed.
 * @param {HTMLProgressElement} bar
 * @param {number} stored per cent
 * @param {number} sent per cent
 */
export function showBar(bar, stored, sent) {
  if (bar.value !== stored) bar.value = stored;
  if (bar.style.getPropertyValue("--sent") !== String(sent)) bar.style.setProperty("--sent", String(sent));
}

/** Return whole per cent: 100 only for all. @param {number} bytes @param {number} total */
export function percentOf(bytes, total) {
  return total ? Math.floor((bytes / total) * 100) : 0;
}
