/** Uppy 6 or 5 in its Companion mode, against `create_router(..., companion=True)` and its like. */

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";

import { post } from "./api.js";
import { connectPage, report } from "./uppy_page.js";

const uppy = new Uppy({ autoProceed: true });
const tokens = new Map();
const completions = new Map();

uppy.use(AwsS3, {
  shouldUseMultipart: ({ size }) => size >= 100 * 1024 ** 2, // as the policy's parts_from_bytes
  companionEndpoint: "/files",
  endpoint: "/files", // the same in Uppy 5
});
uppy.on("file-added", ({ id, size }) => uppy.setFileMeta(id, { size }));

// Uppy hands on the key of the server's answer and nothing else, so this reads the token from the answer itself.
const { fetch } = window;
window.fetch = async (...request) => {
  const response = await fetch(...request);
  if (response.ok && /\/s3\/(params\?|multipart$)/.test(response.url)) {
    const { fields, key, token, uploadId } = await response.clone().json();
    tokens.set(fields ? fields.key : key, token ?? uploadId);
  }
  return response;
};

async function complete({ id }, { body }) {
  try {
    const stored = await post("/files/complete", { token: tokens.get(body.key) });
    uppy.setFileState(id, { uploadURL: stored.object_url });
    report(`${uppy.getFile(id).name} is stored as ${stored.key}`);
  } catch (error) {
    uppy.emit("upload-error", uppy.getFile(id), error);
  }
}

uppy.on("upload-success", (file, response) => completions.set(file.id, complete(file, response)));
// An upload counts as done when it is completed.
uppy.addPostProcessor((ids) => Promise.all(ids.map((id) => completions.get(id))));

connectPage(uppy);
