/** Caches that hold answers to other questions, and of a server that is another one by now. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Profile } from "./harness/profile.mjs";
import { CachingProxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";
import { PAGE, SCHEMA, synced, until } from "./harness/stage.mjs";
import { Www } from "./harness/www.mjs";

/** How many requests a worker may take to be in step, event streams and retries included: some for each page of four changes. */
const FEW = 40;
const ROWS = 10;

test("a cache that gives one old answer to every question, also when the server was reset, is seen through and asked past without a loop", async (t) => {
  const www = new Www(t);
  www.copyFromPackage("sw.js", "crsql-sync-sw.js");
  www.write("stage.html", PAGE);
  const server = await Server.start({ www: www.dir, args: ["--sql", "--limit-page-changes", "4"] });
  t.after(() => server.close());
  const proxy = await CachingProxy.start(server.url);
  t.after(() => proxy.close());
  await post(server, "PUT", "", { schema: SCHEMA });
  for (let id = 1; id <= ROWS; id++) await post(server, "POST", "/sql", { sql: "INSERT INTO todo (id, title) VALUES (?, 'of the server')", params: [String(id)] });

  const profile = await Profile.open(`${proxy.url}stage.html`, { isReady: false });
  t.after(() => profile.close());
  const { page } = profile;
  await page.waitForFunction(() => globalThis.lib);
  await page.evaluate(async (schema) => {
    // The worker has another path than the server, so that the page can ask either.
    globalThis.db = await globalThis.lib.connect({ url: "/data", dbid: "demo", schema, worker: "/crsql-sync-sw.js?prefix=/data&upstream=/sync" });
  }, SCHEMA);
  await until(page, async (rows) => (await globalThis.db.query("SELECT count(*) AS n FROM todo"))[0].n === rows, ROWS);
  await synced(page);
  t.diagnostic(`${proxy.requests.length} requests to catch up, ${proxy.hits} of them answered by what was kept`);
  assert.ok(proxy.hits > 0, "what was kept was given to nobody");
  const caughtUp = proxy.requests.filter((request) => request.includes("/sync/")).length;
  assert.ok(caughtUp <= FEW, `${caughtUp} requests`);

  // Where the browser holds nothing it answers 504.
  const held = (cache) =>
    page.evaluate(async (cache) => {
      const response = await fetch("/sync/demo/changes", { cache, mode: "same-origin" });
      return [response.status, new Uint8Array(await response.arrayBuffer()).join()];
    }, cache);
  const answer = await held("default");
  assert.equal(answer[0], 200);

  const before = await siteOf(server);
  await server.kill();
  server.forget();
  await server.start();
  [proxy.requests.length, proxy.hits] = [0, 0];
  // The first to write to the new server is another one, so that there is something to ask for.
  await post(server, "PUT", "", { schema: SCHEMA });
  await post(server, "POST", "/sql", { sql: "INSERT INTO todo (id, title) VALUES ('new', 'of the new server')" });
  assert.notEqual(await siteOf(server), before);
  await page.evaluate(() => globalThis.db.wake());
  await until(page, async (rows) => (await globalThis.db.query("SELECT count(*) AS n FROM todo"))[0].n === rows, ROWS + 1);
  await synced(page);
  await until(page, async (rows) => (await (await fetch("/sync/demo/sql", { method: "POST", headers: { "content-type": "application/json" }, body: '{"sql":"SELECT count(*) FROM todo"}' })).json()).results[0].rows[0][0] === rows, ROWS + 1);
  assert.deepEqual(await held("only-if-cached"), answer, "the browser holds the old answer no more");
  const took = proxy.requests.length;
  t.diagnostic(`${took} requests after the reset, ${proxy.hits} of them answered by what was kept`);
  assert.ok(took <= FEW, `${took} requests:\n${proxy.requests.join("\n")}`);

  // Nor does it go round at rest.
  await page.evaluate(() => globalThis.db.exec("INSERT INTO todo (id) VALUES ('after')").then(() => {}));
  await synced(page);
  assert.ok(proxy.requests.length <= took + 10, `${proxy.requests.length - took} requests for one write`);
});

async function post(server, method, path, body) {
  const response = await fetch(`${server.url}sync/demo${path}`, { method, headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  assert.ok(response.ok, await response.text());
}

async function siteOf(server) {
  return (await (await fetch(`${server.url}sync/demo/status`)).json()).site;
}
