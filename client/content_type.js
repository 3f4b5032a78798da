/** The content type of a file, also when the operating system does not know it. */

const BY_EXTENSION = new Map(
  Object.entries({
    png: "image/png",
    jpg: "image/jpeg",
    jpeg: "image/jpeg",
    gif: "image/gif",
    webp: "image/webp",
    avif: "image/avif",
    heic: "image/heic",
    heif: "image/heif",
    tiff: "image/tiff",
    tif: "image/tiff",
    svg: "image/svg+xml",
    pdf: "application/pdf",
    txt: "text/plain",
    csv: "text/csv",
    md: "text/markdown",
    json: "application/json",
    zip: "application/zip",
    gz: "application/gzip",
    tar: "application/x-tar",
    "7z": "application/x-7z-compressed",
    mp4: "video/mp4",
    mov: "video/quicktime",
    webm: "video/webm",
    mkv: "video/x-matroska",
    mp3: "audio/mpeg",
    m4a: "audio/mp4",
    wav: "audio/wav",
    ogg: "audio/ogg",
    flac: "audio/flac",
    parquet: "application/vnd.apache.parquet",
    docx: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    pptx: "application/vnd.openxmlformats-officedocument.presentationml.presentation",
  }),
);

/** Other names for common types, which some systems report and no policy lists. */
const ALIASES = new Map(
  Object.entries({
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "image/jpg": "image/jpeg",
  }),
);

/**
 * Return the media type that the browser gives, else the type of the file name's extension.
 * @param {Blob & {name?: string}} file
 * @returns {string} never empty, without parameters
 */
export function contentType(file) {
  const given = file.type.split(";")[0].trim().toLowerCase();
  if (given) return ALIASES.get(given) ?? given;
  return BY_EXTENSION.get(extension(file.name ?? "")) ?? "application/octet-stream";
}

/**
 * Return what the server and the messages are told about a file.
 * @param {Blob & {name?: string}} file
 * @returns {import("./types.js").FileInfo}
 */
export function fileInfo(file) {
  if (typeof file?.size !== "number") throw new TypeError("file must be one File or Blob");
  return { name: file.name ?? "", type: contentType(file), size: file.size };
}

/**
 * "cat.PNG" -> "png"; "" without an extension.
 * @param {string} name
 */
export function extension(name) {
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(dot + 1).toLowerCase() : "";
}

/**
 * "image/png" -> "PNG", for texts that people read; an unknown type stays as it is.
 * @param {string} type
 */
export function typeName(type) {
  const known = [...BY_EXTENSION].find(([, itsType]) => itsType === type);
  return known ? known[0].toUpperCase() : type;
}
