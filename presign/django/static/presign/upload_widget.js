/**
 * The script of the form widget: it uploads the chosen file, and puts the token into the form.
 *
 * It listens on the document, so it serves widgets that a formset, the admin or another script adds later.
 */

import { describeRetry, formatBytes, store, UploadError } from "./client/index.js";

/** The upload of each widget that is running. @type {Map<HTMLElement, AbortController>} */
const running = new Map();

/** The buttons that are disabled until a form's uploads end. @type {Map<HTMLFormElement, HTMLButtonElement[]>} */
const disabledButtons = new Map();

document.addEventListener("change", (event) => {
  const input = event.target;
  if (input instanceof HTMLInputElement && input.matches("[data-presign-file]")) start(widgetOf(input));
});

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-presign-action]");
  if (!button) return;
  const widget = widgetOf(button);
  const controller = running.get(widget);
  if (controller) controller.abort();
  else start(widget);
});

// A form can be sent without a button: with the Enter key, or by a script.
document.addEventListener(
  "submit",
  (event) => {
    if (!runningIn(event.target)) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true,
);

/** @param {Element} element @returns {HTMLElement} */
function widgetOf(element) {
  return element.closest("[data-presign-upload]");
}

/** @param {HTMLElement} widget */
function partsOf(widget) {
  const part = (name) => widget.querySelector(`[data-presign-${name}]`);
  return {
    token: part("token"),
    input: part("file"),
    progress: part("progress"),
    action: part("action"),
    status: part("status"),
  };
}

/** @param {HTMLElement} widget */
async function start(widget) {
  running.get(widget)?.abort();
  const { token, input } = partsOf(widget);
  const [file] = input.files;
  // The token of an earlier choice must not be sent for this one.
  token.value = "";
  input.setCustomValidity("");
  if (!file) {
    show(widget, "empty", "");
    updateButtons(input.form);
    return;
  }
  const controller = new AbortController();
  running.set(widget, controller);
  updateButtons(input.form);
  try {
    const ticket = await storeFile(widget, file, controller.signal);
    if (running.get(widget) === controller) {
      token.value = ticket.token;
      show(widget, "stored", `${widget.dataset.textStored}: ${file.name} (${formatBytes(file.size)})`);
    }
  } catch (error) {
    if (running.get(widget) === controller) {
      if (controller.signal.aborted) {
        input.value = "";
        show(widget, "empty", widget.dataset.textCancelled);
      } else {
        show(widget, "failed", error.message, error instanceof UploadError && error.retryable);
        // Otherwise a form whose field is optional would be sent without the file.
        input.setCustomValidity(error.message);
      }
    }
  } finally {
    if (running.get(widget) === controller) running.delete(widget);
    updateButtons(input.form);
  }
}

/** @param {HTMLElement} widget @param {File} file @param {AbortSignal} signal */
function storeFile(widget, file, signal) {
  const { api, csrfHeader, textUploading } = widget.dataset;
  const { input, progress, status } = partsOf(widget);
  const text = `${textUploading}: ${file.name} (${formatBytes(file.size)})`;
  show(widget, "uploading", text);
  progress.value = 0;
  return store(file, {
    api,
    signal,
    headers: () => ({ [csrfHeader]: csrfToken(input.form) }),
    onState: (state, wait) => {
      if (!signal.aborted) status.textContent = state === "retrying" ? describeRetry(wait) : text;
    },
    onProgress: ({ loaded, total }) => {
      if (!signal.aborted) progress.value = total ? loaded / total : 0;
    },
  });
}

/**
 * Show a state: "empty", "uploading", "stored" or "failed".
 * @param {HTMLElement} widget @param {string} state @param {string} text
 * @param {boolean} [canRetry] whether the same file may be accepted later
 */
function show(widget, state, text, canRetry = false) {
  const { input, progress, action, status } = partsOf(widget);
  const hadFocus = action === document.activeElement;
  widget.dataset.state = state;
  progress.hidden = state !== "uploading";
  action.hidden = state !== "uploading" && !canRetry;
  action.textContent = canRetry ? widget.dataset.textRetry : widget.dataset.textCancel;
  status.textContent = text;
  // The focus would go to the page's beginning together with the button.
  if (hadFocus && action.hidden) input.focus();
}

/** The cookie may be closed to scripts (CSRF_COOKIE_HTTPONLY, CSRF_USE_SESSIONS); the form has the token as well. */
function csrfToken(form) {
  const input = form?.elements.namedItem("csrfmiddlewaretoken") ?? document.querySelector("[name=csrfmiddlewaretoken]");
  return input instanceof HTMLInputElement ? input.value : "";
}

function runningIn(form) {
  return [...running.keys()].some((widget) => partsOf(widget).input.form === form);
}

/** Disable the buttons that send a form while a file of it is uploaded, and enable them after that. */
function updateButtons(form) {
  if (!form) return;
  if (runningIn(form)) {
    if (disabledButtons.has(form)) return;
    const buttons = [...form.elements].filter((each) => ["submit", "image"].includes(each.type) && !each.disabled);
    for (const button of buttons) button.disabled = true;
    disabledButtons.set(form, buttons);
  } else {
    for (const button of disabledButtons.get(form) ?? []) button.disabled = false;
    disabledButtons.delete(form);
  }
}

// Somebody can choose a file before this script is loaded, and some browsers keep the chosen file when a page is reloaded.
for (const input of document.querySelectorAll("[data-presign-file]")) {
  if (input.files.length) start(widgetOf(input));
}
