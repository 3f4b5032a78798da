/** Elements of the page: find one, make one, and show the buttons that make sense. */

/** @param {string} id of an element that is in the page */
export function $(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {string} tag @param {string} text */
export function element(tag, text) {
  const made = document.createElement(tag);
  made.textContent = text;
  return made;
}

/**
 * Show some buttons and hide the others. When the focused one disappears, its counterpart takes the focus; any other
 * button must not be pressed by mistake, so without a counterpart `fallback` takes it.
 * @param {Record<string, boolean>} visible by name
 * @param {(name: string) => HTMLElement} find returns the button of a name
 * @param {Map<string, string>} counterparts
 * @param {HTMLElement} fallback
 */
export function showButtons(visible, find, counterparts, fallback) {
  const focused = document.activeElement;
  for (const [name, isVisible] of Object.entries(visible)) find(name).hidden = !isVisible;
  const lost = Object.keys(visible).find((name) => !visible[name] && find(name) === focused);
  if (lost === undefined) return;
  const counterpart = counterparts.get(lost) ?? "";
  (visible[counterpart] ? find(counterpart) : fallback).focus();
}
