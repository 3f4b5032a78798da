import assert from "node:assert/strict";
import { test } from "node:test";

import { isReachable, pageOrigin } from "../reachability.js";
import { startServer, unusedOrigin } from "./servers.js";

test("a server that answers at all is reachable, whatever it answers at the URL", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ status: 500 }));
  assert.equal(await isReachable(`${origin}/files/upload?token=secret`), true);
  assert.deepEqual(requests, [], "the path and the query are not sent");
});

test("a server that is down is not reachable", async () => {
  assert.equal(await isReachable(`${await unusedOrigin()}/files`), false);
});

test("outside a browser the page's origin is a description", () => {
  assert.equal(pageOrigin(), "this page");
});
