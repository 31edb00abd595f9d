/** The core in the page, for windows without service workers. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SCHEMA, Stage, outcome } from "./harness/stage.mjs";

/** Takes service workers away from the pages that are opened from now on, as some private windows and in-app browsers do. */
async function withoutWorkers(stage) {
  await stage.page.context().addInitScript(() => Object.defineProperty(Navigator.prototype, "serviceWorker", { value: undefined }));
  await stage.page.reload();
  await stage.page.waitForFunction(() => globalThis.lib);
}

const PAGE = { upstream: "/sync" };

describe("a window without service workers", () => {
  test("is told so by a code, unless the core may run in the page", async (t) => {
    const stage = await Stage.open(t);
    await withoutWorkers(stage);
    const { code, message } = await stage.page.evaluate(outcome, { dbid: "a", schema: SCHEMA });
    assert.equal(code, "no_service_worker");
    assert.match(message, /page/);
    assert.deepEqual(await stage.page.evaluate(outcome, { dbid: "a", schema: SCHEMA, page: PAGE }), { code: "none", mode: "page" });
  });

  test("stores, watches and syncs by the same core, and a worker finds what it stored", async (t) => {
    const stage = await Stage.open(t);
    const { page, server } = stage;
    await stage.connect(page, { dbid: "demo", mode: "page", page: PAGE });
    const seen = await page.evaluate(async () => {
      const { db } = globalThis;
      const rows = new Promise((resolve) => db.watch("SELECT title FROM todo", [], (rows) => rows.length === 1 && resolve(rows)));
      await db.exec("INSERT INTO todo (id, title) VALUES ('1', 'from the page')");
      return rows;
    });
    assert.deepEqual(seen, [{ title: "from the page" }]);
    await page.evaluate(() => new Promise((resolve) => globalThis.db.status.subscribe(({ state, unsent }) => state === "online" && unsent.changes === 0 && resolve())));
    assert.deepEqual((await server.rows()).map((row) => row.title), ["from the page"]);

    // The page lets go of it when it has closed all it had.
    await page.evaluate(() => globalThis.db.close());
    await stage.connect(page, { dbid: "demo" });
    assert.equal(await page.evaluate(() => globalThis.db.mode), "worker");
    assert.deepEqual(await page.evaluate(() => globalThis.db.query("SELECT title FROM todo")), [{ title: "from the page" }]);
  });

  test("waits for the tab that has the database, or says that it is taken", async (t) => {
    const stage = await Stage.open(t);
    await stage.connect(stage.page, { mode: "page", page: PAGE });
    await stage.page.evaluate(() => globalThis.db.exec("INSERT INTO note VALUES (1, 'first tab')"));
    const tab = await stage.tab();
    const options = { dbid: "stage", schema: SCHEMA, mode: "page" };
    const { code, message } = await tab.evaluate(outcome, { ...options, page: { ...PAGE, whenTaken: "fail" } });
    assert.equal(code, "taken");
    assert.match(message, /Another tab/);
    const given = await tab.evaluate(async (options) => {
      const signal = AbortSignal.timeout(200);
      return globalThis.lib.connect({ ...options, signal }).catch((error) => error.name);
    }, options);
    assert.equal(given, "TimeoutError");

    const waiting = tab.evaluate(outcome, { ...options, page: PAGE });
    await stage.page.waitForTimeout(300);
    await stage.page.close();
    assert.deepEqual(await waiting, { code: "none", mode: "page" });
    assert.deepEqual(await tab.evaluate(() => globalThis.db.query("SELECT text FROM note")), [{ text: "first tab" }]);
  });

  test("goes on after the engine trapped", async (t) => {
    const stage = await Stage.open(t);
    const { page } = stage;
    await stage.connect(page, { mode: "page", page: PAGE });
    const rows = await page.evaluate(async () => {
      const { db } = globalThis;
      await db.exec("INSERT INTO note VALUES (1, 'before')");
      const seen = [];
      db.watch("SELECT text FROM note ORDER BY id", [], (rows) => seen.push(rows.length));
      const until = async (test) => {
        while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      await until(() => seen.length === 1);
      // What a panic in a task of the engine looks like from outside.
      setTimeout(() => {
        throw new WebAssembly.RuntimeError("unreachable");
      });
      await new Promise((resolve) => setTimeout(resolve, 50));
      await db.exec("INSERT INTO note VALUES (2, 'after')");
      await until(() => seen.at(-1) === 2);
      return db.query("SELECT text FROM note ORDER BY id");
    });
    assert.deepEqual(rows, [{ text: "before" }, { text: "after" }]);
  });
});
