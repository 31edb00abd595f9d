/**
 * Traces recorded from cr-sqlite 0.16, and the named differences, in both engines. Needs `cargo build` and `npm
 * install`; `node --test tests/conformance/golden.test.mjs` runs them.
 */

import assert from "node:assert/strict";
import { after, describe as suite, test } from "node:test";
import { changes, describe, mergeSql } from "./changes.mjs";
import { OurPeer } from "./ours.mjs";
import { RealPeer } from "./real.mjs";
import { siteOf } from "./world.mjs";

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
    const [AA, BB, CC] = ["AA", "BB", "CC"];
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
        assert.equal(cells.get("-1").cl, 3, engine.name);
      }
    }
  });

  test("a savepoint that is rolled back leaves its gap in the seqs", async () => {
    for (const peer of await openBoth(FOO)) {
      await peer.exec("BEGIN; INSERT INTO foo VALUES (1, 1, 1); SAVEPOINT s; INSERT INTO foo VALUES (2, 2, 2); ROLLBACK TO s; INSERT INTO foo VALUES (3, 3, 3); COMMIT");
      const found = (await changes(peer)).map(({ pk, dbVersion, seq }) => [pk, dbVersion, seq].join(" "));
      assert.deepEqual(found, ["010901 1 0", "010901 1 1", "010903 1 4", "010903 1 5"], peer.constructor.name);
    }
  });

  test("rows that stood in a table before it was replicated are recorded in the order of keys", async () => {
    for (const peer of await openBoth("CREATE TABLE foo (a PRIMARY KEY NOT NULL, b, c)")) {
      await peer.exec("INSERT INTO foo (a) VALUES ('z'), (3), (1.5), (X'00'), (1); SELECT crsql_as_crr('foo')");
      const found = (await changes(peer)).map(({ pk, dbVersion, seq }) => [pk, dbVersion, seq].join(" "));
      const keys = ["010901", "01023FF8000000000000", "010903", "010B017A", "010C0100"];
      assert.deepEqual(found, keys.flatMap((key, at) => [`${key} 1 ${2 * at}`, `${key} 1 ${2 * at + 1}`]), peer.constructor.name);
    }
  });

  test("what an alteration adds stands under the newest version", async () => {
    for (const peer of await openBoth(FOO)) {
      await peer.exec("INSERT INTO foo VALUES (1, 1, 1)");
      const alter = ["SELECT crsql_begin_alter('foo')", "ALTER TABLE foo ADD COLUMN d DEFAULT 5", "UPDATE foo SET d = 6", "SELECT crsql_commit_alter('foo')"];
      await peer.exec(alter.join("; "));
      const found = (await changes(peer)).map(({ cid, val, colVersion, dbVersion, cl, seq }) => [cid, val, colVersion, dbVersion, cl, seq].join(" "));
      assert.deepEqual(found, ["b 1 1 1 1 0", "d 6 1 1 1 0", "c 1 1 1 1 1"], peer.constructor.name);
      assert.deepEqual(await peer.query("SELECT value FROM crsql_master WHERE key = 'pre_compact_dbversion'"), [["1"]]);
      assert.deepEqual(await peer.query("SELECT crsql_db_version()"), [["1"]], peer.constructor.name);
    }
  });

  test("a change without a site is this site's", async () => {
    for (const peer of await openBoth(FOO)) {
      for (const [key, site] of [["01", "NULL"], ["02", "X''"], ["03", "X'AA'"], ["04", "'abc'"]]) {
        await peer.exec(`INSERT INTO crsql_changes VALUES ('foo', X'0109${key}', 'b', 1, 1, 1, ${site}, 1, 0)`);
      }
      const me = await siteOf(peer);
      assert.deepEqual((await changes(peer)).map(({ site }) => site), [me, me, "AA", "616263"], peer.constructor.name);
    }
  });

  test("a site id of more than 16 bytes is refused", async () => {
    for (const peer of await openBoth(FOO)) {
      await assert.rejects(peer.exec(`INSERT INTO crsql_changes VALUES ('foo', X'010901', 'b', 1, 1, 1, X'${"AA".repeat(17)}', 1, 0)`), peer.constructor.name);
    }
  });
});

suite("named differences", () => {
  // What each statement leaves: site, then as above.
  const show = (list, site) => list.map((c) => [c.site === site ? "me" : c.site, c.pk, c.cid, c.val, c.colVersion, c.dbVersion, c.cl, c.seq].join(" ")).sort();

  test("an update that changes nothing takes no version", async () => {
    const [real, ours] = await openBoth(FOO);
    const versions = [];
    for (const peer of [real, ours]) {
      await peer.exec("INSERT INTO foo VALUES (1, 2, 3)");
      await peer.exec("UPDATE foo SET b = 2");
      const [before] = await peer.query("SELECT crsql_db_version()");
      await peer.settle();
      versions.push([...before, ...(await peer.query("SELECT crsql_db_version()"))[0]]);
    }
    assert.deepEqual(versions, [["2", "1"], ["1", "1"]]);
  });

  test("moved cells are restamped, before the tombstone", async () => {
    const [real, ours] = await openBoth(FOO);
    const found = [];
    for (const peer of [real, ours]) {
      await peer.exec("INSERT INTO foo VALUES (1, 2, 3)");
      await peer.exec("UPDATE foo SET b = 7");
      await peer.exec("UPDATE foo SET a = 2, b = 100");
      found.push(show(await changes(peer), await siteOf(peer)));
    }
    const [theirs, own] = found;
    assert.deepEqual(theirs, ["me 010901 -1 NULL 2 3 2 0", "me 010902 -1 NULL 1 3 1 1", "me 010902 b 100 3 3 1 2", "me 010902 c 3 1 1 1 1"]);
    assert.deepEqual(own, ["me 010901 -1 NULL 2 3 2 2", "me 010902 -1 NULL 1 3 1 3", "me 010902 b 100 3 3 1 4", "me 010902 c 3 1 3 1 1"]);
  });

  test("a row that was moved arrives with its values at a peer that asks for what is new", async () => {
    const found = [];
    for (const engine of ENGINES) {
      const [a, b] = await Promise.all([engine.open(FOO), engine.open(FOO)]);
      opened.push(a, b);
      await a.exec("INSERT INTO foo VALUES (1, 'x', 'y')");
      await b.exec(mergeSql(await changes(a)));
      await a.exec("UPDATE foo SET a = 2");
      await b.exec(mergeSql(await changes(a, { since: 1 })));
      found.push(await b.query("SELECT * FROM foo"));
    }
    assert.deepEqual(found, [[["2", "null", "null"]], [["2", "x", "y"]]]);
  });
});
