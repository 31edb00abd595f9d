/**
 * What must hold in every browser, from one body: in Chromium, and in Firefox where it is. What takes a debugger to provoke is
 * in the other files, in Chromium.
 */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { BROWSERS, Browser } from "./harness/browser.mjs";
import { Server } from "./harness/server.mjs";
import { PAGE, SCHEMA } from "./harness/stage.mjs";
import { suiteContext } from "./harness/suite.mjs";
import { Www } from "./harness/www.mjs";

const WORKER = "/crsql-sync-sw.js?upstream=/sync&files=on";
/** As windows are that have no service workers. */
const BARE_PAGE = `<!doctype html><script>Object.defineProperty(Navigator.prototype, "serviceWorker", { value: undefined })</script>${PAGE}`;

for (const kind of BROWSERS) {
  const isMissing = !kind.program || !kind.driver;
  describe(kind.name, { skip: isMissing && `${kind.name} or its driver is not installed: make setup` }, () => {
    const suite = suiteContext();
    let www, server, browser;

    before(async () => {
      www = new Www(suite);
      www.copyFromPackage("sw.js", "crsql-sync-sw.js");
      www.write("page.html", PAGE);
      www.write("bare.html", BARE_PAGE);
      server = await Server.start({ www: www.dir, args: ["--sql"] });
      suite.after(() => server.close());
      browser = await Browser.open(kind);
      suite.after(() => browser.close());
    });

    /** A tab that has the client as `lib`. */
    async function tabAt(path = "page.html", of = browser) {
      const tab = await of.tab(server.url + path);
      await ready(tab);
      return tab;
    }

    /** A tab that has a database open as `db`. */
    async function tabWith(options, of = browser) {
      const tab = await tabAt("page.html", of);
      await connect(tab, options);
      return tab;
    }

    test("runs the core in the page where a window has no service workers", async (t) => {
      // Comes first: a worker that is registered has this page too.
      t.diagnostic(browser.version);
      const options = { dbid: "page", worker: undefined, page: { upstream: "/sync" } };
      const tab = await tabAt("bare.html");
      await connect(tab, options);
      await tab.run(() => void db.watch("SELECT id FROM todo", [], (rows) => (window.rows = rows.length)));
      await add(tab, "1");
      await tab.until(() => window.rows === 1);
      await tab.until(isSynced);
      assert.deepEqual((await server.rows("page")).map(({ id }) => id), ["1"]);
      assert.equal(await tab.run(() => db.mode), "page");

      await tab.reload();
      await ready(tab);
      await connect(tab, options);
      assert.deepEqual(await ids(tab), ["1"]);
    });

    test("registers the worker as a module, and connects", async () => {
      const tab = await tabWith({ dbid: "first" });
      const seen = await tab.run(async () => {
        const { active } = await navigator.serviceWorker.ready;
        return { mode: db.mode, script: new URL(active.scriptURL).pathname, isControlled: navigator.serviceWorker.controller === active };
      });
      assert.deepEqual(seen, { mode: "worker", script: "/crsql-sync-sw.js", isControlled: true });
    });

    test("registers it as a classic script", async () => {
      const tab = await tabWith({ dbid: "classic", worker: { url: WORKER, type: "classic" } });
      assert.deepEqual(await tab.run(() => db.sql`SELECT 'here' AS answer`), [{ answer: "here" }]);
      // The tests that follow have the other one.
      await tab.run(() => lib.unregister());
    });

    test("keeps a write over a reload and a restart", async () => {
      const options = { dbid: "kept" };
      const tab = await tabWith(options);
      await add(tab, "1");
      await tab.reload();
      await ready(tab);
      await connect(tab, options);
      assert.deepEqual(await ids(tab), ["1"]);

      await add(tab, "2");
      await browser.quit();
      await browser.start();
      assert.deepEqual(await ids(await tabWith(options)), ["1", "2"]);
    });

    test("loses nothing that was answered when it is killed", async (t) => {
      // Each with a profile of its own: of one in which it was killed before, Chromium may delete everything (docs/client.md).
      for (let round = 1; round <= 3; round++) {
        const options = { dbid: `killed-${round}` };
        const victim = await Browser.open(kind);
        t.after(() => victim.close());
        const tab = await tabWith(options, victim);
        await tab.run(() => {
          window.answered = [];
          const write = async () => {
            for (let n = 0; ; n++) {
              await db.batch([1, 2].map((half) => ["INSERT INTO todo (id, title) VALUES (?, hex(randomblob(2000)))", [`${n}-${half}`]]));
              window.answered.push(n);
            }
          };
          write().catch((error) => (window.failure = String(error)));
        });
        await tab.until((count) => window.answered.length > count || window.failure, 20 * round);
        const { answered, failure } = await tab.run(() => ({ answered: window.answered, failure: window.failure }));
        await victim.kill();
        assert.equal(failure, null);

        await victim.start();
        const rows = new Set(await ids(await tabWith(options, victim)));
        assert.deepEqual(answered.filter((n) => !rows.has(`${n}-1`)), [], "what was answered is missing");
        const halves = [...rows].filter((id) => !rows.has(id.replace(/\d$/, (half) => 3 - half)));
        assert.deepEqual(halves, [], "of a transaction only a half is there");
      }
    });

    test("shows what one tab writes in another that watches", async () => {
      const [one, other] = [await tabWith({ dbid: "tabs" }), await tabWith({ dbid: "tabs" })];
      await other.run(() => void db.watch("SELECT id FROM todo ORDER BY id", [], (rows) => (window.rows = rows.map(({ id }) => id))));
      for (const id of ["1", "2"]) {
        await add(one, id);
        await other.until((id) => window.rows?.includes(id), id);
      }
      assert.deepEqual(await other.run(() => window.rows), ["1", "2"]);
    });

    test("sends what is written to the upstream, and hears what others wrote there", async () => {
      const tab = await tabWith({ dbid: "synced" });
      await add(tab, "from here");
      await tab.until(isSynced);
      assert.deepEqual((await server.rows("synced")).map(({ id }) => id), ["from here"]);

      await tab.run(() => void db.watch("SELECT id FROM todo", [], (rows) => (window.rows = rows.map(({ id }) => id))));
      await insertAt(server, "synced", "from there");
      await tab.until(() => window.rows?.includes("from there"));
    });

    test("sends what was written without a network when there is one", async () => {
      const tab = await tabWith({ dbid: "offline" });
      await add(tab, "online");
      await tab.until(isSynced);
      await server.kill();
      await tab.until(async () => (await db.getStatus()).upstream.state === "offline");
      await add(tab, "offline");
      await server.start();
      await tab.until(isSynced);
      assert.deepEqual((await server.rows("offline")).map(({ id }) => id), ["offline", "online"]);
    });

    test("lets a new worker take over that `applyUpdate()` asks for, with two tabs", async (t) => {
      const tabs = [await tabWith({ dbid: "updated" }), await tabWith({ dbid: "updated" })];
      for (const tab of tabs) await tab.run(() => void db.watch("SELECT id FROM todo ORDER BY id", [], (rows) => (window.rows = rows.map(({ id }) => id))));
      const [one, other] = tabs;
      await other.run(() => void db.onUpdate(() => (window.updateWaits = true)));
      await add(one, "before");
      for (const tab of tabs) await tab.until(() => window.rows?.includes("before"));

      www.append("crsql-sync-sw.js", "\n// another release\n");
      await one.run(async () => void (await navigator.serviceWorker.ready).update());
      await other.until(() => window.updateWaits);
      const took = await one.run(async () => {
        const begin = performance.now();
        if (!(await db.applyUpdate())) throw new Error("no worker waits");
        return Math.round(performance.now() - begin);
      });
      t.diagnostic(`the new worker took over in ${took} ms`);
      await add(one, "after");
      await add(other, "after in the other");
      for (const tab of tabs) {
        await tab.until(() => window.rows.length === 3);
        assert.equal(await tab.run(async () => (await navigator.serviceWorker.ready).waiting), null);
      }
    });

    test("exports a database as a file, and makes one of a file", async () => {
      const tab = await tabWith({ dbid: "exported" });
      await tab.run(() => db.exec("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO todo (id, title) SELECT i, hex(randomblob(100)) FROM n"));
      const status = await tab.run(async () => {
        const body = await (await fetch("/sync/exported/file")).blob();
        return (await fetch("/sync/imported/file", { method: "PUT", headers: { "content-type": "application/vnd.sqlite3" }, body })).status;
      });
      assert.equal(status, 201);
      const sum = "SELECT count(*) AS count, sum(length(title)) AS length FROM todo";
      const seen = await tab.run(async (options, sum) => (await lib.connect(options)).query(sum), { dbid: "imported", schema: SCHEMA, worker: WORKER }, sum);
      assert.deepEqual(seen, [{ count: 3000, length: 600_000 }]);
    });

    test("stores, watches and syncs in a private window, and leaves nothing", async (t) => {
      const window = await Browser.open(kind, { isPrivate: true });
      t.after(() => window.close());
      const options = { dbid: "private", page: { upstream: "/sync" } };
      const tab = await tabAt("page.html", window);
      await connect(tab, options);
      const { mode, storage } = await tab.run(async () => ({ mode: db.mode, storage: (await db.getStatus()).storage }));
      t.diagnostic(`mode ${mode}, storage ${storage}`);
      await add(tab, "1");
      assert.deepEqual(await ids(tab), ["1"]);
      await tab.until(isSynced);
      assert.deepEqual((await server.rows("private")).map(({ id }) => id), ["1"]);

      await window.quit();
      await window.start();
      assert.deepEqual(await (await tabAt("page.html", window)).run(() => indexedDB.databases()), []);
    });
  });
}

async function ready(tab) {
  await tab.until(() => window.lib !== undefined);
}

/** Opens a database in a tab as `db`. */
async function connect(tab, options) {
  await tab.run(async (options) => void (window.db = await lib.connect(options)), { schema: SCHEMA, worker: WORKER, ...options });
}

async function add(tab, id) {
  await tab.run((id) => db.exec("INSERT INTO todo (id) VALUES (?)", [id]), id);
}

/** All that are there; an answer has 10,000 rows at most. */
function ids(tab) {
  return tab.run(async () => (await db.query("SELECT id FROM todo ORDER BY id")).map(({ id }) => id));
}

/** Run in a page: whether both sides have the same. */
async function isSynced() {
  const { unsent, upstream } = await db.getStatus();
  return upstream.state === "online" && unsent.changes === 0;
}

async function insertAt(server, dbid, id) {
  const body = JSON.stringify({ sql: "INSERT INTO todo (id) VALUES (?)", params: [id] });
  const response = await fetch(`${server.url}sync/${dbid}/sql`, { method: "POST", headers: { "content-type": "application/json" }, body });
  assert.equal(response.status, 200, await response.text());
}
