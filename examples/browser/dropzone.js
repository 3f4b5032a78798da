/** Dropzone shows the files, and the npm client uploads them instead of Dropzone's own request. */

import Dropzone from "dropzone";
import "dropzone/dist/dropzone.css";
import { upload } from "presign-uploads";

class DirectDropzone extends Dropzone {
  uploadFiles(files) {
    files.forEach((file) => this.uploadFile(file));
  }

  async uploadFile(file) {
    const controller = new AbortController();
    const cancel = (canceled) => canceled === file && controller.abort();
    this.on("canceled", cancel);
    try {
      const onProgress = ({ loaded, total }) => this.emit("uploadprogress", file, (100 * loaded) / total, loaded);
      const stored = await upload(file, { api: "/files", signal: controller.signal, onProgress });
      this.finish(file, Dropzone.SUCCESS, "success", stored);
    } catch (error) {
      if (!controller.signal.aborted) this.finish(file, Dropzone.ERROR, "error", error.message);
    } finally {
      this.off("canceled", cancel);
    }
  }

  finish(file, status, event, detail) {
    file.status = status;
    this.emit(event, file, detail);
    this.emit("complete", file);
    this.processQueue();
  }
}

const dropzone = new DirectDropzone("#pictures", { url: "/files", addRemoveLinks: true, maxFilesize: null });
dropzone.on("success", (file, stored) => (file.previewElement.title = stored.key));
