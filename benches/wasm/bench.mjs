/**
 * The engine in WebAssembly beside the real cr-sqlite's synchronous build from npm, in one Node process, both in memory.
 *
 *   node --expose-gc benches/wasm/bench.mjs DIR [RUNS]
 *
 * DIR holds the module of lib.rs (scripts/bench-wasm builds it). The two take turns at each operation.
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { Figures } from "./figures.mjs";
import * as Theirs from "./theirs.mjs";

const [dir, runs = "5"] = process.argv.slice(2);
const Ours = await import(path.resolve(dir, "bench.js"));
Ours.initSync({ module: readFileSync(path.join(dir, "bench_bg.wasm")) });

const ROWS = 50_000;
const CHANGES = 5 * ROWS;
/** Rows and changes a transaction. */
const ROWS_AT_ONCE = 1_000;
const CHANGES_AT_ONCE = 5_000;

/** What is compared. What a side does is named as in `run`. */
const OPERATIONS = [
  { name: "insert", ours: "insert", plain: "plain insert", goal: 3 },
  { name: "insert, all in SQL", ours: "insert in SQL", plain: "plain insert in SQL", goal: 3 },
  { name: "read all, SQL", ours: "read", goal: 5 },
  { name: "read all, all in SQL", ours: "read in SQL", goal: 5 },
  { name: "read all, library call / SQL", ours: "read by call", theirs: "read", goal: 5 },
  { name: "read all, library call / all in SQL", ours: "read by call", theirs: "read in SQL", goal: 5 },
  { name: "merge row by row, SQL", ours: "merge", goal: 2 },
  { name: "merge, all in SQL", ours: "merge in SQL", goal: 2 },
  { name: "merge in batches, library call / SQL", ours: "merge by call", theirs: "merge", goal: 5 },
  { name: "merge in batches, library call / all in SQL", ours: "merge by call", theirs: "merge in SQL", goal: 5 },
];

const CREATE = "CREATE TABLE t (id BLOB PRIMARY KEY NOT NULL, a, b, c, d, e)";
const SOURCE_OF_ROWS = "CREATE TEMP TABLE source (id, a, b, c, d, e)";
const SOURCE_OF_CHANGES = 'CREATE TEMP TABLE source ("table", pk, cid, val, col_version, db_version, site_id, cl, seq)';
/** Counts the changes, and reads all columns. */
const COUNT = `SELECT CAST(max(count("table"), count(pk), count(cid), count(val), count(col_version), count(db_version),
  count(site_id), count(cl), count(seq)) AS TEXT) FROM crsql_changes WHERE db_version > 0`;
const CONTENTS = "SELECT count(*) || ' ' || sum(a) || ' ' || count(b) || ' ' || sum(c) || ' ' || count(e) FROM t";

const keys = Array.from({ length: ROWS }, (_, row) => Ours.key(row));
const open = (side, replicated) => (side === "ours" ? new Ours.Database(replicated) : Theirs.Database.open(keys));

/** A database with the table of the workload. */
async function create(side, replicated = true) {
  const database = await open(side, replicated);
  await database.exec(CREATE);
  if (replicated) await database.exec("SELECT crsql_as_crr('t')");
  return database;
}

/** Copies the table `source` to `table`, `batch` rows a transaction. */
async function copy(database, table, rows, batch) {
  for (let from = 1; from <= rows; from += batch) {
    const some = `SELECT * FROM source WHERE rowid BETWEEN ${from} AND ${from + batch - 1}`;
    await database.exec(`BEGIN; INSERT INTO ${table} ${some}; COMMIT`);
  }
}

/**
 * All operations once, with the sides in the order given. What an operation needs is made right before it and let go of
 * right after: a full JavaScript heap slows down both sides, whoever filled it.
 */
async function run(figures, sides) {
  /** Measures `work` on a database of its own, which holds the rows of the workload in the end. */
  async function writes(name, work, { replicated = true, prepare = () => {}, of = sides } = {}) {
    for (const side of of) {
      const database = await create(side, replicated);
      const prepared = await prepare(database, side);
      await figures.time(side, name, () => work(database, prepared));
      prepared?.free?.();
      await finish(database);
    }
  }
  async function reads(name, work, of = sides) {
    for (const side of of) {
      const result = await figures.time(side, name, () => work(from[side]));
      assert.equal(result.length ?? result, CHANGES);
      result.free?.();
    }
  }

  const insert = (database) => database.insert("t", ROWS, ROWS_AT_ONCE);
  const copyRows = (database) => copy(database, "t", ROWS, ROWS_AT_ONCE);
  const copyChanges = (database) => copy(database, "crsql_changes", CHANGES, CHANGES_AT_ONCE);
  const rowsAtHand = async (database) => {
    await database.exec(SOURCE_OF_ROWS);
    await database.insert("source", ROWS, ROWS);
  };
  const changesAtHand = async (database, side) => {
    const rows = await from[side].rows();
    await database.exec(SOURCE_OF_CHANGES);
    await database.insertRows("source", rows, CHANGES);
    rows.free?.();
  };

  await writes("plain insert", insert, { replicated: false });
  await writes("insert", insert);
  await writes("plain insert in SQL", copyRows, { replicated: false, prepare: rowsAtHand });
  await writes("insert in SQL", copyRows, { prepare: rowsAtHand });

  const from = { ours: await create("ours"), theirs: await create("theirs") };
  for (const side of sides) await insert(from[side]);
  await reads("read", (database) => database.count());
  await reads("read in SQL", async (database) => Number(await database.text(COUNT)));
  await reads("read by call", (database) => database.changes(), ["ours"]);
  await writes("merge", (database, rows) => database.insertRows("crsql_changes", rows, CHANGES_AT_ONCE), {
    prepare: (_, side) => from[side].rows(),
  });
  await writes("merge in SQL", copyChanges, { prepare: changesAtHand });
  await writes("merge by call", (database, changes) => database.merge(changes, CHANGES_AT_ONCE), {
    prepare: () => from.ours.changes(),
    of: ["ours"],
  });
  for (const side of sides) await finish(from[side]);
}

let expected;
/** Closes a database, when it holds what all others held. */
async function finish(database) {
  const contents = await database.text(CONTENTS);
  assert.equal(contents, (expected ??= contents));
  await database.free();
}

await run(new Figures(), ["ours", "theirs"]); // memory grows, and the engines of JavaScript learn what is hot
const figures = new Figures();
for (let i = 0; i < Number(runs); i++) await run(figures, i % 2 ? ["theirs", "ours"] : ["ours", "theirs"]);
figures.print(OPERATIONS);
