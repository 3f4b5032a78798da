/** What a browser says of its network: `navigator.onLine`, and the events "online" and "offline". Node.js has none of them. */

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
      page.dispatchEvent(new Event(value ? "online" : "offline"));
    },
  };
}
