/** The states of an upload's life, as a list that fills while the upload goes on. */

/**
 * @typedef {"granted" | "pending" | "stored" | "verified" | "published" | "rejected"} StepName
 * @typedef {[StepName, string]} Step a state, and what it means
 */

/** @type {Record<StepName, string>} */
const NAMES = {
  granted: "Granted",
  pending: "Pending",
  stored: "Stored",
  verified: "Verified",
  published: "Published",
  rejected: "Rejected",
};

/** @type {Step} */
const GRANTED = ["granted", "The server allows this file and signs a ticket for it."];
/** @type {Step} */
const VERIFIED = ["verified", "The server compares the stored file with every rule of the ticket."];
/** @type {Step} */
const REJECTED = ["rejected", "The file is deleted from the storage."];

/** Uploads wait in private until they are verified. @type {Step[]} */
const PENDING_WAY = [
  GRANTED,
  ["pending", "The storage keeps the file in a private place."],
  VERIFIED,
  ["published", "The storage copies the verified file to its final place."],
];

/** Uploads go straight to their final place. @type {Step[]} */
const STRAIGHT_WAY = [
  GRANTED,
  ["stored", "The storage keeps the file in its final place, before it is verified."],
  VERIFIED,
];

const TICKET_STEPS = 1;
const STORED_STEPS = 2;

/** Each step is one of these: `data-progress` for the style sheet, and a text for screen readers. */
const PROGRESS_TEXTS = { done: "done", current: "in progress", open: "not yet", failed: "" };

export class Life {
  #list;
  #steps;
  #done = 0;
  #active = true;
  #rejected = false;

  /** @param {HTMLElement} list an empty `<ol>` @param {boolean} hasPendingPlace */
  constructor(list, hasPendingPlace) {
    this.#list = list;
    this.#steps = hasPendingPlace ? PENDING_WAY : STRAIGHT_WAY;
    this.#show();
  }

  /** The server gave a ticket. A second ticket replaces the first, and begins again. */
  grant() {
    this.#done = TICKET_STEPS;
    this.#show();
  }

  /** The storage has the file. */
  store() {
    this.#done = Math.max(this.#done, STORED_STEPS);
    this.#show();
  }

  /** The upload is complete. */
  finish() {
    this.#done = this.#steps.length;
    this.#active = false;
    this.#show();
  }

  /** The upload goes on no longer. @param {{rejected: boolean}} outcome */
  stop({ rejected }) {
    this.#active = false;
    this.#rejected = rejected;
    this.#show();
  }

  #show() {
    const shown = this.#rejected ? [...this.#steps.slice(0, this.#done), REJECTED] : this.#steps;
    this.#list.replaceChildren(...shown.map((step, index) => this.#element(step, index)));
  }

  /** @param {Step} step @param {number} index */
  #element([name, text], index) {
    const item = document.createElement("li");
    const progress = this.#progress(name, index);
    item.dataset.step = name;
    item.dataset.progress = progress;
    if (progress === "current") item.setAttribute("aria-current", "step");
    item.append(element("strong", NAMES[name]), " ", element("span", text));
    if (PROGRESS_TEXTS[progress]) {
      const spoken = element("span", `(${PROGRESS_TEXTS[progress]})`);
      spoken.className = "visually-hidden";
      item.append(" ", spoken);
    }
    return item;
  }

  /** @param {StepName} name @param {number} index @returns {keyof typeof PROGRESS_TEXTS} */
  #progress(name, index) {
    if (name === "rejected") return "failed";
    if (index < this.#done) return "done";
    return this.#active && index === this.#done ? "current" : "open";
  }
}

/** @param {string} tag @param {string} text */
function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}
