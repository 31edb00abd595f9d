/** What happens to a worker: stopped, started by whoever asks, of another release, taken away. Pages notice nothing, or are told. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SCHEMA, Stage, outcome } from "./harness/stage.mjs";

describe("a worker", () => {
  test("that is stopped ten times under load gives a subscriber each change once", async (t) => {
    const stage = await Stage.open(t);
    const { page, profile } = stage;
    await stage.connect(page);
    await page.evaluate(() => {
      globalThis.versions = [];
      globalThis.db.subscribe((batch) => globalThis.versions.push(...globalThis.lib.readChanges(batch).map(({ table, pk, cid, version }) => `${table} ${pk} ${cid} ${version}`)));
      globalThis.written = 0;
      globalThis.writing = (async () => {
        while (!globalThis.enough) {
          await globalThis.db.exec("INSERT INTO note VALUES (?, 'x')", [globalThis.written + 1]);
          globalThis.written += 1;
        }
      })();
    });
    for (let n = 0; n < 10; n++) {
      await page.waitForTimeout(250);
      await profile.stopWorker();
    }
    const { written, versions } = await page.evaluate(async () => {
      globalThis.enough = true;
      await globalThis.writing;
      const deadline = Date.now() + 10_000;
      while (globalThis.versions.length < globalThis.written && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 20));
      return { written: globalThis.written, versions: globalThis.versions };
    });
    t.diagnostic(`${written} writes`);
    assert.ok(written > 20, `only ${written} writes`);
    assert.equal(new Set(versions).size, versions.length, "a change was told twice");
    assert.equal(versions.length, written);
  });

  test("is asked by message, which takes less time, and by fetch where that is not answered", async (t) => {
    const stage = await Stage.open(t);
    const { page, profile, www } = stage;
    let fetched = 0;
    page.on("request", (request) => (fetched += new URL(request.url()).pathname === "/sync/stage/sql" ? 1 : 0));
    const write = (text) => page.evaluate((text) => globalThis.db.exec("INSERT INTO note (text) VALUES (?)", [text]).then(({ changes }) => changes), text);
    await stage.connect(page);
    assert.equal(await write("by message"), 1);
    assert.equal(fetched, 0);
    await profile.stopWorker();
    // Whether the page has heard of that yet is chance.
    assert.equal(await write("by a message that starts it, or by fetch"), 1);
    const before = fetched;
    assert.equal(await write("by message to the one that was started"), 1);
    assert.equal(fetched, before);

    // This one hears of no line.
    www.replace("crsql-sync-sw.js", /crsql-sync:line\b/, "crsql-sync:nothing");
    await page.evaluate(async () => {
      await (await navigator.serviceWorker.ready).update();
      if (!(await globalThis.db.applyUpdate())) throw new Error("no worker waits");
    });
    assert.equal(await write("by fetch"), 1);
    assert.equal(fetched, before + 1);
    assert.deepEqual(await page.evaluate(() => globalThis.db.query("SELECT count(*) AS n FROM note")), [{ n: 4 }]);
  });

  test("is asked by one line for ten seconds, and then by another, so that the browser hears of it", async (t) => {
    const stage = await Stage.open(t);
    const { page } = stage;
    await stage.connect(page);
    const lines = await page.evaluate(async () => {
      const { db } = globalThis;
      const { postMessage } = ServiceWorker.prototype;
      const now = performance.now.bind(performance);
      const lines = new Set();
      ServiceWorker.prototype.postMessage = function (message, ...more) {
        if (message.type === "crsql-sync:line") lines.add(message.line);
        return postMessage.call(this, message, ...more);
      };
      const count = async () => {
        await Promise.all([db.query("SELECT 1"), db.query("SELECT 2")]);
        await db.exec("INSERT INTO note (text) VALUES ('x')");
        return lines.size;
      };
      const counted = [];
      for (const seconds of [20, 29, 31]) {
        performance.now = () => now() + seconds * 1000;
        counted.push(await count());
      }
      return counted;
    });
    assert.deepEqual(lines, [1, 1, 2]);
  });

  test("that is stopped while it is asked for much is asked again, and writes all of it once", async (t) => {
    const stage = await Stage.open(t);
    const { page, profile } = stage;
    await stage.connect(page);
    const writing = page.evaluate(async () => {
      const writes = Array.from({ length: 50 }, (_, n) => globalThis.db.exec("INSERT INTO note VALUES (?, 'x')", [n]));
      return (await Promise.all(writes)).length;
    });
    await profile.stopWorker();
    assert.equal(await writing, 50);
    assert.deepEqual(await page.evaluate(() => globalThis.db.query("SELECT count(*) AS n FROM note")), [{ n: 50 }]);
  });

  test("answers whoever asks, when it was not running and no page has the client", async (t) => {
    const stage = await Stage.open(t, { change: (www) => www.write("bare.html", "<!doctype html>") });
    const { page, profile, server } = stage;
    await stage.connect(page, { dbid: "demo" });
    await page.evaluate(() => globalThis.db.exec("INSERT INTO todo (id, title) VALUES ('1', 'kept')"));
    await page.goto(`${server.url}bare.html`);
    await profile.stopWorker();
    const answer = await page.evaluate(async () => {
      const body = JSON.stringify({ sql: "SELECT title FROM todo" });
      const response = await fetch("/sync/demo/sql", { method: "POST", headers: { "content-type": "application/json" }, body });
      return (await response.json()).results;
    });
    assert.deepEqual(answer[0].rows, [["kept"]]);
  });

  test("of a release that does not understand the page is refused, with what to do", async (t) => {
    const change = (www) => www.replace("crsql-sync-sw.js", /protocol: ?1\b/, "protocol:99");
    const { page } = await Stage.open(t, { change });
    const { code, message } = await page.evaluate(outcome, { dbid: "a", schema: SCHEMA });
    assert.equal(code, "version_mismatch");
    assert.match(message, /npx crsql-sync init/);
  });

  test("of such a release that takes over while the page is open is told of too", async (t) => {
    const stage = await Stage.open(t);
    const { page, www } = stage;
    await stage.connect(page);
    www.replace("crsql-sync-sw.js", /protocol: ?1\b/, "protocol:99");
    const code = await page.evaluate(async () => {
      const { db } = globalThis;
      await (await navigator.serviceWorker.ready).update();
      if (!(await db.applyUpdate())) throw new Error("no worker waits");
      for (let n = 0; n < 100; n++) {
        const code = await db.query("SELECT 1").then(() => "answered", (error) => error.code);
        if (code !== "answered") return code;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return "answered";
    });
    assert.equal(code, "version_mismatch");
  });

  test("and its databases can be taken away", async (t) => {
    const stage = await Stage.open(t);
    const { page } = stage;
    await stage.connect(page, { dbid: "a", worker: "/crsql-sync-sw.js" });
    const seen = await page.evaluate(async (options) => {
      const { lib, db } = globalThis;
      await lib.connect({ ...options, dbid: "b" });
      await db.exec("INSERT INTO note VALUES (1, 'gone')");
      const { site } = await db.getStatus();
      const one = await lib.wipe("b");
      const all = await lib.wipe();
      await db.create();
      const empty = await db.query("SELECT * FROM note");
      const isOther = (await db.getStatus()).site !== site;
      db.close();
      const unregistered = [await lib.unregister(), (await navigator.serviceWorker.getRegistrations()).length, await lib.unregister()];
      return { one, all, empty, isOther, unregistered };
    }, { schema: SCHEMA, worker: "/crsql-sync-sw.js" });
    assert.deepEqual(seen, { one: ["b"], all: ["a"], empty: [], isOther: true, unregistered: [true, 0, false] });
  });

  test("leaves navigations alone, also those under its prefix", async (t) => {
    const stage = await Stage.open(t);
    await stage.connect(stage.page, { dbid: "demo" });
    const own = await stage.page.evaluate(() => fetch("/sync/demo/status").then((response) => response.json()));
    assert.equal(own.at, await stage.page.evaluate(() => globalThis.db.getStatus().then(({ at }) => at)));
    const response = await stage.page.goto(`${stage.server.url}sync/demo/status`);
    assert.equal(response.fromServiceWorker(), false);
  });
});
