/** Run tasks in the order in which they were added, a limited number at the same time. */

/** @param {number} limit the number of tasks that run at the same time */
export function createQueue(limit) {
  /** @type {{task: () => Promise<void>, signal: AbortSignal}[]} */
  const waiting = [];
  let running = 0;

  function startNext() {
    while (running < limit && waiting.length) {
      const { task, signal } = /** @type {typeof waiting[number]} */ (waiting.shift());
      if (!signal.aborted) run(task);
    }
  }

  /** @param {() => Promise<void>} task */
  async function run(task) {
    running += 1;
    try {
      await task();
    } finally {
      running -= 1;
      startNext();
    }
  }

  /**
   * @param {() => Promise<void>} task handles its own errors; it does not start once the signal is aborted
   * @param {AbortSignal} signal
   */
  return function add(task, signal) {
    waiting.push({ task, signal });
    startNext();
  };
}
