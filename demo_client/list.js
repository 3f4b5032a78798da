/** The list of files: a row for each, drawn in short pieces, so that the page stays fluent with hundreds of files. */

import { Row } from "./row.js";

/** @typedef {import("../client/index.js").UploadItem} UploadItem */

/** A frame at 60 frames per second has 16 ms, and the browser needs some of them for layout. */
const FRAME_BUDGET_MS = 8;
/** After a longer silence, a change is drawn at once. */
const SILENCE_MS = 40;
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
  #drawnAtMs = 0;

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

  /** Draw the file at once, or in one of the next frames if much changes. @param {UploadItem} item */
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
    if (row) {
      const neighbour = row.element.nextElementSibling ?? row.element.previousElementSibling;
      const isFocused = row.element.contains(document.activeElement);
      row.remove();
      if (isFocused) (/** @type {HTMLElement | null} */ (neighbour) ?? fallback).focus();
    }
    this.#schedule();
  }

  #schedule() {
    if (this.#isScheduled) return;
    if (performance.now() > this.#drawnAtMs + SILENCE_MS) return this.#draw();
    this.#isScheduled = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#isScheduled = false;
    this.#drawnAtMs = performance.now();
    const endMs = this.#drawnAtMs + FRAME_BUDGET_MS;
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
