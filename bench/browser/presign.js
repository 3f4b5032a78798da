/** One upload by the client of this repository: in parts or in one request, as the server's policy says. */

import { upload } from "presign-uploads";

globalThis.send = async (api) => {
  const [file] = document.querySelector("input").files;
  const started = performance.now();
  let sent;
  const onState = (state) => {
    if (state !== "verifying" || sent) return;
    sent = performance.now();
    allSent();
  };
  const { key } = await upload(file, { api, onState });
  return { key, sentSeconds: (sent - started) / 1000, seconds: (performance.now() - started) / 1000 };
};
