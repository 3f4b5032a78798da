/** Many uploads by the client of this repository: with its defaults, or one by one as before there were lists. */

import { createUploader } from "presign-uploads";

/** A server that knows no lists, so the client sends one request for each ticket and each completion. */
async function fetchWithoutLists(url, request) {
  return request.body.startsWith("[") ? new Response(null, { status: 400 }) : fetch(url, request);
}

/** Ask the storage before each form, as a browser does for a request whose progress is reported. */
function reportAllProgress() {
  const { send } = XMLHttpRequest.prototype;
  XMLHttpRequest.prototype.send = function (body) {
    this.upload.onprogress ??= () => {};
    send.call(this, body);
  };
}

globalThis.send = async (api, isOneByOne) => {
  const { files } = document.querySelector("input");
  const uploader = createUploader({ api, ...(isOneByOne && { concurrency: 3, fetch: fetchWithoutLists }) });
  if (isOneByOne) reportAllProgress();
  const started = performance.now();
  uploader.add(files);
  const items = await uploader.finished();
  const seconds = (performance.now() - started) / 1000;
  const failed = items.find(({ state }) => state !== "done");
  if (failed) throw new Error(`${failed.file.name}: ${failed.error?.message}`);
  return { keys: items.map(({ result }) => result.key), seconds };
};
