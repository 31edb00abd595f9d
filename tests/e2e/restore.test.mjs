/**
 * An upstream that comes back from a backup, behind a cache that still answers with what it was before: what browsers have of the
 * time that it lost goes back up, and they hear of what it took in since.
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { Profile } from "./harness/profile.mjs";
import { CachingProxy } from "./harness/proxy.mjs";
import { Server } from "./harness/server.mjs";
import { PAGE, SCHEMA, synced, until } from "./harness/stage.mjs";
import { Www } from "./harness/www.mjs";

/** How many requests a worker may take to be in step again, retries and event streams included. */
const FEW = 40;

describe("an upstream that comes back from a backup", () => {
  const ways = [
    ["under a site of its own", { asIs: false, news: 1 }],
    ["under a site of its own, with more news than it lost", { asIs: false, news: 20 }],
    ["as the file that it was, behind the browser's cursor", { asIs: true, news: 1 }],
    ["as the file that it was, and has passed the browser's cursor by now", { asIs: true, news: 20 }],
  ];
  for (const [way, { asIs, news }] of ways) {
    test(`${way}, gets back what a browser has of it, and both end equal`, async (t) => {
      const { server, proxy, open, backup } = await begin(t);
      const [{ page: anna }, ben] = [await open("Anna"), await open("Ben")];
      await add(anna, "kept-by-anna");
      await synced(anna);
      await write(server, "INSERT INTO todo (id) VALUES ('kept-by-server')");
      await has(anna, 2);
      server.backUp("demo", backup);

      // What the server loses, in each way that Anna can have it: her own, the server's, and that of somebody who is gone.
      await add(anna, "lost-by-anna");
      for (let n = 1; n <= 5; n++) await write(server, `INSERT INTO todo (id) VALUES ('lost-by-server-${n}')`);
      await add(ben.page, "lost-by-ben");
      await synced(ben.page);
      await ben.close();
      await anna.evaluate(() => globalThis.db.exec("UPDATE todo SET title = 'lost' WHERE id LIKE 'kept-%'").then(() => {}));
      await has(anna, 9);
      await synced(anna);

      await server.kill();
      await add(anna, "written-meanwhile");
      server.restore("demo", backup, { asIs });
      [proxy.requests.length, proxy.hits] = [0, 0];
      await server.start();
      for (let n = 1; n <= news; n++) await write(server, `INSERT INTO todo (id) VALUES ('new-${n}')`);
      await anna.evaluate(() => globalThis.db.wake());
      await has(anna, 10 + news);
      await agree(anna, server);
      const took = proxy.requests.length;
      t.diagnostic(`${took} requests after the restore, ${proxy.hits} of them answered by what was kept`);
      assert.ok(took <= FEW, `${took} requests:\n${proxy.requests.join("\n")}`);

      await add(anna, "after-by-anna");
      await write(server, "INSERT INTO todo (id) VALUES ('after-by-server')");
      await has(anna, 12 + news);
      await agree(anna, server);
      assert.ok(proxy.requests.length <= took + 10, `${proxy.requests.length - took} requests for two writes`);
    });
  }
});

/** A server behind a cache, a way to open browsers there, and a place for a backup. */
async function begin(t) {
  const www = new Www(t);
  www.copyFromPackage("sw.js", "crsql-sync-sw.js");
  www.write("stage.html", PAGE);
  const folder = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-backup-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const server = await Server.start({ www: www.dir, args: ["--sql", "--limit-page-changes", "10"] });
  t.after(() => server.close());
  const proxy = await CachingProxy.start(server.url);
  t.after(() => proxy.close());
  const open = async (name) => {
    const profile = await Profile.open(`${proxy.url}stage.html`, { name, isReady: false });
    t.after(() => profile.close());
    await profile.page.waitForFunction(() => globalThis.lib);
    await profile.page.evaluate(async (schema) => {
      // The worker has another path than the server, so that the page can ask either.
      globalThis.db = await globalThis.lib.connect({ url: "/data", dbid: "demo", schema, worker: "/crsql-sync-sw.js?prefix=/data&upstream=/sync" });
    }, SCHEMA);
    return profile;
  };
  return { server, proxy, open, backup: path.join(folder, "demo.db") };
}

function add(page, id) {
  return page.evaluate((id) => globalThis.db.exec("INSERT INTO todo (id) VALUES (?)", [id]).then(() => {}), id);
}

async function write(server, sql) {
  const response = await fetch(`${server.url}sync/demo/sql`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql }) });
  assert.ok(response.ok, await response.text());
}

function has(page, rows) {
  return until(page, async (rows) => (await globalThis.db.query("SELECT count(*) AS n FROM todo"))[0].n === rows, rows);
}

/** Waits until the browser is in step, and fails unless both have the same, by the sums that `verify` compares. */
async function agree(page, server) {
  await synced(page);
  assert.deepEqual(await page.evaluate(root, "/data/demo/verify"), await root(`${server.url}sync/demo/verify`));
}

async function root(url) {
  const none = [0, "0".repeat(32)];
  const body = JSON.stringify({ protocol: 1, from: "00000000000000000000000000000001", root: none, nodes: [["", none]] });
  const response = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body });
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()).root;
}
