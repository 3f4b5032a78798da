/** What an application in TypeScript writes. `npm run check` compiles it against the generated types; nothing runs it. */

import {
  complete,
  createUploader,
  describeError,
  upload,
  UploadError,
  type ErrorCode,
  type Messages,
  type Ticket,
  type Uploader,
  type UploadItem,
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

const GERMAN: Messages = {
  errors: { too_large: "{name} ist zu groß.", "rule_violated.size": ({ details }) => details.rule ?? "" },
};
// @ts-expect-error: no error has this code.
const WRONG: Messages = { errors: { no_such_code: "..." } };

export async function uploadAll(files: FileList): Promise<string[]> {
  const headers = async () => ({ "X-CSRFToken": "a" });
  const uploader: Uploader = createUploader({ api: "/files", concurrency: 2, headers });
  const off = uploader.on("change", (item: UploadItem) => console.log(item.state === "offline", item.loaded));
  uploader.add(files);
  const items = await uploader.finished();
  off();
  // @ts-expect-error: an item never changes.
  items[0].state = "done";
  // @ts-expect-error: no event has this name.
  uploader.on("changed", console.log);
  for (const { error } of items) {
    if (error?.token) await complete(error.token, { api: "/files" });
    if (error) console.log(describeError(error, GERMAN));
  }
  console.log(uploader.totals.loaded / uploader.totals.total, WRONG);
  return items.flatMap(({ result }) => result?.object_url ?? []);
}
