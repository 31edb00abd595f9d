/**
 * Writes and merges compared with the real cr-sqlite, change by change. Needs `cargo build` and `npm install`.
 *
 *     node --test tests/conformance/
 *     SEEDS=1000-1999 node --test tests/conformance/    other random programs
 */

import assert from "node:assert/strict";
import { after, describe as suite, test } from "node:test";
import { changes, describe, mergeSql } from "./changes.mjs";
import { columnsLeftOut } from "./differences.mjs";
import { OurPeer } from "./ours.mjs";
import { SCHEMA, SITES, listing, program, shuffled } from "./program.mjs";
import { RealPeer } from "./real.mjs";

const ENGINES = [RealPeer, OurPeer];
const FOO = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo')";
const opened = [];
after(() => Promise.all(opened.map((peer) => peer.close())));

/** A peer of each engine, with the same schema. */
async function openBoth(schema) {
  const peers = await Promise.all(ENGINES.map((engine) => engine.open(schema)));
  opened.push(...peers);
  return peers;
}

async function siteOf(peer) {
  return (await peer.query("SELECT hex(crsql_site_id())"))[0][0];
}

suite("golden traces", () => {
  // What each statement leaves, as recorded from cr-sqlite: key, column, value, col_version, db_version, cl, seq.
  const trace = [
    ["INSERT INTO foo VALUES (1, 2, 3)", "1 b 2 1 1 1 0", "1 c 3 1 1 1 1"],
    ["UPDATE foo SET b = 3", "1 c 3 1 1 1 1", "1 b 3 2 2 1 0"],
    ["INSERT OR REPLACE INTO foo VALUES (1, 3, 9)", "1 b 3 3 3 1 1", "1 c 9 2 3 1 2"],
    ["DELETE FROM foo", "1 -1 NULL 2 4 2 0"],
    ["INSERT INTO foo (a, b) VALUES (1, 5)", "1 -1 NULL 3 5 3 0", "1 b 5 1 5 3 1", "1 c NULL 1 5 3 2"],
    ["INSERT OR REPLACE INTO foo VALUES (1, 6, 7)", "1 -1 NULL 5 6 5 0", "1 b 6 2 6 5 1", "1 c 7 2 6 5 2"],
    ["INSERT INTO foo VALUES (1, 0, 0) ON CONFLICT DO UPDATE SET c = 8", "1 -1 NULL 5 6 5 0", "1 b 6 2 6 5 1", "1 c 8 3 7 5 0"],
  ];
  const show = (list) => list.map(({ pk, cid, val, colVersion, dbVersion, cl, seq }) => [Number(`0x${pk.slice(4)}`), cid, val, colVersion, dbVersion, cl, seq].join(" "));

  test("every kind of statement leaves the change rows of the trace", async () => {
    for (const peer of await openBoth(FOO)) {
      for (const [sql, ...expected] of trace) {
        await peer.exec(sql);
        assert.deepEqual(show(await changes(peer)).sort(), expected.sort(), `${peer.constructor.name}: after ${sql}`);
      }
    }
  });

  test("a merge decides by causal length, then version, then value", async () => {
    const [AA, BB, CC] = ["AA", "BB", "CC"].map((byte) => byte.repeat(16));
    const steps = [
      [["-1", "NULL", 2, 5, AA, 2, 0], `-1 NULL 2 5 ${AA} 2 0`],
      [["b", "9", 50, 6, AA, 1, 0], `-1 NULL 2 5 ${AA} 2 0`],
      [["-1", "NULL", 2, 9, BB, 2, 0], `-1 NULL 2 5 ${AA} 2 0`],
      [["-1", "NULL", 4, 9, BB, 4, 0], `-1 NULL 4 9 ${BB} 4 0`],
      [["b", "3", 7, 9, AA, 5, 2], `-1 NULL 5 10 ${AA} 5 2`, `b 3 7 10 ${AA} 5 2`],
      [["-1", "NULL", 5, 9, AA, 5, 1], `-1 NULL 5 10 ${AA} 5 2`, `b 3 7 10 ${AA} 5 2`],
      [["-1", "NULL", 7, 10, CC, 7, 1], `-1 NULL 7 11 ${CC} 7 1`, `b 3 0 11 ${AA} 7 2`],
      [["b", "99", 0, 10, CC, 7, 1], `-1 NULL 7 11 ${CC} 7 1`, `b 99 0 12 ${CC} 7 1`],
      [["b", "2", 1, 10, CC, 7, 1], `-1 NULL 7 11 ${CC} 7 1`, `b 2 1 13 ${CC} 7 1`],
    ];
    for (const peer of await openBoth("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')")) {
      for (const [[cid, val, colVersion, dbVersion, site, cl, seq], ...expected] of steps) {
        const change = { table: "foo", pk: "010901", cid, val, colVersion, dbVersion, site, cl, seq };
        await peer.exec(mergeSql([change]));
        const found = (await changes(peer)).map((c) => [c.cid, c.val, c.colVersion, c.dbVersion, c.site, c.cl, c.seq].join(" "));
        assert.deepEqual(found.sort(), expected.sort(), `${peer.constructor.name}: after ${JSON.stringify(change)}`);
      }
    }
  });

  test("a merge in a transaction raises the version of the local writes after it", async () => {
    const change = { table: "foo", pk: "010903", cid: "b", val: "'merged'", colVersion: 1, dbVersion: 50, site: "AA".repeat(16), cl: 1, seq: 7 };
    const insert = mergeSql([change]).split(";\n")[1];
    for (const peer of await openBoth("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('foo')")) {
      await peer.exec("INSERT INTO foo VALUES (1, 1)");
      await peer.exec(["BEGIN", "INSERT INTO foo VALUES (2, 2)", insert, "INSERT INTO foo VALUES (4, 4)", "COMMIT"].join(";\n"));
      const found = (await changes(peer)).map((c) => [c.pk, c.dbVersion, c.seq].join(" "));
      assert.deepEqual(found.sort(), ["010901 1 0", "010902 2 0", "010903 50 7", "010904 50 1"], peer.constructor.name);
      assert.deepEqual(await peer.query("SELECT crsql_db_version()"), [["50"]], peer.constructor.name);
    }
  });

  test("a row deleted and inserted again by two sites ends with the larger value, and each keeps its own sentinel", async () => {
    for (const engine of ENGINES) {
      const [a, b] = await Promise.all([engine.open(FOO), engine.open(FOO)]);
      opened.push(a, b);
      await a.exec("INSERT INTO foo VALUES (1, 'old', 0)");
      await b.exec(mergeSql(await changes(a)));
      for (const [peer, name] of [[a, "A"], [b, "B"]]) {
        await peer.exec("DELETE FROM foo WHERE a = 1");
        await peer.exec(`INSERT INTO foo VALUES (1, '${name}', 0)`);
      }
      const [fromA, fromB] = [await changes(a), await changes(b)];
      await a.exec(mergeSql(fromB));
      await b.exec(mergeSql(fromA));
      const [siteA, siteB] = [await siteOf(a), await siteOf(b)];
      for (const [peer, own] of [[a, siteA], [b, siteB]]) {
        const cells = new Map((await changes(peer)).map((change) => [change.cid, change]));
        assert.deepEqual(await peer.query("SELECT * FROM foo"), [["1", "B", "0"]]);
        assert.equal(cells.get("b").site, siteB, engine.name);
        assert.equal(cells.get("-1").site, own, engine.name);
        assert.equal(cells.get("-1").cl, "3", engine.name);
      }
    }
  });
});

suite("named differences", () => {
  const cases = [
    ["UPDATE foo SET b = 2 /* changes nothing */", "UPDATE foo SET c = 4"],
    ["UPDATE foo SET a = 2 /* moves the key */", "UPDATE foo SET b = 100", "UPDATE foo SET a = 1 /* moves the key */"],
  ];
  for (const statements of cases) {
    test(`nothing else differs after ${statements[0]}`, async () => {
      const [real, ours] = await openBoth(FOO);
      const done = [];
      for (const sql of ["INSERT INTO foo VALUES (1, 2, 3)", ...statements]) {
        done.push(sql);
        for (const peer of [real, ours]) await peer.exec(sql);
        const shown = [];
        for (const peer of [real, ours]) shown.push(describe(await changes(peer), new Map([[await siteOf(peer), "me"]]), columnsLeftOut(done)));
        assert.deepEqual(shown[1], shown[0], `after ${sql}`);
      }
    });
  }
});

suite("random programs", { concurrency: 2 }, () => {
  const [first, last] = (process.env.SEEDS ?? "1-300").split("-").map(Number);
  const CHUNK = 25;
  for (let from = first; from <= last; from += CHUNK) {
    const to = Math.min(from + CHUNK - 1, last);
    test(`seeds ${from} to ${to} leave the same changes in both engines`, async () => {
      for (let seed = from; seed <= to; seed++) await compare(seed);
    });
  }
});

/** Runs one program on three sites of each engine. Compares all changes after every merge, and the copies at the end. */
async function compare(seed) {
  const steps = program(seed);
  const worlds = await Promise.all(ENGINES.map((engine) => World.open(engine)));
  try {
    for (const [at, step] of steps.entries()) {
      for (const world of worlds) await world.run(step);
      if (!("sql" in step)) await equal(step.to, `step ${at + 1}`);
    }
    // The first hears everybody, then everybody hears the first.
    const [hub, ...others] = SITES;
    for (const world of worlds) {
      for (const from of others) await world.run({ from, to: hub });
      for (const to of others) await world.run({ from: hub, to });
    }
    for (const site of SITES) await equal(site, "everybody was told everything");
    for (const world of worlds) {
      const [a, ...others] = await Promise.all(SITES.map((site) => world.tables(site)));
      for (const other of others) assert.deepEqual(other, a, `${world.name}: the copies differ in the end`);
    }
  } catch (error) {
    error.message = `seed ${seed}: ${error.message}\n\n${listing(steps)}\n`;
    throw error;
  } finally {
    await Promise.all(worlds.map((world) => world.close()));
  }

  async function equal(site, when) {
    const [real, ours] = await Promise.all(worlds.map((world) => world.changes(site)));
    assert.deepEqual(ours, real, `${site} differs after ${when} (+ ours, - cr-sqlite)`);
  }
}

/** Three sites of one engine, and how far each has read from each other. */
class World {
  #peers = new Map();
  #names = new Map();
  #cursors = new Map();

  static async open(engine) {
    const world = new World();
    world.name = engine.name;
    for (const site of SITES) {
      const peer = await engine.open(SCHEMA);
      world.#peers.set(site, peer);
      world.#names.set(await siteOf(peer), site);
    }
    return world;
  }

  async run(step) {
    if ("sql" in step) return this.#peers.get(step.site).exec(step.sql);
    const { from, to, delta, shuffle } = step;
    const [sender, receiver] = [this.#peers.get(from), this.#peers.get(to)];
    const exclude = delta ? [...this.#names].find(([, name]) => name === to)[0] : undefined;
    const list = await changes(sender, { since: delta ? (this.#cursors.get(from + to) ?? 0) : 0, exclude });
    if (list.length === 0) return;
    await receiver.exec(mergeSql(shuffled(list, shuffle)));
    this.#cursors.set(from + to, Math.max(...list.map(({ dbVersion }) => Number(dbVersion))));
  }

  async changes(site) {
    return describe(await changes(this.#peers.get(site)), this.#names);
  }

  /** The contents of the tables. */
  async tables(site) {
    return this.#peers.get(site).query("SELECT * FROM plain ORDER BY id; SELECT * FROM pair ORDER BY k, n; SELECT * FROM bare ORDER BY id");
  }

  async close() {
    await Promise.all([...this.#peers.values()].map((peer) => peer.close()));
  }
}
