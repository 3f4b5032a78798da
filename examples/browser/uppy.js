/** Uppy 6 or 5: every file gets a ticket of its own, and the server completes the upload with the ticket's token. */

import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";

import { post } from "./api.js";
import { connectPage, report } from "./uppy_page.js";

const uppy = new Uppy({ autoProceed: true });
const tokens = new Map();
const completions = new Map();

async function ticketFor({ id, type, size, name }) {
  const ticket = await post("/files/upload", { type, size, name });
  tokens.set(id, ticket.token);
  return ticket;
}

// Uppy 6 names the key only, so the key is the file's id here. The ticket has the real one.
async function signRequest({ key }) {
  const { method, url, fields, headers } = await ticketFor(uppy.getFile(key));
  return method === "POST" ? { url, fields } : { url, headers };
}

uppy.use(AwsS3, {
  shouldUseMultipart: false,
  generateObjectKey: (file) => file.id,
  signRequest,
  getUploadParameters: ticketFor, // Uppy 5, which needs neither of the two options before this one
});

async function complete({ id }) {
  try {
    const stored = await post("/files/complete", { token: tokens.get(id) });
    uppy.setFileState(id, { uploadURL: stored.object_url });
    report(`${uppy.getFile(id).name} is stored as ${stored.key}`);
  } catch (error) {
    uppy.emit("upload-error", uppy.getFile(id), error);
  }
}

uppy.on("upload-success", (file) => completions.set(file.id, complete(file)));
// An upload counts as done when it is completed.
uppy.addPostProcessor((ids) => Promise.all(ids.map((id) => completions.get(id))));

connectPage(uppy);
