/** All files at once: how far they are, how fast they go, and the buttons that act on all of them. */

import { formatBytes, formatDuration } from "../client/index.js";
import { $, element, showButtons } from "./dom.js";
import { Rate } from "./rate.js";
import { percentOf, showBar } from "./row.js";

/**
 * @typedef {import("../client/index.js").Uploader} Uploader
 * @typedef {import("../client/index.js").UploadItem} UploadItem
 * @typedef {import("../client/index.js").Totals} FileTotals
 */

/** Each takes the focus of the other. */
const COUNTERPARTS = new Map([
  ["pause-all", "resume-all"],
  ["resume-all", "pause-all"],
]);

export class Totals {
  #uploader;
  #rate = new Rate();
  /** Bytes that left this browser, those of broken attempts included. */
  #sent = 0;
  /** @type {Map<number, UploadItem>} */
  #previous = new Map();

  /** @param {Uploader} uploader */
  constructor(uploader) {
    this.#uploader = uploader;
    uploader.on("change", (item) => this.#count(item));
    uploader.on("remove", ({ id }) => this.#previous.delete(id));
  }

  /** Bytes of files that were sent since the page was opened. */
  get sent() {
    return this.#sent;
  }

  /** Show how all files stand at this moment. */
  show() {
    const { totals, items } = this.#uploader;
    const active = totals.running + totals.waiting;
    if (totals.running === 0) this.#rate.reset();
    else this.#rate.add(this.#sent, performance.now());
    $("uploads").hidden = items.length === 0;
    $("steps").hidden = items.length > 0;
    document.body.classList.toggle("has-files", items.length > 0);
    const bar = /** @type {HTMLProgressElement} */ ($("total-progress"));
    const { loaded, total } = totals;
    const sent = loaded + inFlight(items);
    showBar(bar, percentOf(loaded, total), percentOf(sent, total));
    $("totals").replaceChildren(...parts(totals).map(([kind, text]) => part(kind, text)));
    $("total-figures").textContent = this.#figures(totals, sent).join(" · ");
    const several = items.length > 1;
    const visible = {
      "pause-all": several && active > 0,
      "resume-all": several && totals.paused > 0,
      "cancel-all": several && active + totals.paused > 0,
      "retry-all": several && items.some(({ state, error }) => state === "failed" && error?.retryable === true),
      clear: several && totals.done + totals.cancelled > 0,
    };
    showButtons(visible, $, COUNTERPARTS, $("uploads-title"));
  }

  /** @param {FileTotals} totals @param {number} sent bytes @returns {string[]} */
  #figures({ loaded, total, running }, sent) {
    const { bytesPerSecond } = this.#rate;
    const size = loaded === total ? formatBytes(total) : `${formatBytes(loaded)} of ${formatBytes(total)}`;
    if (running === 0 || bytesPerSecond === null) return total ? [size] : [];
    const rate = `${formatBytes(Math.round(bytesPerSecond))}/s`;
    return loaded === total ? [size, rate] : [size, rate, `${formatDuration((total - sent) / bytesPerSecond)} left`];
  }

  /** @param {UploadItem} item */
  #count(item) {
    const previous = this.#previous.get(item.id);
    this.#previous.set(item.id, item);
    if (item.state !== "uploading" || !previous) return;
    const loaded = Math.max(0, item.loaded - previous.loaded);
    // Of a file in parts, more is stored without being sent only if an earlier run has sent it.
    this.#sent += item.ticket?.parts ? Math.max(0, item.sent - previous.sent - loaded) : loaded;
  }
}

/** The bytes of parts that were sent and are not confirmed. @param {readonly UploadItem[]} items */
function inFlight(items) {
  return items.reduce((bytes, { state, sent, loaded }) => (state === "uploading" ? bytes + sent - loaded : bytes), 0);
}

/**
 * "3 of 6 stored, 1 failed"
 * @param {FileTotals} totals
 */
export function describeFiles(totals) {
  return parts(totals)
    .map(([, text]) => text)
    .join(", ");
}

/** @param {FileTotals} totals */
function parts({ waiting, running, paused, done, failed, cancelled }) {
  const all = waiting + running + paused + done + failed + cancelled;
  const others = Object.entries({ failed, paused, cancelled }).filter(([, count]) => count > 0);
  return [["stored", `${done} of ${all} stored`], ...others.map(([kind, count]) => [kind, `${count} ${kind}`])];
}

/** @param {string} kind @param {string} text */
function part(kind, text) {
  const span = element("span", text);
  span.dataset.kind = kind;
  return span;
}
