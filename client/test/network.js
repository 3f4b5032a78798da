/** What a browser says of its network: `navigator.onLine`, and the event "online". Node.js has neither. */

/**
 * @param {import("node:test").TestContext} test after which the browser is gone
 * @param {boolean} isOnline
 */
export function setOnline(test, isOnline) {
  const page = new EventTarget();
  let online = isOnline;
  Object.assign(globalThis, { addEventListener: page.addEventListener.bind(page) });
  Object.defineProperty(globalThis.navigator, "onLine", { get: () => online, configurable: true });
  test.after(() => {
    Reflect.deleteProperty(globalThis, "addEventListener");
    Reflect.deleteProperty(globalThis.navigator, "onLine");
  });
  return {
    set(/** @type {boolean} */ value) {
      online = value;
      if (value) page.dispatchEvent(new Event("online"));
    },
  };
}
