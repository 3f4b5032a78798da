/** What the demo proves: the server gets no byte of a file, a ticket soon expires, and somebody enforces each rule. */

import { formatBytes, formatDuration, shortenName } from "../client/index.js";
import { $ } from "./dom.js";
import { revealHidden } from "./names.js";
import { expiryText, goesThroughServer, ruleElements, targetText, timeLeft } from "./tickets.js";

/**
 * @typedef {import("../client/index.js").Ticket} Ticket
 * @typedef {import("../client/index.js").UploadItem} UploadItem
 */

const TICK_MS = 500;

export class Proof {
  #api;
  #sentBytes;
  #requests = 0;
  #requestBytes = 0;
  #forwarded = 0;
  /** With the name of its file. @type {{ticket: Ticket, name: string} | null} */
  #newest = null;
  /** @type {Ticket | null} */
  #shown = null;

  /**
   * @param {string} api URL of the application's server
   * @param {() => number} sentBytes returns the bytes of files that left this browser
   */
  constructor(api, sentBytes) {
    this.#api = api;
    this.#sentBytes = sentBytes;
    setInterval(() => this.#show(), TICK_MS);
  }

  /** Send a request to the server, and count it. @type {typeof fetch} */
  fetch = (input, init) => {
    this.#requests += 1;
    this.#requestBytes += new TextEncoder().encode(String(init?.body ?? "")).length;
    return fetch(input, init);
  };

  /** @param {UploadItem} item with a ticket that just arrived */
  addTicket({ ticket, file }) {
    if (ticket === null) return;
    if (goesThroughServer(ticket, this.#api)) this.#forwarded += file.size;
    this.#newest = { ticket, name: file.name ?? "" };
    if (this.#shown === null) this.#show();
  }

  #show() {
    $("proof-sent").textContent = formatBytes(this.#sentBytes());
    for (const id of ["proof-forwarded", "proof-line-forwarded"]) $(id).textContent = formatBytes(this.#forwarded);
    if (this.#requests > 0) {
      const requests = this.#requests === 1 ? "1 request" : `${this.#requests} requests`;
      $("proof-requests").textContent = `only ${requests} with ${formatBytes(this.#requestBytes)} of JSON`;
    }
    if (this.#newest) this.#showTicket(this.#newest);
  }

  /** @param {{ticket: Ticket, name: string}} newest */
  #showTicket({ ticket, name }) {
    const { seconds, part } = timeLeft(ticket);
    $("proof-expiry").textContent = expiryText(ticket);
    $("proof-line-expiry").textContent = seconds > 0 ? `${formatDuration(seconds)} left` : "no longer valid";
    $("proof-ticket").dataset.expired = String(seconds === 0);
    $("proof-time").style.setProperty("--part", String(part));
    if (ticket === this.#shown) return;
    this.#shown = ticket;
    $("proof-name").textContent = shortenName(revealHidden(name), 40);
    $("proof-target").textContent = targetText(ticket);
    $("proof-parts").hidden = !ticket.parts;
    $("proof-enforced").replaceChildren(...ruleElements(ticket));
    $("proof-empty").hidden = true;
    $("proof-ticket").hidden = false;
  }
}
