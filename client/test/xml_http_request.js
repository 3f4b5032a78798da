/**
 * The part of XMLHttpRequest that storage.js uses, for Node.js: real requests, without the rules of CORS. The browser
 * tests show the same in a real browser.
 */

import { request } from "node:http";

export class NodeXMLHttpRequest {
  status = 0;
  responseText = "";
  /** @type {{onprogress?: (event: {loaded: number, total: number}) => void}} */
  upload = {};
  /** @type {() => void} */
  onloadend = () => {};
  /** @type {Record<string, string>} */
  #headers = {};
  /** @type {import("node:http").IncomingHttpHeaders} */
  #responseHeaders = {};
  #controller = new AbortController();
  #method = "";
  #url = "";

  /** @param {string} method @param {string} url */
  open(method, url) {
    this.#method = method;
    this.#url = url;
  }

  /** @param {string} name @param {string} value */
  setRequestHeader(name, value) {
    this.#headers[name] = value;
  }

  getAllResponseHeaders() {
    return Object.entries(this.#responseHeaders).map(([name, value]) => `${name}: ${value}`).join("\r\n");
  }

  abort() {
    this.#controller.abort();
  }

  /** @param {Blob | FormData} body */
  async send(body) {
    try {
      await this.#exchange(body);
    } catch {
      this.status = 0;
    }
    this.onloadend();
  }

  /** @param {Blob | FormData} body */
  async #exchange(body) {
    // Response encodes a form, and knows the content type of a form or a blob, as the browser does.
    const encoded = new Response(body);
    const contentType = encoded.headers.get("content-type");
    const bytes = Buffer.from(await encoded.arrayBuffer());
    const ownHeaders = { "content-length": bytes.length, ...(contentType && { "content-type": contentType }) };
    const headers = { ...ownHeaders, ...this.#headers };
    const options = { method: this.#method, headers, signal: this.#controller.signal, agent: false };
    await new Promise((resolve, reject) => {
      const sending = request(this.#url, options, (response) => {
        response.setEncoding("utf8");
        response.on("data", (text) => (this.responseText += text));
        response.on("error", reject);
        response.on("end", () => {
          this.status = /** @type {number} */ (response.statusCode);
          this.#responseHeaders = response.headers;
          resolve(null);
        });
      });
      sending.on("error", reject);
      sending.end(bytes, () => this.upload.onprogress?.({ loaded: bytes.length, total: bytes.length }));
    });
  }
}
