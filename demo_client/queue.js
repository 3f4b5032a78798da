/** Runs tasks, a few at once, in the order they came. */

/** @param {number} limit how many at once */
export function createQueue(limit) {
  /** @type {{task: () => Promise<void>, signal: AbortSignal}[]} */
  const waiting = [];
  let running = 0;

  function next() {
    while (running < limit && waiting.length) {
      const { task, signal } = /** @type {typeof waiting[number]} */ (waiting.shift());
      if (!signal.aborted) start(task);
    }
  }

  /** @param {() => Promise<void>} task */
  async function start(task) {
    running += 1;
    try {
      await task();
    } finally {
      running -= 1;
      next();
    }
  }

  /**
   * @param {() => Promise<void>} task never starts once the signal is aborted; reports its own failures
   * @param {AbortSignal} signal
   */
  return function add(task, signal) {
    waiting.push({ task, signal });
    next();
  };
}
