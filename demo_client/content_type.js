/** The content type of a file, also where the operating system does not know it. Pure. */

/** @type {Record<string, string>} */
const BY_EXTENSION = {
  png: "image/png",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
  heic: "image/heic",
  tiff: "image/tiff",
  tif: "image/tiff",
  bmp: "image/bmp",
  svg: "image/svg+xml",
  pdf: "application/pdf",
  txt: "text/plain",
  csv: "text/csv",
  md: "text/markdown",
  json: "application/json",
  xml: "application/xml",
  html: "text/html",
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
};

/** Names that some systems report and no policy lists. @type {Record<string, string>} */
const ALIASES = {
  "application/x-zip-compressed": "application/zip",
  "application/x-gzip": "application/gzip",
  "audio/x-wav": "audio/wav",
  "audio/wave": "audio/wav",
  "audio/vnd.wave": "audio/wav",
  "audio/mp3": "audio/mpeg",
  "image/jpg": "image/jpeg",
  "image/pjpeg": "image/jpeg",
};

/**
 * @param {Blob & {name?: string}} file
 * @returns {string} never empty, without parameters
 */
export function contentType(file) {
  const given = file.type.split(";")[0].trim().toLowerCase();
  if (given) return ALIASES[given] ?? given;
  return BY_EXTENSION[extension(file.name ?? "")] ?? "application/octet-stream";
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
 * "image/png" -> "PNG", for a list that people read; an unknown type stays as it is.
 * @param {string} type
 */
export function typeName(type) {
  const known = Object.keys(BY_EXTENSION).find((name) => BY_EXTENSION[name] === type);
  return known ? known.toUpperCase() : type;
}
