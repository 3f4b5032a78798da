/** The states of an upload's life, as a list that fills while the upload goes on. */

import { element } from "./dom.js";

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

/** How many states are reached when the server gave a ticket, when the storage has the file, and at the end. */
export const TICKET_STEPS = 1;
export const STORED_STEPS = 2;
export const ALL_STEPS = 4;

/** Each step is one of these: `data-progress` for the style sheet, and a text for screen readers. */
const PROGRESS_TEXTS = { done: "done", current: "in progress", open: "not yet", failed: "" };

/**
 * @typedef {object} LifeState
 * @property {boolean} hasPendingPlace
 * @property {number} done how many states are reached
 * @property {boolean} isActive whether the upload goes on
 * @property {boolean} isRejected
 */

/**
 * Show the states in a list.
 * @param {HTMLElement} list an `<ol>`
 * @param {LifeState} life
 */
export function showLife(list, life) {
  const steps = life.hasPendingPlace ? PENDING_WAY : STRAIGHT_WAY;
  const shown = life.isRejected ? [...steps.slice(0, life.done), REJECTED] : steps;
  list.replaceChildren(...shown.map((step, index) => stepElement(step, index, life)));
}

/** @param {Step} step @param {number} index @param {LifeState} life */
function stepElement([name, text], index, life) {
  const item = document.createElement("li");
  const progress = progressOf(name, index, life);
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

/** @param {StepName} name @param {number} index @param {LifeState} life @returns {keyof typeof PROGRESS_TEXTS} */
function progressOf(name, index, { done, isActive }) {
  if (name === "rejected") return "failed";
  if (index < done) return "done";
  return isActive && index === done ? "current" : "open";
}
