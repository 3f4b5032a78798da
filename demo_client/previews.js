/**
 * Small pictures of the chosen files, made from the files themselves before anything is sent: one at a time, only for
 * rows that are in sight, and never larger than they are shown.
 */

const WIDTH = 256;
/** A file this small is shown as it is. */
const MAX_UNCHANGED_BYTES = 128 * 1024;
/** A larger file may need more memory than a preview is worth. */
const MAX_BYTES = 64 * 1024 * 1024;

/** @type {WeakMap<Element, () => Promise<void>>} */
const waiting = new WeakMap();
let queue = Promise.resolve();

const observer = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      const show = waiting.get(target);
      if (!isIntersecting || !show) continue;
      forgetPreview(target);
      queue = queue.then(() => show());
    }
  },
  { rootMargin: "200px" },
);

/**
 * Show the file in the image when the element comes into sight. A picture that the browser cannot read is not shown.
 * @param {Element} element
 * @param {HTMLImageElement} image hidden until it shows the file
 * @param {Blob} file
 * @param {string} type media type
 */
export function showPreview(element, image, file, type) {
  if (!/^image\/(?!svg)/.test(type) || file.size > MAX_BYTES) return;
  waiting.set(element, () => fill(image, file));
  observer.observe(element);
}

/** @param {Element} element */
export function forgetPreview(element) {
  waiting.delete(element);
  observer.unobserve(element);
}

/** @param {HTMLImageElement} image @param {Blob} file */
async function fill(image, file) {
  const url = URL.createObjectURL(await smaller(file));
  try {
    image.src = url;
    await image.decode();
    image.hidden = false;
  } catch {
    // Not every browser reads every format, such as HEIC. The row keeps its badge.
    image.removeAttribute("src");
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Return a small copy of the picture, or the file itself. @param {Blob} file */
async function smaller(file) {
  if (file.size <= MAX_UNCHANGED_BYTES) return file;
  try {
    const bitmap = await createImageBitmap(file, { resizeWidth: WIDTH, resizeQuality: "medium" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
    bitmap.close();
    return await canvas.convertToBlob({ type: "image/webp", quality: 0.8 });
  } catch {
    return file;
  }
}
