/** What a ticket says, as text: how long it is still valid, who enforces each rule, and where the bytes go. */

import { formatDuration } from "../client/index.js";
import { element } from "./dom.js";

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
 * Return the terms and descriptions of a list: who refuses a file, and the rules that it then breaks.
 * @param {Ticket} ticket
 */
export function ruleElements({ enforced }) {
  const rules = Object.entries(enforced ?? {});
  return [...new Set(rules.map(([, enforcer]) => enforcer))].flatMap((enforcer) => {
    const itsRules = rules.filter(([, itsEnforcer]) => itsEnforcer === enforcer);
    const texts = itsRules.map(([rule]) => element("dd", RULE_TEXTS[rule] ?? rule));
    return [element("dt", ENFORCER_TEXTS[enforcer] ?? enforcer), ...texts];
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
