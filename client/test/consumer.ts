/** What an application in TypeScript writes. `npm run check` compiles it against the generated types; nothing runs it. */

import {
  describeError,
  upload,
  UploadError,
  type ErrorCode,
  type Ticket,
  type UploadOptions,
  type UploadResult,
} from "presign-uploads";

const options: UploadOptions = {
  api: "/files",
  signal: new AbortController().signal,
  onProgress: ({ loaded, total }) => console.log(loaded / total),
  onState: (state, wait) => console.log(state === "retrying" && wait?.seconds),
  onTicket: (ticket: Ticket) => console.log(ticket.enforced.size === "storage"),
};

export async function store(file: File): Promise<string | null> {
  try {
    const stored: UploadResult = await upload(file, options);
    // @ts-expect-error: a private object has no URL.
    stored.object_url.length;
    return stored.object_url;
  } catch (error) {
    if (!(error instanceof UploadError)) throw error;
    const code: ErrorCode = error.code;
    // @ts-expect-error: no error has this code.
    if (code === "no_such_code") return null;
    return describeError(error);
  }
}

// @ts-expect-error: `api` is required.
upload(new Blob(), {});
// @ts-expect-error: a URL is no file.
upload("https://example.com/cat.png", options);
// @ts-expect-error: no option has this name.
upload(new Blob(), { api: "/files", onprogress: console.log });
