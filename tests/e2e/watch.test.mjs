/** Live queries: run again when a table changes that they read, in every tab, and not otherwise. */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { Stage, countAsked } from "./harness/stage.mjs";
import { suiteContext } from "./harness/suite.mjs";

describe("a live query", () => {
  let stage, page;
  const context = suiteContext();

  before(async () => {
    stage = await Stage.open(context);
    page = stage.page;
    await countAsked(page);
    await stage.connect(page);
  });

  test("is run again for changes of the tables that it reads, and for no others", async () => {
    const { seen, before, runs } = await page.evaluate(async () => {
      const { db } = globalThis;
      const runs = () => globalThis.asked("count(*) AS todos");
      const seen = [];
      const stop = db.watch("SELECT count(*) AS todos FROM todo", [], ([row]) => seen.push(row.todos));
      const until = async (test) => {
        while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      await until(() => seen.length === 1);
      await db.exec("INSERT INTO todo (id) VALUES ('w1')");
      await until(() => seen.length === 2);
      const before = runs();
      for (let id = 1; id <= 5; id++) await db.exec("INSERT INTO note VALUES (?, 'x')", [id]);
      await new Promise((resolve) => setTimeout(resolve, 300));
      stop();
      return { seen, before, runs: runs() - before };
    });
    assert.deepEqual(seen, [0, 1]);
    assert.equal(before, 2);
    assert.equal(runs, 0, "it was run again for changes of another table");
  });

  test("of a row is run again when that row changes, comes or goes, and for no other", async () => {
    const { seen, before, runs } = await page.evaluate(async () => {
      const { db } = globalThis;
      const sql = "SELECT text AS one_row FROM note WHERE id = ?";
      const runs = () => globalThis.asked("one_row");
      const [seen, all] = [[], []];
      const stops = [db.watch(sql, [-1000], (rows) => seen.push(rows[0]?.one_row ?? "none")), db.subscribe(({ changes }) => all.push(...changes))];
      const until = async (test) => {
        while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      await until(() => seen.length === 1);
      await db.exec("INSERT INTO note VALUES (-1000, 'came')");
      await until(() => seen.length === 2);
      await db.exec("UPDATE note SET text = 'changed' WHERE id = -1000");
      await until(() => seen.length === 3);
      const [before, told] = [runs(), all.length];
      for (let id = -1010; id < -1000; id++) await db.exec("INSERT INTO note VALUES (?, 'another')", [id]);
      await until(() => all.length >= told + 10);
      const between = runs() - before;
      await db.exec("UPDATE note SET id = -2000 WHERE id = -1000");
      await until(() => seen.length === 4);
      for (const stop of stops) stop();
      return { seen, before, runs: between };
    });
    assert.deepEqual(seen, ["none", "came", "changed", "none"]);
    assert.equal(before, 3);
    assert.equal(runs, 0, "it was run again for other rows");
  });

  test("is one for all who watch it, and keeps rows that did not change", async () => {
    const seen = await page.evaluate(async () => {
      const { db } = globalThis;
      await db.batch([["INSERT INTO note VALUES (100, 'a')"], ["INSERT INTO note VALUES (101, 'b')"]]);
      const sql = "SELECT id, text FROM note WHERE id >= ? ORDER BY id";
      const results = [];
      const both = [];
      const stops = [1, 2].map((who) => db.watch(sql, [100], (rows) => (both.push(who), results.push(rows))));
      const until = async (test) => {
        while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      await until(() => results.length === 2);
      const first = globalThis.asked("id >= ?");
      await db.exec("UPDATE note SET text = 'c' WHERE id = 101");
      await until(() => results.length === 4);
      for (const stop of stops) stop();
      const [before, , after] = results;
      return { first, both, same: before === results[1], kept: before[0] === after[0], changed: [before[1].text, after[1].text] };
    });
    assert.deepEqual(seen, { first: 1, both: [1, 2, 1, 2], same: true, kept: true, changed: ["b", "c"] });
  });

  test("in another tab shows a write soon", async (t) => {
    const tab = await stage.tab();
    await stage.connect(tab);
    const origin = await tab.evaluate(async () => {
      globalThis.arrived = new Map();
      await new Promise((resolve) => {
        globalThis.db.watch("SELECT id FROM todo WHERE id LIKE 'timed-%'", [], (rows) => {
          for (const { id } of rows) if (!globalThis.arrived.has(id)) globalThis.arrived.set(id, performance.timeOrigin + performance.now());
          resolve();
        });
      });
    });
    assert.equal(origin, undefined);
    const begun = await page.evaluate(async () => {
      const begun = [];
      for (let n = 0; n < 41; n++) {
        const id = `timed-${n}`;
        begun.push([id, performance.timeOrigin + performance.now()]);
        await globalThis.db.exec("INSERT INTO todo (id) VALUES (?)", [id]);
        await new Promise((resolve) => setTimeout(resolve, 60));
      }
      return begun;
    });
    const arrived = new Map(await tab.evaluate(() => [...globalThis.arrived]));
    const took = begun.map(([id, at]) => arrived.get(id) - at).sort((a, b) => a - b);
    t.diagnostic(`from exec() in one tab to the callback in another: median ${took[20].toFixed(1)} ms, slowest ${took.at(-1).toFixed(1)} ms`);
    // A figure of a busy machine: `make bench-browser` measures.
    assert.ok(took[20] <= 500, `median ${took[20]} ms`);
    await tab.close();
  });

  test("in another tab shows a thousand writes of one burst", async () => {
    const tab = await stage.tab();
    await stage.connect(tab);
    await tab.evaluate(() => {
      globalThis.count = 0;
      globalThis.db.watch("SELECT count(*) AS n FROM todo WHERE id LIKE 'burst-%'", [], ([{ n }]) => (globalThis.count = n));
    });
    await page.evaluate(async () => {
      const write = (n) => globalThis.db.exec("INSERT INTO todo (id) VALUES (?)", [`burst-${n}`]);
      await Promise.all(Array.from({ length: 1000 }, (_, n) => write(n)));
    });
    await tab.waitForFunction(() => globalThis.count === 1000, undefined, { timeout: 10_000 });
    await tab.close();
  });

  test("says what is wrong with its SQL, and goes on when it can", async () => {
    const errors = await page.evaluate(async () => {
      const { db } = globalThis;
      const errors = [];
      const rows = await new Promise((resolve) => {
        db.watch("SELECT extra FROM note", [], resolve, {
          onError: async (error) => {
            errors.push(error.code);
            await db.migrate(`
              CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL DEFAULT '', done INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL DEFAULT 0);
              CREATE TABLE note (id INTEGER PRIMARY KEY NOT NULL, text, extra TEXT DEFAULT 'more');
              SELECT crsql_as_crr('todo'); SELECT crsql_as_crr('note');`);
          },
        });
      });
      return [...errors, rows[0].extra];
    });
    assert.deepEqual(errors, ["query_refused", "more"]);
  });

  test("ends with its signal, and with the database", async () => {
    const seen = await page.evaluate(async () => {
      const db = await globalThis.lib.connect({ dbid: "short", schema: "CREATE TABLE t (a INTEGER PRIMARY KEY NOT NULL); SELECT crsql_as_crr('t')", worker: "/crsql-sync-sw.js?upstream=/sync" });
      const controller = new AbortController();
      const seen = [];
      db.watch("SELECT count(*) AS n FROM t", [], ([{ n }]) => seen.push(`signal ${n}`), { signal: controller.signal });
      db.watch("SELECT count(*) AS n FROM t WHERE a > 0", [], ([{ n }]) => seen.push(`database ${n}`));
      const until = async (test) => {
        while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
      };
      await until(() => seen.length === 2);
      controller.abort();
      await db.exec("INSERT INTO t VALUES (1)");
      await until(() => seen.length === 3);
      db.close();
      const code = await db.exec("INSERT INTO t VALUES (2)").catch((error) => error.code);
      return [...seen.sort(), code];
    });
    assert.deepEqual(seen, ["database 0", "database 1", "signal 0", "closed"]);
  });
});
