/** A peer of the real cr-sqlite 0.16: its WebAssembly build from npm, in memory. */

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import * as SQLite from "@vlcn.io/wa-sqlite";

const dist = path.join(path.dirname(createRequire(import.meta.url).resolve("@vlcn.io/wa-sqlite/package.json")), "dist");
const { default: factory } = await import(path.join(dist, "crsqlite-sync.mjs"));
const sqlite3 = SQLite.Factory(await factory({ wasmBinary: readFileSync(path.join(dist, "crsqlite-sync.wasm")) }));

/** The module hands results over in fixed places of its memory: one call at a time, also on different databases. */
let turn = Promise.resolve();
function inTurn(work) {
  const result = turn.then(work);
  turn = result.catch(() => {});
  return result;
}

export class RealPeer {
  #db;

  static async open(schema) {
    const peer = new RealPeer();
    peer.#db = await inTurn(() => sqlite3.open_v2(":memory:"));
    await peer.exec(schema);
    return peer;
  }

  async exec(sql) {
    await this.query(sql);
  }

  /** The rows of all statements, every value as text. */
  query(sql) {
    return inTurn(async () => {
      const rows = [];
      for await (const statement of sqlite3.statements(this.#db, sql)) {
        while ((await sqlite3.step(statement)) === SQLite.SQLITE_ROW) rows.push(sqlite3.row(statement).map(String));
      }
      return rows;
    });
  }

  /**
   * Forgets a version that was taken and not used (B14, see differences.mjs), as opening the database again would: a
   * transaction that writes to no replicated table makes cr-sqlite read the stored one.
   */
  async settle() {
    await this.exec("DELETE FROM crsql_tracked_peers");
  }

  async close() {
    await this.exec("SELECT crsql_finalize()");
    await inTurn(() => sqlite3.close(this.#db));
  }
}
