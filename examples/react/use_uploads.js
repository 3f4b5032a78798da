/** A hook over the uploader of presign-uploads: the component renders again whenever one of its files changes. */

import { createUploader } from "presign-uploads";
import { useEffect, useState, useSyncExternalStore } from "react";

/**
 * Return the files, and the uploader, whose methods add, pause, resume, cancel, retry and remove them.
 *
 * The uploader is made once, so it keeps the options of the first render. When the component leaves the page, the
 * uploads that have not ended are cancelled.
 * @param {import("presign-uploads").UploaderOptions} options
 */
export function useUploads(options) {
  const [{ uploader, subscribe, getItems }] = useState(() => createStore(options));
  const items = useSyncExternalStore(subscribe, getItems, getItems);
  useEffect(() => () => uploader.cancel(), [uploader]);
  return { items, uploader };
}

/** @param {import("presign-uploads").UploaderOptions} options */
function createStore(options) {
  const uploader = createUploader(options);
  /** @param {() => void} render */
  const subscribe = (render) => {
    const subscriptions = [uploader.on("change", render), uploader.on("remove", render)];
    return () => subscriptions.forEach((unsubscribe) => unsubscribe());
  };
  // The array stays the same until a file changes, so React renders no more often than that.
  return { uploader, subscribe, getItems: () => uploader.items };
}
