/** One upload in parts by Uppy 6 or 5, with their own defaults, against the same server in Companion's shape. */

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";

globalThis.send = async (api) => {
  const [data] = document.querySelector("input").files;
  const uppy = new Uppy();
  // Uppy 6 reads `companionEndpoint`, and Uppy 5 `endpoint`.
  uppy.use(AwsS3, { shouldUseMultipart: true, companionEndpoint: api, endpoint: api });
  const id = uppy.addFile({ data, name: data.name, type: data.type });
  uppy.setFileMeta(id, { size: data.size });
  const { fetch } = globalThis;
  let token;
  globalThis.fetch = async (...request) => {
    const response = await fetch(...request);
    if (response.url.endsWith("/s3/multipart")) token = (await response.clone().json()).uploadId;
    return response;
  };
  const started = performance.now();
  const { failed } = await uppy.upload();
  if (failed.length) throw new Error(uppy.getFile(id).error);
  const sent = performance.now();
  allSent();
  const headers = { "Content-Type": "application/json" };
  let answer;
  // The server answers 202 after some seconds, and is asked again.
  while (answer?.status !== 200) {
    if (answer) await new Promise((resolve) => setTimeout(resolve, 1000 * answer.headers.get("Retry-After")));
    answer = await fetch(`${api}/complete`, { method: "POST", headers, body: JSON.stringify({ token }) });
    if (!answer.ok) throw new Error(await answer.text());
  }
  const { key } = await answer.json();
  return { key, sentSeconds: (sent - started) / 1000, seconds: (performance.now() - started) / 1000 };
};
