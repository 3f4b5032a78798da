/** What a ticket says, as text: how long it is still valid, who enforces each rule, and where the bytes go. */

import { formatBytes, formatDuration } from "../client/index.js";
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

const MOMENT = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});

/**
 * When each ticket expires, on the clock of performance.now(), so that a wrong system clock does not matter.
 * @type {WeakMap<Ticket, {endMs: number, lifetimeMs: number, goesOn: boolean, isOver?: boolean}>}
 */
const expiries = new WeakMap();

/**
 * Begin the countdown of a ticket that just arrived. For a file in parts, it lasts as long as the upload can go on.
 * @param {Ticket} ticket
 * @param {{previous: Ticket | null, goesOn: boolean}} context the ticket that the file had before, and whether the new
 *   one is of an upload that an earlier page began
 */
export function startCountdown(ticket, { previous, goesOn }) {
  if (expiries.has(ticket)) return;
  const lastMs = Date.parse(ticket.parts?.resumable_until ?? ticket.expires_at);
  // An earlier page's ticket is old, and the file's previous one tells the server's time now.
  const nowMs = Math.max(Date.parse(ticket.now), previous ? Date.parse(previous.now) : 0);
  const lifetimeMs = lastMs - Date.parse(ticket.now);
  expiries.set(ticket, { endMs: performance.now() + lastMs - nowMs, lifetimeMs, goesOn });
}

/**
 * Say whether the upload of a file in parts has ended, because the file is stored or the upload was cancelled. The ticket
 * then allows nothing more, even if its time is not over.
 * @param {Ticket} ticket
 * @param {boolean} isOver
 */
export function markOver(ticket, isOver) {
  const expiry = expiries.get(ticket);
  if (expiry && ticket.parts) expiry.isOver = isOver;
}

/** Say whether an earlier page began the upload. @param {Ticket | null} ticket */
export function goesOn(ticket) {
  return ticket !== null && expiries.get(ticket)?.goesOn === true;
}

/**
 * Return the seconds for which a ticket is still valid, and which part of its lifetime is left.
 * @param {Ticket} ticket
 */
export function timeLeft(ticket) {
  const { endMs, lifetimeMs, isOver } = expiries.get(ticket) ?? { endMs: 0, lifetimeMs: 1 };
  const leftMs = isOver ? 0 : Math.max(0, endMs - performance.now());
  return { seconds: Math.ceil(leftMs / 1000), part: leftMs / lifetimeMs };
}

/** @param {Ticket} ticket */
export function expiryText(ticket) {
  const { seconds } = timeLeft(ticket);
  if (expiries.get(ticket)?.isOver) return "Over: it allows nothing any more";
  if (seconds === 0) return "Expired: it allows nothing any more";
  if (!ticket.parts) return `Expires in ${formatDuration(seconds)}`;
  return `Can go on until ${formatMoment(Date.now() + seconds * 1000)} (${formatDuration(seconds)})`;
}

/** Return a day and a time, in the user's time zone. @param {number} ms since 1970 */
export function formatMoment(ms) {
  return MOMENT.format(ms);
}

/**
 * "PUT to storage.example.com, in 4 parts of 5 MiB"
 * @param {Ticket} ticket
 */
export function targetText(ticket) {
  const { parts } = ticket;
  if (!parts) return `${ticket.method} to ${targetHost(ticket)}`;
  const count = parts.count === 1 ? "1 part" : `${parts.count} parts`;
  return `PUT to ${targetHost(ticket)}, in ${count} of ${formatBytes(parts.part_size)}`;
}

/**
 * "3 of 4 stored, 5 MiB each"
 * @param {import("../client/index.js").UploadItem} item of a file in parts
 */
export function partsText({ ticket, loaded }) {
  if (!ticket?.parts) return "";
  const { count, part_size } = ticket.parts;
  return `${Math.ceil(loaded / part_size)} of ${count} stored, ${formatBytes(part_size)} each`;
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
