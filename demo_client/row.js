/**
 * One upload in the list: show its state, and the buttons for what the user can do. Names and messages are inserted as
 * text, never as HTML.
 */

import { describeRetry, extension, formatBytes, formatDuration, shortenName } from "../client/index.js";
import { Life } from "./life.js";
import { Rate } from "./rate.js";

/**
 * @typedef {import("../client/upload.js").State | "waiting" | "done" | "failed" | "cancelled"} RowState
 * @typedef {Partial<Record<"cancel" | "retry" | "remove" | "copied", () => void>>} Actions
 */

/** @type {Record<RowState, string>} */
const STATE_TEXTS = {
  waiting: "Waiting",
  hashing: "Computing the checksum…",
  requesting: "Requesting a ticket…",
  uploading: "Uploading",
  retrying: "Trying again",
  verifying: "Being verified…",
  inspecting: "Waiting for the inspection…",
  done: "Verified",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** @type {Record<string, string>} */
const RULE_TEXTS = {
  size: "Size",
  type: "Declared content type",
  checksum: "Checksum",
  create_only: "No overwriting",
  headers: "Headers and metadata",
};

/** @type {Record<string, string>} */
const ENFORCER_TEXTS = {
  storage: "The storage, while it receives the file",
  completion: "The server, when the upload is completed",
};

/** The server's codes for a file that it deleted. */
const REJECTIONS = new Set(["rule_violated", "rejected"]);

const FINISHED = new Set(["done", "failed", "cancelled"]);

export class Row {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  #rate = new Rate();
  /** @type {Life | null} */
  #life = null;
  #hasPendingPlace = false;
  #file;

  /** @param {File} file @param {Actions} actions */
  constructor(file, actions) {
    this.#file = file;
    const name = file.name || "unnamed file";
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("row"));
    this.element = /** @type {HTMLLIElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.name = name;
    this.#find("bdi").textContent = shortenName(name);
    this.#find(".name").title = name;
    this.#find(".badge").textContent = extension(name).slice(0, 4).toUpperCase() || "FILE";
    this.#find(".size").textContent = formatBytes(file.size);
    this.#find("progress").setAttribute("aria-label", `Upload of ${name}`);
    this.#labelButtons();
    this.element.addEventListener("click", (event) => this.#onClick(event, actions));
    this.show("waiting");
  }

  /** @returns {RowState} */
  get state() {
    return /** @type {RowState} */ (this.element.dataset.state);
  }

  get finished() {
    return FINISHED.has(this.state);
  }

  /**
   * @param {RowState} state
   * @param {string} [message] instead of the state's own text
   */
  show(state, message = STATE_TEXTS[state]) {
    clearInterval(this.#countdown);
    this.element.dataset.state = state;
    this.#showMessage(message);
    this.#showFigures();
    this.#find("progress").hidden = this.finished;
    this.#showButtons({ cancel: !this.finished, retry: state === "cancelled", remove: this.finished });
    if (state === "verifying" || state === "inspecting") this.#life?.store();
    if (state === "cancelled") this.#life?.stop({ rejected: false });
  }

  /** Show the details, whose states begin now. @param {{hasPendingPlace: boolean}} settings */
  begin({ hasPendingPlace }) {
    this.#hasPendingPlace = hasPendingPlace;
    this.#life = new Life(this.#find(".life"), hasPendingPlace);
    this.#find(".facts").hidden = true;
    this.#find("details").hidden = false;
  }

  /**
   * Show what the ticket says: who enforces each rule, and where the file goes.
   * @param {import("../client/types.js").Ticket} ticket
   * @param {string} api URL of the application's server
   */
  showTicket(ticket, api) {
    this.#life?.grant();
    const storage = new URL(ticket.url);
    const rules = Object.entries(ticket.enforced ?? {});
    this.#find(".enforced").replaceChildren(...rules.flatMap(([rule, enforcer]) => ruleElements(rule, enforcer)));
    this.#find(".target").textContent = storage.host;
    this.#find(".forwarded").textContent = storage.origin === new URL(api).origin ? String(this.#file.size) : "0";
    this.#find(".facts").hidden = false;
  }

  /** @param {{loaded: number, total: number}} progress */
  showProgress({ loaded, total }) {
    const percent = total ? Math.floor((loaded / total) * 100) : 0;
    this.#bar.value = percent;
    this.#rate.add(loaded, performance.now());
    if (this.state !== "uploading") return;
    if (loaded === total && total > 0) return this.#showFigures("100 %", "waiting for the storage");
    this.#showFigures(`${percent} %`, ...this.#speedFigures(total - loaded));
  }

  /** @param {import("../client/retry.js").Wait} wait */
  showWait(wait) {
    this.show("retrying", describeRetry(wait));
    const until = performance.now() + wait.seconds * 1000;
    this.#countdown = setInterval(() => {
      const seconds = Math.max(0, (until - performance.now()) / 1000);
      this.#showMessage(describeRetry({ ...wait, seconds }));
    }, 500);
  }

  /**
   * @param {string} message
   * @param {{retryable: boolean, code?: string}} options `code` of the UploadError
   */
  showFailed(message, { retryable, code = "" }) {
    this.show("failed", message);
    this.#life?.stop({ rejected: REJECTIONS.has(code) });
    this.#showButtons({ cancel: false, retry: retryable, remove: true });
  }

  /** @param {import("../client/upload.js").UploadResult} stored */
  showStored(stored) {
    this.show("done", this.#hasPendingPlace ? "Verified and published" : "Stored and verified");
    this.#life?.finish();
    this.#bar.value = 100;
    this.#find(".size").textContent = `${formatBytes(stored.size)} · ${stored.type}`;
    this.#showLink(stored.object_url);
    this.#showPreview(stored);
    this.#find(".result").hidden = false;
  }

  /** Focus the row and no button in it: a key press for a button that just disappeared must not press another one. */
  focus() {
    this.element.focus();
  }

  get #bar() {
    return /** @type {HTMLProgressElement} */ (this.#find("progress"));
  }

  /** @param {string} selector */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.element.querySelector(selector));
  }

  /** @param {string} message */
  #showMessage(message) {
    this.#find(".message").textContent = message;
  }

  /** @param {...string} figures */
  #showFigures(...figures) {
    this.#find(".figures").textContent = figures.join(" · ");
  }

  #labelButtons() {
    for (const button of this.element.querySelectorAll("button")) {
      const target = button.dataset.action === "copy" ? `to ${this.name}` : this.name;
      button.setAttribute("aria-label", `${button.textContent} ${target}`);
    }
  }

  /** @param {{cancel: boolean, retry: boolean, remove: boolean}} visible */
  #showButtons(visible) {
    const focused = document.activeElement;
    for (const [action, isVisible] of Object.entries(visible)) {
      this.#find(`[data-action="${action}"]`).hidden = !isVisible;
    }
    if (this.element.contains(focused) && !focused?.checkVisibility()) this.focus();
  }

  /** @param {number} remaining bytes */
  #speedFigures(remaining) {
    const { bytesPerSecond } = this.#rate;
    if (bytesPerSecond === null) return [];
    return [`${formatBytes(Math.round(bytesPerSecond))}/s`, `${formatDuration(remaining / bytesPerSecond)} left`];
  }

  /** @param {MouseEvent} event @param {Actions} actions */
  #onClick(event, actions) {
    const button = /** @type {Element} */ (event.target).closest("button");
    if (!button) return;
    if (button.dataset.action === "copy") this.#copy(button).then((copied) => copied && actions.copied?.());
    else actions[/** @type {keyof Actions} */ (button.dataset.action)]?.();
  }

  /** @param {HTMLButtonElement} button */
  async #copy(button) {
    const link = /** @type {HTMLAnchorElement} */ (this.#find(".link a"));
    try {
      await navigator.clipboard.writeText(link.href);
      button.textContent = "Copied";
      return true;
    } catch {
      // Without permission or https the page cannot copy. The user can copy the selected link.
      getSelection()?.selectAllChildren(link);
      button.textContent = "Selected";
      return false;
    } finally {
      setTimeout(() => (button.textContent = "Copy link"), 2000);
    }
  }

  /** @param {string | null} url */
  #showLink(url) {
    const safe = url !== null && /^https?:/i.test(url);
    const link = /** @type {HTMLAnchorElement} */ (this.#find(".link a"));
    this.#find(".link").hidden = !safe;
    this.#find(".private").hidden = safe;
    if (!safe) return;
    link.href = url;
    link.textContent = url;
  }

  /**
   * Show the stored picture. A private object cannot be read, so its preview is the chosen file.
   * @param {import("../client/upload.js").UploadResult} stored
   */
  #showPreview({ object_url, type }) {
    if (!/^image\/(?!svg)/.test(type)) return;
    const image = /** @type {HTMLImageElement} */ (this.#find(".preview"));
    const localUrl = object_url === null ? URL.createObjectURL(this.#file) : null;
    image.alt = `Preview of ${this.name}`;
    image.onload = () => {
      image.hidden = false;
      if (localUrl) URL.revokeObjectURL(localUrl);
    };
    image.src = object_url ?? localUrl ?? "";
  }
}

/** @param {string} rule @param {string} enforcer */
function ruleElements(rule, enforcer) {
  const term = document.createElement("dt");
  term.textContent = RULE_TEXTS[rule] ?? rule;
  const description = document.createElement("dd");
  description.textContent = ENFORCER_TEXTS[enforcer] ?? enforcer;
  return [term, description];
}
