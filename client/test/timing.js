/** What a test needs to decide when something happens: gates, and a clock that it can put forward. */

/** Return a promise that is fulfilled when the test calls `open`. */
export function gate() {
  /** @type {() => void} */
  let open = () => {};
  /** @type {Promise<void>} */
  const opened = new Promise((resolve) => (open = resolve));
  return { opened, open };
}

/** Return a clock for `performance.now()`, which is ahead by `skippedMs`. @param {import("node:test").TestContext} t */
export function clockToPutForward(t) {
  const clock = { skippedMs: 0 };
  const realNow = performance.now.bind(performance);
  t.mock.method(performance, "now", () => realNow() + clock.skippedMs);
  return clock;
}
