/** The elements of both pages with Uppy: files, progress, cancel, and what became of each file. */

export function report(text) {
  document.querySelector("#results").append(Object.assign(document.createElement("li"), { textContent: text }));
}

export function connectPage(uppy) {
  uppy.on("complete", ({ successful, failed }) => report(`${successful.length} stored, ${failed.length} failed`));
  uppy.on("upload-error", (file, error) => report(`${file.name}: ${error.message}`));
  uppy.on("progress", (percent) => (document.querySelector("progress").value = percent));
  document.querySelector("#cancel").onclick = () => uppy.cancelAll();
  document.querySelector("#files").onchange = ({ target }) => {
    uppy.addFiles([...target.files].map((data) => ({ data, name: data.name, type: data.type })));
  };
}
