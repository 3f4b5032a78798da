/** Real HTTP servers for the tests, on free ports of the loopback interface. */

import { createServer } from "node:http";

/**
 * @typedef {object} ReceivedRequest
 * @property {string} method
 * @property {string} path
 * @property {import("node:http").IncomingHttpHeaders} headers
 * @property {Buffer} body
 *
 * @typedef {object} PlannedResponse
 * @property {number} [status]
 * @property {Record<string, string>} [headers]
 * @property {string | object} [body] an object becomes JSON
 * @property {boolean} [disconnect] close the connection without a response
 */

/**
 * Start a server that ends with the test.
 * @param {import("node:test").TestContext} test
 * @param {(request: ReceivedRequest, number: number) => PlannedResponse | Promise<PlannedResponse>} respond `number`
 *   counts requests from 1
 * @returns {Promise<{origin: string, requests: ReceivedRequest[]}>} `requests` without those of isReachable()
 */
export async function startServer(test, respond) {
  /** @type {ReceivedRequest[]} */
  const requests = [];
  const server = createServer(async (incoming, outgoing) => {
    const chunks = [];
    try {
      for await (const chunk of incoming) chunks.push(chunk);
    } catch {
      // The client went away before it had sent everything, so nobody waits for a response.
      return;
    }
    const { method = "", url: path = "", headers } = incoming;
    if (method === "HEAD" && path === "/") return outgoing.end();
    const received = { method, path, headers, body: Buffer.concat(chunks) };
    requests.push(received);
    const { status = 200, headers: own = {}, body = "", disconnect } = await respond(received, requests.length);
    if (disconnect) return outgoing.destroy();
    outgoing.writeHead(status, { connection: "close", ...own });
    outgoing.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  test.after(() => stop(server));
  return { origin: originOf(server), requests };
}

/** Return an origin on which nothing listens. */
export async function unusedOrigin() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(null)));
  const origin = originOf(server);
  await stop(server);
  return origin;
}

/** @param {import("node:http").Server} server */
function originOf(server) {
  return `http://127.0.0.1:${/** @type {import("node:net").AddressInfo} */ (server.address()).port}`;
}

/** @param {import("node:http").Server} server */
function stop(server) {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
}
