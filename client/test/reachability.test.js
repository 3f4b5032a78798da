import assert from "node:assert/strict";
import { test } from "node:test";

import { explainNoAnswer, isReachable, originsWithCors } from "../reachability.js";
import { startServer, unusedOrigin } from "./servers.js";

test("a server that answers at all is reachable, whatever it answers at the URL", async (t) => {
  const { origin, requests } = await startServer(t, () => ({ status: 500 }));
  assert.equal(await isReachable(`${origin}/files/upload?token=secret`), true);
  assert.deepEqual(requests, [], "the path and the query are not sent");
});

test("a server that is down is not reachable", async () => {
  assert.equal(await isReachable(`${await unusedOrigin()}/files`), false);
});

test("a server that never answered this page excludes it by CORS, and one that did lost a connection", async (t) => {
  const { origin } = await startServer(t, () => ({}));
  assert.equal((await explainNoAnswer("server", `${origin}/upload`))?.code, "server_cors");
  originsWithCors.add(origin);
  assert.equal(await explainNoAnswer("server", `${origin}/upload`), null);
  assert.equal((await explainNoAnswer("storage", await unusedOrigin()))?.code, "storage_unreachable");
});
