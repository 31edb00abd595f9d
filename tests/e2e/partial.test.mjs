/** Partial copies in Chromium: what they hold, and what becomes of it when workers, servers and rows come and go. */

import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Stage } from "./harness/stage.mjs";
import { suiteContext } from "./harness/suite.mjs";

const SCHEMA = `
  CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL DEFAULT '', project TEXT NOT NULL DEFAULT '');
  CREATE TABLE member (project TEXT NOT NULL, person TEXT NOT NULL, PRIMARY KEY (project, person));
  SELECT crsql_as_crr('task'); SELECT crsql_as_crr('member');`;
/** The tasks of a person's projects. */
const TASKS_OF = "SELECT * FROM task WHERE project IN (SELECT project FROM member WHERE person = ?)";

describe("a partial copy", () => {
  const context = suiteContext();
  let stage;

  /** Runs SQL at the server, as another user would. */
  const sql = async (sql, ...params) => {
    const request = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ sql, params }) };
    const response = await fetch(`${stage.server.url}sync/stage/sql`, request);
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()).results[0].rows;
  };
  const connect = (tab = stage.page) => stage.connect(tab, { schema: SCHEMA, partial: true });
  /** Subscribes in the page as `mine`, and waits until it is ready. */
  const subscribe = (tab = stage.page) =>
    tab.evaluate(async (sql) => {
      globalThis.mine = globalThis.db.subscribe([[sql, ["ann"]]], { id: "mine" });
      await globalThis.mine.ready;
    }, TASKS_OF);
  const ids = (tab = stage.page) => tab.evaluate(async () => (await globalThis.db.query("SELECT id FROM task ORDER BY id")).map(({ id }) => id));
  const has = async (wanted, timeout = 15_000) => {
    const deadline = Date.now() + timeout;
    for (;;) {
      const got = await ids();
      if (JSON.stringify(got) === JSON.stringify(wanted)) return;
      if (Date.now() > deadline) assert.deepEqual(got, wanted, JSON.stringify(await stage.profile.status()));
      await sleep(50);
    }
  };

  before(async () => {
    stage = await Stage.open(context, { args: ["--sql"] });
    const create = { method: "PUT", headers: { "content-type": "application/json" }, body: JSON.stringify({ schema: SCHEMA }) };
    assert.equal((await fetch(`${stage.server.url}sync/stage`, create)).status, 201);
    await sql("INSERT INTO task SELECT value, 'task ' || value, CASE value % 3 WHEN 0 THEN 'boat' WHEN 1 THEN 'house' ELSE 'tree' END FROM json_each('[1,2,3,4,5,6,7,8,9]')");
    await sql("INSERT INTO member VALUES ('boat', 'ann'), ('house', 'ben')");
    await connect();
  });

  test("has the rows of its queries and no others, and shows them", async () => {
    assert.deepEqual(await ids(), []);
    const seen = await stage.page.evaluate(async (sql) => {
      const { db } = globalThis;
      const states = [];
      const shown = new Promise((resolve) => db.watch("SELECT id FROM task ORDER BY id", [], (rows) => rows.length === 3 && resolve(rows.map(({ id }) => id))));
      globalThis.mine = db.subscribe([[sql, ["ann"]]], { id: "mine" });
      globalThis.mine.status.subscribe(({ state }) => states.push(state));
      await globalThis.mine.ready;
      const { current } = globalThis.mine.status;
      return { shown: await shown, first: states[0], current };
    }, TASKS_OF);
    assert.deepEqual(seen, { shown: ["3", "6", "9"], first: "pending", current: { state: "complete", rows: 4, error: null } });
    assert.equal(await stage.page.evaluate(async () => (await globalThis.db.query("SELECT count(*) AS n FROM member"))[0].n), 1);
    assert.deepEqual((await stage.page.evaluate(() => globalThis.db.getStatus({ clock: true }))).clock, {}, "it claims nothing");
  });

  test("gets a row because another row changed", async () => {
    await sql("INSERT INTO member VALUES ('tree', 'ann')");
    await has(["2", "3", "5", "6", "8", "9"]);
  });

  test("forgets rows that leave, which stay at the server, and gets them back whole", async () => {
    const shows = (count) => stage.page.waitForFunction((count) => globalThis.shown?.length === count, count, { timeout: 10_000 });
    await stage.page.evaluate(() => void (globalThis.stop = globalThis.db.watch("SELECT id FROM task", [], (rows) => (globalThis.shown = rows))));
    await shows(6);
    // Of rows that only leave no change tells.
    await sql("UPDATE task SET project = 'sea' WHERE id = '2'");
    await shows(5);
    await sql("UPDATE task SET project = 'tree' WHERE id = '2'");
    await shows(6);
    await sql("DELETE FROM member WHERE project = 'tree'");
    await shows(3);
    await stage.page.evaluate(() => globalThis.stop());
    assert.equal((await sql("SELECT id FROM task")).length, 9);
    await sql("INSERT INTO member VALUES ('tree', 'ann')");
    await has(["2", "3", "5", "6", "8", "9"]);
    const titles = await stage.page.evaluate(async () => (await globalThis.db.query("SELECT title FROM task ORDER BY id")).map(({ title }) => title));
    assert.deepEqual(titles, ["task 2", "task 3", "task 5", "task 6", "task 8", "task 9"]);
    await sql("DELETE FROM member WHERE project = 'tree'");
    await has(["3", "6", "9"]);
  });

  test("sends what is written to rows that it holds, and lets go of those that it gives away", async () => {
    await stage.page.evaluate(() => globalThis.db.batch(["UPDATE task SET title = 'mine' WHERE id = '3'", "INSERT INTO task VALUES ('10', 'new', 'boat')", "UPDATE task SET project = 'house' WHERE id = '6'"]).then(() => {}));
    await has(["10", "3", "9"]);
    assert.deepEqual(await sql("SELECT id, title, project FROM task WHERE id IN ('3', '6', '10') ORDER BY id"), [["10", "new", "boat"], ["3", "mine", "boat"], ["6", "task 6", "house"]]);
  });

  test("stays in step while workers are killed, servers are restarted and streams are cut", async () => {
    const wanted = ["10", "3", "9"];
    for (let round = 0; round < 4; round++) {
      await stage.profile.stopWorker();
      await sql("INSERT INTO task VALUES (?, 'while the worker was away', 'boat')", `w${round}`);
      await stage.page.evaluate((id) => globalThis.db.exec("INSERT INTO task VALUES (?, 'of a new worker', 'boat')", [id]).then(() => {}), `x${round}`);
      await stage.server.kill();
      await stage.page.evaluate((id) => globalThis.db.exec("INSERT INTO task VALUES (?, 'while the server was away', 'boat')", [id]).then(() => {}), `y${round}`);
      if (round % 2) await stage.profile.stopWorker();
      await stage.server.start();
      await stage.page.evaluate(() => globalThis.db.wake());
      await sql("INSERT INTO task VALUES (?, 'of a new server', 'boat')", `z${round}`);
      await sql("INSERT INTO task VALUES (?, 'not of ann', 'house')", `n${round}`);
      wanted.push(...["w", "x", "y", "z"].map((name) => `${name}${round}`));
      await has(wanted.toSorted(), 60_000);
    }
    const there = (await sql("SELECT task.id FROM task WHERE project = 'boat' ORDER BY id")).map(([id]) => id);
    assert.deepEqual(there, wanted.toSorted());
    await sql("DELETE FROM task WHERE length(id) = 2 AND id <> '10'");
    await has(["10", "3", "9"]);
  });

  test("that is stopped while it catches up goes on where it was", async () => {
    await sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000) INSERT INTO task SELECT 'k' || i, 'many', 'many' FROM n");
    await stage.page.evaluate(() => void (globalThis.many = globalThis.db.subscribe("SELECT * FROM task WHERE project = 'many'", { id: "many" })));
    for (let kill = 0; kill < 3; kill++) {
      await sleep(150);
      await stage.profile.stopWorker();
    }
    await stage.page.evaluate(() => globalThis.many.ready);
    const count = () => stage.page.evaluate(async () => (await globalThis.db.query("SELECT count(*) AS n FROM task WHERE project = 'many'"))[0].n);
    assert.equal(await count(), 25000);
    await stage.page.evaluate(() => globalThis.many.unsubscribe());
    assert.equal(await count(), 0);
    assert.equal((await sql("SELECT count(*) FROM task WHERE project = 'many'"))[0][0], 25000);
  });

  test("says which query the server refuses, and goes on", async () => {
    const seen = await stage.page.evaluate(async () => {
      const wrong = globalThis.db.subscribe("SELECT * FROM nowhere");
      const code = await wrong.ready.catch(({ name, code }) => `${name} ${code}`);
      const { state, error } = wrong.status.current;
      await wrong.unsubscribe();
      return { code, state, error: error.code };
    });
    assert.deepEqual(seen, { code: "SyncError query_refused", state: "error", error: "query_refused" });
    await sql("INSERT INTO task VALUES ('11', 'goes on', 'boat')");
    await has(["10", "11", "3", "9"]);
  });

  test("is asked for by tabs together, and until the last one ends it", async () => {
    const tab = await stage.tab();
    await connect(tab);
    await subscribe(tab);
    const subscriptions = () => stage.profile.status().then(({ subscriptions }) => subscriptions.map(({ id }) => id));
    await stage.page.evaluate(() => globalThis.mine.unsubscribe());
    assert.deepEqual(await subscriptions(), ["mine"], "another tab has it");
    assert.deepEqual(await ids(tab), ["10", "11", "3", "9"]);
    await tab.evaluate(() => globalThis.mine.unsubscribe());
    assert.deepEqual(await subscriptions(), []);
    assert.deepEqual(await ids(tab), []);
    await subscribe(tab);
    assert.deepEqual(await ids(tab), ["10", "11", "3", "9"]);
    await tab.close();
    await subscribe();
    assert.deepEqual(await subscriptions(), ["mine"], "who closes a tab ends nothing");
  });

  test("opens without the server, with what it had, and takes writes", async () => {
    await stage.server.kill();
    await stage.profile.stopWorker();
    // The page itself is the server's here: another one of the same worker stays.
    await connect();
    await subscribe();
    assert.deepEqual(await ids(), ["10", "11", "3", "9"]);
    await stage.page.evaluate(() => globalThis.db.exec("INSERT INTO task VALUES ('12', 'offline', 'boat')").then(() => {}));
    await stage.server.start();
    await stage.page.reload();
    await stage.page.waitForFunction(() => globalThis.lib);
    await connect();
    await subscribe();
    await stage.page.evaluate(() => globalThis.db.wake());
    for (let tries = 0; tries < 200 && (await sql("SELECT 1 FROM task WHERE id = '12'")).length === 0; tries++) await sleep(50);
    assert.equal((await sql("SELECT title FROM task WHERE id = '12'"))[0][0], "offline");
    await has(["10", "11", "12", "3", "9"]);
  });

  test("is decided when a database is created", async () => {
    const codes = await stage.page.evaluate(async (schema) => {
      const { lib, db } = globalThis;
      const worker = "/crsql-sync-sw.js?upstream=/sync";
      await lib.connect({ dbid: "full", schema, worker });
      const again = await lib.connect({ dbid: "full", schema, worker, partial: true }).catch(({ code }) => code);
      const full = await lib.connect({ dbid: "full", schema, worker });
      const refused = await full.subscribe("SELECT * FROM task").ready.catch(({ code }) => code);
      const server = await lib.connect({ dbid: "stage", schema, partial: true, mode: "server" });
      const there = server.subscribe("SELECT * FROM task");
      await there.ready;
      return [again, refused, there.status.current.state, (await db.getStatus()).subscriptions.length];
    }, SCHEMA);
    assert.deepEqual(codes, ["database_exists", "invalid_request", "complete", 1]);
  });

  test("can be made by hand: the rows of queries go from one database to another as a batch", async () => {
    const copied = await stage.page.evaluate(async ([schema, query]) => {
      const { lib } = globalThis;
      const server = await lib.connect({ dbid: "stage", schema, mode: "server" });
      const batch = await server.getChangesForQueries([[query, ["ann"]]]);
      const mine = await lib.connect({ dbid: "by-hand", schema, worker: "/crsql-sync-sw.js?upstream=/sync" });
      await mine.applyChanges(batch);
      return [await mine.query(query, ["ann"]), await server.query(query, ["ann"]), await mine.query("SELECT * FROM member")];
    }, [SCHEMA, TASKS_OF]);
    const [mine, theirs, members] = copied;
    assert.ok(mine.length > 0);
    assert.deepEqual(mine, theirs);
    assert.deepEqual([...new Set(members.map(({ person }) => person))], ["ann"]);
  });
});
