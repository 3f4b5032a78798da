/** FilePond: the npm client uploads each file; a form can also post the tokens, and its server completes the uploads. */

import { create } from "filepond";
import "filepond/dist/filepond.min.css";
import { store, upload } from "presign-uploads";

/** Return FilePond's function `process`, which sends one file with `send` and keeps what `valueOf` takes of the result. */
function processWith(send, valueOf) {
  return (field, file, metadata, load, error, progress) => {
    const controller = new AbortController();
    const { signal } = controller;
    const onProgress = ({ loaded, total }) => progress(true, loaded, total);
    send(file, { api: "/files", signal, onProgress }).then(
      (result) => load(valueOf(result)),
      (reason) => signal.aborted || error(reason.message),
    );
    return { abort: () => controller.abort() };
  };
}

const texts = { labelFileProcessingError: (error) => error.body };

create(document.querySelector("#pictures"), {
  ...texts,
  server: { process: processWith(upload, (stored) => stored.key), revert: null },
  // The file is published: only the application could delete it.
  allowRevert: false,
});

create(document.querySelector("#attachment"), {
  ...texts,
  // Nothing is published before the application completes the upload. The sweep deletes what no form posts.
  server: { process: processWith(store, (ticket) => ticket.token), revert: (token, done) => done() },
});
