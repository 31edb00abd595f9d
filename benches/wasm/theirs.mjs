/**
 * The real cr-sqlite 0.16, its synchronous build from npm, with the calls that `Database` of lib.rs has. Statements are
 * prepared once, and values are bound by their type: the fastest that its JavaScript API offers.
 */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import * as SQLite from "@vlcn.io/wa-sqlite";

const dist = path.join(path.dirname(createRequire(import.meta.url).resolve("@vlcn.io/wa-sqlite/package.json")), "dist");
const { default: factory } = await import(path.join(dist, "crsqlite-sync.mjs"));
const sqlite3 = SQLite.Factory(await factory({ wasmBinary: readFileSync(path.join(dist, "crsqlite-sync.wasm")) }));

const READ = `SELECT "table", pk, cid, val, col_version, db_version, site_id, cl, seq FROM crsql_changes
  WHERE db_version > 0`;

export class Database {
  #db;
  #keys;

  /** `keys` are the keys of the rows to insert. */
  static async open(keys) {
    const database = new Database();
    database.#db = await sqlite3.open_v2(":memory:");
    database.#keys = keys;
    return database;
  }

  async exec(sql) {
    await sqlite3.exec(this.#db, sql);
  }

  async text(sql) {
    let text;
    await sqlite3.exec(this.#db, sql, ([value]) => (text = value));
    return text;
  }

  async insert(table, rows, batch) {
    const sql = `INSERT INTO ${table} VALUES (?, ?, ?, ?, ?, ?)`;
    await this.#inBatches(sql, this.#keys.slice(0, rows), batch, (statement, key, row) => {
      sqlite3.bind_blob(statement, 1, key);
      sqlite3.bind_int(statement, 2, row);
      sqlite3.bind_text(statement, 3, "some text");
      sqlite3.bind_double(statement, 4, row + 0.5);
      sqlite3.bind_null(statement, 5);
      sqlite3.bind_text(statement, 6, "more text");
    });
  }

  async count() {
    let count = 0;
    await this.#eachRow(() => count++);
    return count;
  }

  async rows() {
    const rows = [];
    await this.#eachRow((row) => rows.push(row));
    return rows;
  }

  async insertRows(table, rows, batch) {
    const sql = `INSERT INTO ${table} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
    await this.#inBatches(sql, rows, batch, (statement, row) => sqlite3.bind_collection(statement, row));
  }

  async free() {
    await this.exec("SELECT crsql_finalize()");
    await sqlite3.close(this.#db);
  }

  async #eachRow(visit) {
    const statement = await this.#prepare(READ);
    while ((await sqlite3.step(statement)) === SQLite.SQLITE_ROW) visit(sqlite3.row(statement));
    await sqlite3.finalize(statement);
  }

  async #inBatches(sql, items, batch, bind) {
    const statement = await this.#prepare(sql);
    for (let from = 0; from < items.length; from += batch) {
      await this.exec("BEGIN");
      for (let i = from; i < Math.min(from + batch, items.length); i++) {
        bind(statement, items[i], i);
        await sqlite3.step(statement);
        await sqlite3.reset(statement);
      }
      await this.exec("COMMIT");
    }
    await sqlite3.finalize(statement);
  }

  async #prepare(sql) {
    const text = sqlite3.str_new(this.#db, sql);
    const { stmt } = await sqlite3.prepare_v2(this.#db, sqlite3.str_value(text));
    sqlite3.str_finish(text);
    return stmt;
  }
}
