/** One upload in the list: shows a state, offers what can be done in it. Everything from outside goes in as text. */

import { extension } from "./content_type.js";
import { tryingAgain } from "./errors.js";
import { Rate } from "./rate.js";
import { bytes, duration, shortened } from "./units.js";

/**
 * @typedef {import("./upload.js").State | "waiting" | "done" | "failed" | "cancelled"} RowState
 * @typedef {"cancel" | "retry" | "remove" | "copied"} Action
 */

/** @type {Record<RowState, string>} */
const WORDS = {
  waiting: "Waiting",
  hashing: "Hashing…",
  asking: "Asking for a ticket…",
  uploading: "Uploading",
  retrying: "Trying again",
  verifying: "Verifying…",
  done: "Stored",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** @type {Record<string, string>} */
const RULES = {
  size: "Size",
  type: "Content type",
  checksum: "Checksum",
  create_only: "No overwriting",
  headers: "Headers and metadata",
};

/** @type {Record<string, string>} */
const PLACES = {
  storage: "by the storage, while it received the file",
  completion: "by the server, after the upload",
};

const SETTLED = new Set(["done", "failed", "cancelled"]);

export class Row {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #countdown;
  #rate = new Rate();

  /**
   * @param {string} name
   * @param {number} size bytes
   * @param {(action: Action) => void} onAction
   */
  constructor(name, size, onAction) {
    const template = /** @type {HTMLTemplateElement} */ (document.getElementById("row"));
    this.element = /** @type {HTMLLIElement} */ (template.content.firstElementChild?.cloneNode(true));
    this.name = name;
    this.#find("bdi").textContent = shortened(name);
    this.#find(".name").title = name;
    this.#find(".badge").textContent = extension(name).slice(0, 4).toUpperCase() || "FILE";
    this.#find(".size").textContent = bytes(size);
    this.#find("progress").setAttribute("aria-label", `Upload of ${name}`);
    this.#nameButtons();
    this.element.addEventListener("click", (event) => this.#clicked(event, onAction));
    this.show("waiting");
  }

  /** @returns {RowState} */
  get state() {
    return /** @type {RowState} */ (this.element.dataset.state);
  }

  get settled() {
    return SETTLED.has(this.state);
  }

  /**
   * @param {RowState} state
   * @param {string} [message] instead of the state's own word
   */
  show(state, message = WORDS[state]) {
    clearInterval(this.#countdown);
    this.element.dataset.state = state;
    this.#say(message);
    this.#count();
    this.#find("progress").hidden = this.settled;
    this.#offer({ cancel: !this.settled, retry: state === "cancelled", remove: this.settled });
  }

  /** @param {{loaded: number, total: number}} progress */
  progress({ loaded, total }) {
    const percent = total ? Math.floor((loaded / total) * 100) : 0;
    this.#bar.value = percent;
    this.#rate.add(loaded, performance.now());
    if (this.state !== "uploading") return;
    if (loaded === total && total > 0) return this.#count("100 %", "waiting for the storage");
    this.#count(`${percent} %`, ...this.#pace(total - loaded));
  }

  /** @param {import("./retry.js").Wait} wait */
  countDown(wait) {
    this.show("retrying", tryingAgain(wait));
    const until = performance.now() + wait.seconds * 1000;
    this.#countdown = setInterval(() => {
      const seconds = Math.max(0, (until - performance.now()) / 1000);
      this.#say(tryingAgain({ ...wait, seconds }));
    }, 500);
  }

  /** @param {string} message @param {boolean} retryable */
  fail(message, retryable) {
    this.show("failed", message);
    this.#offer({ cancel: false, retry: retryable, remove: true });
  }

  /** @param {import("./upload.js").Uploaded} stored */
  finish(stored) {
    this.show("done");
    this.#bar.value = 100;
    this.#find(".size").textContent = `${bytes(stored.size)} · ${stored.type}`;
    this.#showLink(stored.url);
    this.#showPreview(stored);
    this.#find(".enforced").replaceChildren(...Object.entries(stored.enforced ?? {}).flatMap(([rule, place]) => enforcement(rule, place)));
    this.#find(".result").hidden = false;
  }

  /** The row, not a button in it: a key meant for the button that just went must not press another. */
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
  #say(message) {
    this.#find(".message").textContent = message;
  }

  /** @param {...string} figures */
  #count(...figures) {
    this.#find(".figures").textContent = figures.join(" · ");
  }

  #nameButtons() {
    for (const button of this.element.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent} ${button.dataset.action === "copy" ? "to " : ""}${this.name}`);
    }
  }

  /** @param {{cancel: boolean, retry: boolean, remove: boolean}} offers */
  #offer(offers) {
    const focused = document.activeElement;
    for (const [action, offered] of Object.entries(offers)) this.#find(`[data-action="${action}"]`).hidden = !offered;
    if (this.element.contains(focused) && !focused?.checkVisibility()) this.focus();
  }

  /** @param {number} left bytes */
  #pace(left) {
    const { speed } = this.#rate;
    return speed === null ? [] : [`${bytes(Math.round(speed))}/s`, `${duration(left / speed)} left`];
  }

  /** @param {MouseEvent} event @param {(action: Action) => void} onAction */
  #clicked(event, onAction) {
    const button = /** @type {Element} */ (event.target).closest("button");
    if (!button) return;
    if (button.dataset.action === "copy") this.#copy(button).then((copied) => copied && onAction("copied"));
    else onAction(/** @type {Action} */ (button.dataset.action));
  }

  /** @param {HTMLButtonElement} button */
  async #copy(button) {
    const link = /** @type {HTMLAnchorElement} */ (this.#find(".link a"));
    try {
      await navigator.clipboard.writeText(link.href);
      button.textContent = "Copied";
      return true;
    } catch {
      // No permission, or no https: the selected link can be copied by hand.
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

  /** @param {import("./upload.js").Uploaded} stored */
  #showPreview({ url, type }) {
    if (!url || !/^image\/(?!svg)/.test(type)) return;
    const image = /** @type {HTMLImageElement} */ (this.#find(".preview"));
    image.alt = `Preview of ${this.name}`;
    image.onload = () => (image.hidden = false);
    image.src = url;
  }
}

/** @param {string} rule @param {string} place */
function enforcement(rule, place) {
  const term = document.createElement("dt");
  term.textContent = RULES[rule] ?? rule;
  const description = document.createElement("dd");
  description.textContent = PLACES[place] ?? place;
  return [term, description];
}
