/** Uploads that an earlier page began: offer to go on with them, or to end them. */

import { formatBytes, shortenName } from "../client/index.js";
import { discardUpload, statusOf, unfinishedUploads } from "../client/resume.js";
import { $ } from "./dom.js";
import { revealHidden } from "./names.js";
import { formatMoment } from "./tickets.js";

/**
 * @typedef {import("../client/resume.js").UnfinishedUpload} UnfinishedUpload
 *
 * @typedef {object} Actions
 * @property {typeof fetch} fetch sends the requests to the server
 * @property {(file: File, upload: UnfinishedUpload) => void} onFile the user chose the upload's file again
 * @property {(sentence: string) => void} say to a screen reader
 * @property {() => void} focusElsewhere called when the section that had the focus disappears
 */

const input = /** @type {HTMLInputElement} */ ($("again"));
const template = /** @type {HTMLTemplateElement} */ ($("unfinished-upload"));

export class Unfinished {
  #api;
  #actions;
  #isHidden = false;
  /** By token, those that are shown. @type {Map<string, HTMLElement>} */
  #rows = new Map();
  /** The tokens of those that are being discarded, so that a double click does no harm. @type {Set<string>} */
  #discarded = new Set();
  /** What the user is asked to choose. @type {UnfinishedUpload | null} */
  #wanted = null;
  /** @type {Promise<void>} */
  #turn = Promise.resolve();

  /** @param {string} api URL of the application's server @param {Actions} actions */
  constructor(api, actions) {
    this.#api = new URL(api, location.href).href.replace(/\/+$/, "");
    this.#actions = actions;
    input.addEventListener("change", () => this.#onChange());
    $("unfinished-hide").addEventListener("click", () => this.#hide());
    // Another tab began an upload, or ended one.
    window.addEventListener("storage", () => this.refresh());
    this.refresh();
  }

  /** Show what is unfinished now. */
  refresh() {
    // Where the browser gives the page no localStorage, nothing is remembered.
    this.#turn = this.#turn.then(() => this.#refresh()).catch(() => {});
  }

  async #refresh() {
    const uploads = (await unfinishedUploads()).filter(({ api }) => api === this.#api);
    const tokens = new Set(uploads.map(({ ticket }) => ticket.token));
    const gone = [...this.#rows.keys()].filter((token) => !tokens.has(token));
    for (const token of gone) this.#remove(token);
    const added = uploads.filter(({ ticket }) => !this.#rows.has(ticket.token));
    const { fetch } = this.#actions;
    const statuses = await Promise.all(added.map((upload) => statusOf(upload, { fetch })));
    added.forEach((upload, index) => {
      if (!statuses[index].hasEnded) this.#add(upload, statuses[index].stored);
    });
    this.#show();
  }

  #show() {
    $("unfinished").hidden = this.#isHidden || this.#rows.size === 0;
  }

  #hide() {
    this.#isHidden = true;
    this.#showNotice("");
    this.#show();
    this.#actions.focusElsewhere();
  }

  /** @param {UnfinishedUpload} upload @param {number | null} stored in bytes */
  #add(upload, stored) {
    const row = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    const find = (/** @type {string} */ name) => /** @type {HTMLElement} */ (row.querySelector(name));
    const name = revealHidden(upload.name);
    const size = formatBytes(upload.size);
    find("bdi").textContent = shortenName(name, 56);
    find(".name").title = name;
    find(".stored").textContent = stored === null ? size : `${formatBytes(stored)} of ${size} stored`;
    find(".until").textContent = `Can go on until ${formatMoment(upload.until)}`;
    for (const button of row.querySelectorAll("button")) {
      button.setAttribute("aria-label", `${button.textContent?.trim()}: ${name}`);
    }
    find('[data-action="again"]').addEventListener("click", () => this.#ask(upload));
    find('[data-action="discard"]').addEventListener("click", () => this.#discard(upload));
    this.#rows.set(upload.ticket.token, row);
    $("unfinished-rows").append(row);
  }

  /** @param {string} token */
  #remove(token) {
    const row = this.#rows.get(token);
    if (!row) return;
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    const isFocused = row.contains(document.activeElement);
    row.remove();
    this.#rows.delete(token);
    this.#showNotice("");
    this.#show();
    if (!isFocused) return;
    const next = /** @type {HTMLElement | null | undefined} */ (neighbour?.querySelector("button"));
    if (next) next.focus();
    else this.#actions.focusElsewhere();
  }

  /** @param {UnfinishedUpload} upload */
  #ask(upload) {
    this.#wanted = upload;
    this.#showNotice("");
    input.click();
  }

  #onChange() {
    const [file] = input.files ?? [];
    // The browser reports no change when the same file is chosen again, unless the input is empty before.
    input.value = "";
    if (!file || !this.#wanted) return;
    const difference = differenceOf(file, this.#wanted);
    if (difference) this.#showNotice(difference);
    else this.#actions.onFile(file, this.#wanted);
  }

  /** @param {UnfinishedUpload} upload */
  async #discard(upload) {
    const { token } = upload.ticket;
    if (this.#discarded.has(token)) return;
    this.#discarded.add(token);
    const name = `“${revealHidden(shortenName(upload.name))}”`;
    const outcome = await discardUpload(upload, { fetch: this.#actions.fetch });
    this.#discarded.delete(token);
    if (outcome === "busy") return this.#showNotice(`Another tab goes on with ${name}. Cancel the upload there.`);
    this.#remove(token);
    this.#actions.say(`The unfinished upload of ${name} is discarded.`);
    if (outcome === "aborted") return;
    const date = formatMoment(upload.until);
    this.#showNotice(`${name} is forgotten here. The server did not answer, so its parts stay stored until ${date}.`);
  }

  /** @param {string} text "" for none */
  #showNotice(text) {
    $("unfinished-notice").textContent = text;
    $("unfinished-notice").hidden = text === "";
  }
}

/**
 * Say why a file is not the one of an upload; "" if it can be.
 * @param {File} file
 * @param {UnfinishedUpload} upload
 */
function differenceOf(file, upload) {
  const [chosen, wanted] = [file, upload].map(({ name }) => `“${revealHidden(shortenName(name))}”`);
  const size = formatBytes(upload.size);
  if (file.name !== upload.name) return `${chosen} is another file. Choose ${wanted} with ${size}, or discard its upload.`;
  if (file.size === upload.size && file.lastModified === upload.lastModified) return "";
  const reason = file.size === upload.size ? "was changed" : `had ${size}, and has ${formatBytes(file.size)} now`;
  return `${wanted} ${reason} since its upload began. Discard this upload, and choose the file as a new one.`;
}
