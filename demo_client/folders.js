/** The files of a drop, of a chosen folder, and of all folders in it. */

/**
 * @typedef {object} FoundFile
 * @property {File} file
 * @property {string} folder the path of its folder, such as "trip/day 1"; "" for a file that was chosen itself
 *
 * @typedef {object} Found
 * @property {FoundFile[]} files
 * @property {string[]} unreadable paths of what the browser could not read
 */

/** Files that systems write into folders, and that nobody chose. */
const SYSTEM_FILES = new Set([".DS_Store", "Thumbs.db", "desktop.ini"]);

/**
 * Return the files that were dropped, and those of the dropped folders. Call this while the event is handled: later,
 * the browser does not say any more what was dropped.
 * @param {DataTransfer} transfer
 * @returns {Promise<Found>}
 */
export async function filesOfDrop(transfer) {
  /** @type {Found} */
  const found = { files: [], unreadable: [] };
  const items = Array.from(transfer.items).filter(({ kind }) => kind === "file");
  const dropped = items.map((item) => ({ entry: item.webkitGetAsEntry?.() ?? null, file: item.getAsFile() }));
  for (const { entry, file } of dropped) {
    if (entry?.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), found);
    else if (file) found.files.push({ file, folder: "" });
  }
  return found;
}

/**
 * Return the files of an input, which may choose a folder.
 * @param {HTMLInputElement} input
 * @returns {FoundFile[]}
 */
export function filesOfInput(input) {
  const files = Array.from(input.files ?? [], (file) => ({ file, folder: parent(file.webkitRelativePath) }));
  return files.filter(({ file, folder }) => !folder || !SYSTEM_FILES.has(file.name));
}

/**
 * @param {FileSystemDirectoryEntry} directory
 * @param {Found} found gets what is found
 */
async function walk(directory, found) {
  try {
    for (const entry of await entriesOf(directory)) {
      if (entry.isDirectory) await walk(/** @type {FileSystemDirectoryEntry} */ (entry), found);
      else if (!SYSTEM_FILES.has(entry.name)) await read(/** @type {FileSystemFileEntry} */ (entry), found);
    }
  } catch {
    found.unreadable.push(directory.fullPath.slice(1));
  }
}

/**
 * A reader gives its entries in parts, in Chromium of 100, and then an empty one.
 * @param {FileSystemDirectoryEntry} directory
 */
async function entriesOf(directory) {
  const reader = directory.createReader();
  const entries = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return entries;
    entries.push(...part);
  }
}

/** @param {FileSystemFileEntry} entry @param {Found} found */
async function read(entry, found) {
  try {
    /** @type {File} */
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    found.files.push({ file, folder: parent(entry.fullPath.slice(1)) });
  } catch {
    found.unreadable.push(entry.fullPath.slice(1));
  }
}

/** "trip/day 1/a.jpg" -> "trip/day 1" @param {string} path */
function parent(path) {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}
