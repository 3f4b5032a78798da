/** Many uploads by Uppy 6 with its own defaults, each with a ticket of the same server, and completed by it. */

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";

async function post(url, content) {
  const headers = { "Content-Type": "application/json" };
  for (;;) {
    const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(content) });
    const answer = await response.json();
    if (response.status === 200) return answer;
    const seconds = response.headers.get("Retry-After");
    if (seconds === null) throw new Error(answer.detail);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

globalThis.send = async (api) => {
  const { files } = document.querySelector("input");
  const uppy = new Uppy();
  const tokens = new Map();
  const completions = [];
  uppy.use(AwsS3, {
    shouldUseMultipart: false,
    // Uppy 6 names only the key when it asks for a signature, so the key is the file's id here.
    generateObjectKey: ({ id }) => id,
    signRequest: async ({ key }) => {
      const { type, size, name } = uppy.getFile(key);
      const { method, url, fields, headers, token } = await post(`${api}/upload`, { type, size, name });
      tokens.set(key, token);
      return method === "POST" ? { url, fields } : { url, headers };
    },
  });
  uppy.on("upload-success", ({ id }) => completions.push(post(`${api}/complete`, { token: tokens.get(id) })));
  const started = performance.now();
  uppy.addFiles(Array.from(files, (data) => ({ data, name: data.name, type: data.type })));
  const { failed } = await uppy.upload();
  if (failed.length) throw new Error(failed[0].error);
  const stored = await Promise.all(completions);
  return { keys: stored.map(({ key }) => key), seconds: (performance.now() - started) / 1000 };
};
