/** The list of files: a row for each, drawn in short pieces, so that the page stays fluent with hundreds of files. */

import { Row } from "./row.js";

/** @typedef {import("../client/index.js").UploadItem} UploadItem */

/** A frame at 60 frames per second has 16 ms, and the browser needs some of them for layout. */
const FRAME_BUDGET_MS = 8;
const TICK_MS = 500;

export class FileList {
  #list;
  #optionsOf;
  #onDrawn;
  /** @type {Map<number, Row>} */
  #rows = new Map();
  /** What has changed since it was drawn. @type {Map<number, UploadItem>} */
  #changed = new Map();
  #isScheduled = false;

  /**
   * @param {HTMLElement} list
   * @param {(item: UploadItem) => import("./row.js").RowOptions} optionsOf
   * @param {() => void} onDrawn called after rows were drawn
   */
  constructor(list, optionsOf, onDrawn) {
    this.#list = list;
    this.#optionsOf = optionsOf;
    this.#onDrawn = onDrawn;
    setInterval(() => this.#tick(), TICK_MS);
  }

  /** Draw the file in one of the next frames. @param {UploadItem} item */
  change(item) {
    this.#changed.set(item.id, item);
    this.#schedule();
  }

  /**
   * @param {UploadItem} item
   * @param {HTMLElement} fallback gets the focus if it was in the row and no other row is left
   */
  remove({ id }, fallback) {
    const row = this.#rows.get(id);
    this.#changed.delete(id);
    this.#rows.delete(id);
    this.#schedule();
    if (!row) return;
    const neighbour = row.element.nextElementSibling ?? row.element.previousElementSibling;
    const isFocused = row.element.contains(document.activeElement);
    row.remove();
    if (isFocused) (/** @type {HTMLElement | null} */ (neighbour) ?? fallback).focus();
  }

  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#isScheduled = false;
    const endMs = performance.now() + FRAME_BUDGET_MS;
    for (const [id, item] of this.#changed) {
      this.#changed.delete(id);
      this.#drawRow(item);
      if (performance.now() > endMs) break;
    }
    if (this.#changed.size > 0) this.#schedule();
    this.#onDrawn();
  }

  /** @param {UploadItem} item */
  #drawRow(item) {
    const row = this.#rows.get(item.id) ?? new Row(item, this.#optionsOf(item));
    row.update(item);
    if (this.#rows.has(item.id)) return;
    this.#rows.set(item.id, row);
    this.#list.append(row.element);
    row.watch();
  }

  #tick() {
    const ticking = [...this.#rows.values()].filter(({ isTicking }) => isTicking);
    for (const row of ticking) row.tick();
    if (ticking.length > 0) this.#onDrawn();
  }
}
