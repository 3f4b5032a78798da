import assert from "node:assert/strict";
import { test } from "node:test";

import { contentType, extension, typeName } from "../content_type.js";

const file = (/** @type {string} */ name, type = "") => new File([], name, { type });

test("the browser's type is used without its parameters and in lower case", () => {
  assert.equal(contentType(file("a.bin", "Text/Plain; charset=utf-8")), "text/plain");
});

test("a type that the browser does not know comes from the file name's extension", () => {
  assert.equal(contentType(file("notes.MD")), "text/markdown");
  assert.equal(contentType(file("table.parquet")), "application/vnd.apache.parquet");
});

test("another name for a common type becomes the common name", () => {
  assert.equal(contentType(file("a.zip", "application/x-zip-compressed")), "application/zip");
});

test("a file without a known type or extension is bytes", () => {
  for (const name of ["README", "a.unknown", "a.constructor", "a.__proto__"]) {
    assert.equal(contentType(file(name)), "application/octet-stream", name);
  }
  assert.equal(contentType(new Blob([])), "application/octet-stream");
});

test("the extension is what follows the last dot, and a name that begins with its only dot has none", () => {
  assert.equal(extension("archive.tar.GZ"), "gz");
  assert.equal(extension(".profile"), "");
  assert.equal(extension("README"), "");
});

test("a type is shown by its extension, and an unknown type as it is", () => {
  assert.equal(typeName("image/png"), "PNG");
  assert.equal(typeName("image/jpeg"), "JPG");
  assert.equal(typeName("application/x-own"), "application/x-own");
});
