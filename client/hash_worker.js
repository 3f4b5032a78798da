/** A worker that hashes parts: Chromium computes digests in the thread that asks for them, 16 MiB in 20 ms or more. */

import { digestOf } from "./digest.js";

/** @typedef {{digest: string} | {reason: string}} Answer */

globalThis.onmessage = async (/** @type {MessageEvent<Blob>} */ { data }) => {
  /** @type {Answer} */
  const answer = await digestOf(data).then(
    (digest) => ({ digest }),
    (error) => ({ reason: String(error) }),
  );
  globalThis.postMessage(answer);
};
