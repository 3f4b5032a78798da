/** What happens to one file: the states of its upload, who enforces each rule, and what its ticket says. */

import { ALL_STEPS, showLife, STORED_STEPS, TICKET_STEPS } from "./life.js";
import { expiryText, goesThroughServer, partsText, ruleElements, targetHost } from "./tickets.js";

/**
 * @typedef {import("../client/index.js").Ticket} Ticket
 * @typedef {import("../client/index.js").UploadItem} UploadItem
 */

const STORED_STATES = new Set(["verifying", "inspecting"]);
const ACTIVE_STATES = new Set(["hashing", "requesting", "uploading", "retrying", "offline", ...STORED_STATES]);

/** The server's codes for a file that it deleted. */
const REJECTIONS = new Set(["rule_violated", "rejected"]);

export class Details {
  #element;
  #options;
  /** @type {Ticket | null} */
  #ticket = null;
  #steps = 0;
  #shownLife = "";

  /**
   * @param {HTMLDetailsElement} element hidden until the upload begins
   * @param {{api: string, hasPendingPlace: boolean}} options
   */
  constructor(element, options) {
    this.#element = element;
    this.#options = options;
    element.addEventListener("toggle", () => this.#onToggle());
  }

  get isOpen() {
    return this.#element.open;
  }

  /** @param {UploadItem} item the same file, later */
  update(item) {
    if (item.ticket === null && !ACTIVE_STATES.has(item.state)) return;
    this.#element.hidden = false;
    const isRejected = item.state === "failed" && REJECTIONS.has(item.error?.code ?? "");
    this.#countSteps(item, isRejected);
    if (item.ticket && item.ticket !== this.#ticket) this.#showTicket(item.ticket, item.file.size);
    this.tick();
    const parts = partsText(item);
    if (parts) this.#find(".parts").textContent = parts;
    const life = {
      hasPendingPlace: this.#options.hasPendingPlace,
      done: this.#steps,
      isActive: ACTIVE_STATES.has(item.state) || item.state === "waiting",
      isRejected,
    };
    const shown = JSON.stringify(life);
    if (shown !== this.#shownLife) showLife(this.#find(".life"), life);
    this.#shownLife = shown;
  }

  /** Show the time that has passed. */
  tick() {
    if (this.#ticket && this.isOpen) this.#find(".expiry").textContent = expiryText(this.#ticket);
  }

  /** @param {string} url of the stored object */
  showAddress(url) {
    this.#find(".address").textContent = url;
    for (const name of [".address", ".address-term"]) this.#find(name).hidden = false;
  }

  selectAddress() {
    this.#element.open = true;
    getSelection()?.selectAllChildren(this.#find(".address"));
  }

  /** @param {string} selector */
  #find(selector) {
    return /** @type {HTMLElement} */ (this.#element.querySelector(selector));
  }

  /** @param {UploadItem} item @param {boolean} isRejected */
  #countSteps({ state, ticket, loaded, file }, isRejected) {
    // The uploader keeps the bytes of a file that waits or was stopped only if they are stored.
    const isStored = loaded > 0 && loaded === file.size;
    const isKept = isStored && (state === "waiting" || state === "paused" || state === "cancelled");
    if (state === "done") this.#steps = ALL_STEPS;
    else if (STORED_STATES.has(state) || isRejected || isKept) this.#steps = STORED_STEPS;
    else if (state === "waiting" || state === "requesting" || state === "hashing") this.#steps = 0;
    else if (state === "uploading" || ticket !== this.#ticket) this.#steps = TICKET_STEPS;
  }

  /** @param {Ticket} ticket @param {number} size of the file, in bytes */
  #showTicket(ticket, size) {
    this.#ticket = ticket;
    this.#find(".enforced").replaceChildren(...ruleElements(ticket));
    this.#find(".expiry").textContent = expiryText(ticket);
    this.#find(".target").textContent = targetHost(ticket);
    this.#find(".key").textContent = ticket.key;
    for (const name of [".parts", ".parts-term"]) this.#find(name).hidden = !ticket.parts;
    this.#find(".forwarded").textContent = goesThroughServer(ticket, this.#options.api) ? String(size) : "0";
    this.#find(".facts").hidden = false;
  }

  #onToggle() {
    this.tick();
    if (this.isOpen) this.#element.closest("li")?.scrollIntoView({ block: "nearest" });
  }
}
