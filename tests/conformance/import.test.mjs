/**
 * Files of the real cr-sqlite, taken over. Needs `cargo build` and `npm install`.
 *
 *     SEEDS=1000-1099 node --test tests/conformance/import.test.mjs    other random programs
 */

import assert from "node:assert/strict";
import { after, describe as suite, test } from "node:test";
import { changes, describe, mergeSql } from "./changes.mjs";
import { Imported, RealFile } from "./files.mjs";
import { SCHEMA, SITES, listing, program, shuffled } from "./fixed.mjs";

const opened = [];
after(() => Promise.all(opened.map((peer) => peer.close())));

/** A database of the real engine, and what the import makes of it. */
async function openAndImport(...statements) {
  const real = await RealFile.open(statements.join(";\n"));
  opened.push(real);
  const ours = await Imported.of(real.bytes());
  opened.push(ours);
  return [real, ours];
}

/** All rows; the same REAL looks the same in every release of SQLite. */
async function tables(peer) {
  const shown = (columns) => columns.map((column) => `CASE typeof(${column}) WHEN 'real' THEN printf('%.15e', ${column}) ELSE quote(${column}) END`);
  const select = (table, keys, ...columns) => `SELECT ${shown([...keys, ...columns])} FROM ${table} ORDER BY ${keys}`;
  return peer.query([select("plain", ["id"], "b", "c", "d"), select("pair", ["k", "n"], "x", "y"), select("bare", ["id"])].join(";\n"));
}

/** Three copies, and how far each has read from each other. */
class World {
  constructor(peers) {
    this.peers = peers;
    this.cursors = new Map();
  }

  /** The same copies, those of `sites` taken over. */
  async imported(sites) {
    const peers = new Map(this.peers);
    for (const site of sites) {
      const peer = await Imported.of(this.peers.get(site).bytes());
      opened.push(peer);
      peers.set(site, peer);
    }
    const world = new World(peers);
    world.cursors = new Map(this.cursors);
    return world;
  }

  async run(step) {
    if ("sql" in step) return this.peers.get(step.site).exec(step.sql);
    const { from, to, delta, shuffle } = step;
    const receiver = this.peers.get(to);
    const exclude = delta ? (await receiver.query("SELECT hex(crsql_site_id())"))[0][0] : undefined;
    const list = await changes(this.peers.get(from), { since: delta ? (this.cursors.get(from + to) ?? 0) : 0, exclude });
    if (list.length === 0) return;
    await receiver.exec(mergeSql(shuffled(list, shuffle)));
    this.cursors.set(from + to, Math.max(...list.map(({ dbVersion }) => Number(dbVersion))));
  }

  /** Everybody hears everything: the first from all, then all from the first. */
  async settle() {
    const [hub, ...others] = SITES;
    for (const from of others) await this.run({ from, to: hub });
    for (const to of others) await this.run({ from: hub, to });
  }
}

async function live(seed) {
  const [before, later] = [program(seed), program(seed + 1_000_000)];
  const peers = new Map();
  for (const site of SITES) peers.set(site, await RealFile.open(SCHEMA));
  opened.push(...peers.values());
  const real = new World(peers);
  try {
    for (const step of before) await real.run(step);
    const ours = await real.imported(SITES);
    for (const site of SITES) {
      const [was, is] = [real.peers.get(site), ours.peers.get(site)];
      const all = await changes(was);
      assert.deepEqual(await changes(is), all, `${site}: the changes after the import`);
      assert.deepEqual(await tables(is), await tables(was), `${site}: the rows after the import`);
      const fresh = await RealFile.open(SCHEMA);
      opened.push(fresh);
      if (all.length > 0) await fresh.exec(mergeSql(await changes(is)));
      assert.deepEqual(await tables(fresh), await tables(was), `${site}: the rows after a replay into a new database`);
    }
    // Both worlds live on, step by step alike.
    for (const [at, step] of later.entries()) {
      for (const world of [real, ours]) await world.run(step);
      if ("sql" in step) continue;
      const [was, is] = await Promise.all([real, ours].map((world) => changes(world.peers.get(step.to))));
      assert.deepEqual(describe(is), describe(was), `${step.to}: after step ${at + 1} of the second program`);
    }
    // One copy is taken over, two stay with cr-sqlite: they go on, and agree in the end.
    const mixed = await real.imported(["B"]);
    for (const step of program(seed + 2_000_000)) await mixed.run(step);
    await mixed.settle();
    const [a, ...others] = await Promise.all(SITES.map((site) => tables(mixed.peers.get(site))));
    for (const other of others) assert.deepEqual(other, a, "the copies of both engines differ in the end");
  } catch (error) {
    error.message = `seed ${seed}: ${error.message}\n\n${listing(before)}\n--\n${listing(later)}\n`;
    throw error;
  } finally {
    await Promise.all(opened.splice(0).map((peer) => peer.close()));
  }
}

suite("an imported file", () => {
  const FOO = "CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c); SELECT crsql_as_crr('foo')";

  test("keeps its site, its settings, its cursors and everything that is not cr-sqlite's", async () => {
    const [real, ours] = await openAndImport(
      "PRAGMA page_size = 8192; PRAGMA user_version = 7; PRAGMA application_id = 99",
      FOO,
      "CREATE TABLE other (x); INSERT INTO other VALUES (x'00ff')",
      "CREATE INDEX foo_b ON foo (b); CREATE VIEW seen AS SELECT b FROM foo",
      "CREATE TRIGGER mine AFTER INSERT ON foo BEGIN INSERT INTO other VALUES (NEW.b); END",
      "INSERT INTO foo VALUES ('k', 1, 2.5)",
      "INSERT INTO crsql_tracked_peers VALUES (x'aa', 5, 6, 0, 0)",
      "INSERT INTO crsql_master VALUES ('config.merge-equal-values', 1)",
    );
    for (const sql of [
      "SELECT hex(crsql_site_id()), crsql_db_version()",
      "SELECT hex(x), typeof(x) FROM other; SELECT * FROM seen",
      "SELECT hex(site_id), version, seq, tag, event FROM crsql_tracked_peers",
      "SELECT name, sql FROM sqlite_master WHERE name IN ('foo', 'other', 'foo_b', 'seen', 'mine') ORDER BY name",
      "PRAGMA user_version; PRAGMA application_id; PRAGMA page_size; PRAGMA integrity_check",
      "SELECT value FROM crsql_master WHERE key = 'config.merge-equal-values'",
    ]) {
      assert.deepEqual(await ours.query(sql), await real.query(sql), sql);
    }
    assert.deepEqual(await ours.query("SELECT crsql_config_get('merge-equal-values')"), [["1"]]);
    assert.deepEqual(await ours.query("SELECT name FROM sqlite_master WHERE name LIKE '%dbv_idx' OR name LIKE '%pks_pks'"), []);
  });

  test("shows the same changes for every kind of table", async () => {
    // More columns do not fit in the arguments of cr-sqlite's functions.
    const wide = Array.from({ length: 60 }, (_, at) => `c${at}`);
    const [real, ours] = await openAndImport(
      `CREATE TABLE wide (a INTEGER PRIMARY KEY NOT NULL, ${wide.join(", ")}); SELECT crsql_as_crr('wide')`,
      "INSERT INTO wide (a, c0, c59) VALUES (-5, 1, 2); UPDATE wide SET c55 = 'x'",
      "CREATE TABLE strictly (a TEXT PRIMARY KEY NOT NULL, b INTEGER, c ANY) STRICT; SELECT crsql_as_crr('strictly')",
      "INSERT INTO strictly VALUES ('é', 1, x'61')",
      "CREATE TABLE made (a INTEGER NOT NULL, b TEXT NOT NULL, c, d AS (c || b), e AS (c) STORED, PRIMARY KEY (b, a)); SELECT crsql_as_crr('made')",
      "INSERT INTO made (a, b, c) VALUES (1, 'x', 2), (2, 'x', NULL); DELETE FROM made WHERE a = 2",
      "CREATE TABLE odd (\"the key\" REAL PRIMARY KEY NOT NULL, \"a column\", 'select'); SELECT crsql_as_crr('odd')",
      "INSERT INTO odd VALUES (1, 2, 3), (1.5, 4, 5); UPDATE odd SET \"the key\" = 9 WHERE \"the key\" = 1",
    );
    assert.deepEqual(await changes(ours), await changes(real));
    assert.equal(ours.report.tables, 4);
  });

  test("is repaired where cr-sqlite left it inconsistent, and says so", async () => {
    const [real, ours] = await openAndImport(
      FOO,
      "INSERT INTO foo VALUES (1, 1, 1), (2, 2, 2), (3, 3, 3)",
      "CREATE TABLE cased (a TEXT PRIMARY KEY NOT NULL COLLATE NOCASE, b); SELECT crsql_as_crr('cased')",
      "INSERT INTO cased VALUES ('A', 1); INSERT OR REPLACE INTO cased VALUES ('a', 2)",
      "CREATE TABLE bare (a PRIMARY KEY NOT NULL); SELECT crsql_as_crr('bare'); INSERT INTO bare VALUES (1), (2)",
      "SELECT crsql_internal_sync_bit(1); DELETE FROM bare WHERE a = 2; INSERT INTO bare VALUES (3); SELECT crsql_internal_sync_bit(0)",
      "DELETE FROM foo WHERE a = 3; SELECT crsql_begin_alter('foo'); INSERT INTO foo VALUES (3, 'back', 0)",
      "SELECT crsql_commit_alter('foo')",
      "CREATE TABLE gone (a PRIMARY KEY NOT NULL, b); SELECT crsql_as_crr('gone'); INSERT INTO gone VALUES (1, 1); DROP TABLE gone",
    );
    assert.deepEqual(ours.report.skipped_tables, ["gone"]);
    assert.equal(ours.report.ghosts, 1);
    assert.equal(ours.report.dangling_rows, 1);
    assert.equal(ours.report.untracked, 1);
    assert.equal(ours.report.revived, 1);
    assert.deepEqual(await ours.query("SELECT * FROM foo ORDER BY a"), await real.query("SELECT * FROM foo ORDER BY a"));
    const shown = (await changes(ours)).map((c) => [c.table, c.pk, c.cid, c.val, c.colVersion, c.cl].join(" "));
    assert.deepEqual(shown.filter((line) => line.startsWith("bare")), ["bare 010901 -1 NULL 1 1"]);
    assert.deepEqual(shown.filter((line) => line.startsWith("cased")), ["cased 010B0161 b 2 1 1"]);
    assert.deepEqual(shown.filter((line) => line.includes("010903")), ["foo 010903 -1 NULL 3 3", "foo 010903 b 'back' 1 3", "foo 010903 c 0 1 3"]);
  });

  test("has a version for what cr-sqlite stored under version 0", async () => {
    const [real, ours] = await openAndImport(FOO, "SELECT crsql_begin_alter('foo'); INSERT INTO foo VALUES (1, 2, 3); SELECT crsql_commit_alter('foo')");
    assert.deepEqual(await real.query("SELECT DISTINCT db_version FROM crsql_changes"), [["0"]]);
    assert.deepEqual(await ours.query("SELECT DISTINCT db_version FROM crsql_changes; SELECT crsql_db_version()"), [["1"], ["1"]]);
    assert.equal(ours.report.version_zero, 2);
  });
});

suite("random histories", () => {
  const [first, last] = (process.env.SEEDS ?? "1-12").split("-").map(Number);
  for (let seed = first; seed <= last; seed++) {
    test(`the copies of seed ${seed} live on after an import`, () => live(seed));
  }
});
