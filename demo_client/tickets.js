/** What a ticket says, as text: how long it is still valid, who enforces each rule, and where the bytes go. */

import { formatDuration } from "../client/index.js";

/** @typedef {import("../client/index.js").Ticket} Ticket */

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

/** When each ticket expires, on the clock of performance.now(), so that a wrong system clock does not matter. */
const expiries = new WeakMap();

/** Begin the countdown of a ticket that just arrived. @param {Ticket} ticket */
export function startCountdown(ticket) {
  const lifetimeMs = Date.parse(ticket.expires_at) - Date.parse(ticket.now);
  if (!expiries.has(ticket)) expiries.set(ticket, { endMs: performance.now() + lifetimeMs, lifetimeMs });
}

/**
 * Return the seconds for which a ticket is still valid, and which part of its lifetime is left.
 * @param {Ticket} ticket
 */
export function timeLeft(ticket) {
  const { endMs, lifetimeMs } = expiries.get(ticket) ?? { endMs: 0, lifetimeMs: 1 };
  const leftMs = Math.max(0, endMs - performance.now());
  return { seconds: Math.ceil(leftMs / 1000), part: leftMs / lifetimeMs };
}

/** @param {Ticket} ticket */
export function expiryText(ticket) {
  const { seconds } = timeLeft(ticket);
  return seconds > 0 ? `Expires in ${formatDuration(seconds)}` : "Expired: it allows nothing any more";
}

/**
 * Return the terms and descriptions of a list: each rule, and who refuses a file that breaks it.
 * @param {Ticket} ticket
 */
export function ruleElements({ enforced }) {
  return Object.entries(enforced ?? {}).flatMap(([rule, enforcer]) => {
    const term = document.createElement("dt");
    term.textContent = RULE_TEXTS[rule] ?? rule;
    const description = document.createElement("dd");
    description.textContent = ENFORCER_TEXTS[enforcer] ?? enforcer;
    description.dataset.enforcer = enforcer;
    return [term, description];
  });
}

/** @param {Ticket} ticket */
export function targetHost(ticket) {
  return new URL(ticket.url).host;
}

/**
 * Say whether the ticket sends the file to the application's server, and not straight to a storage.
 * @param {Ticket} ticket
 * @param {string} api URL of the application's server
 */
export function goesThroughServer(ticket, api) {
  return new URL(ticket.url).origin === new URL(api, location.href).origin;
}
