/** Peers whose databases are files: one of the real cr-sqlite, whose file lives in memory, and one of this project, on disk. */

import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import * as SQLite from "@vlcn.io/wa-sqlite";
import * as VFS from "@vlcn.io/wa-sqlite/src/VFS.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.CRSQL_SYNC_BIN ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "debug/crsql-sync");
if (!existsSync(binary)) throw new Error(`${binary} is missing: run cargo build first, or name the binary with CRSQL_SYNC_BIN`);

const dist = path.join(path.dirname(createRequire(import.meta.url).resolve("@vlcn.io/wa-sqlite/package.json")), "dist");
const { default: factory } = await import(path.join(dist, "crsqlite-sync.mjs"));
const sqlite3 = SQLite.Factory(await factory({ wasmBinary: readFileSync(path.join(dist, "crsqlite-sync.wasm")) }));

/** Files as byte arrays, by name. */
class Files extends VFS.Base {
  name = "files";
  #files = new Map();
  #open = new Map();

  bytes(name) {
    return this.#files.get(name).bytes;
  }

  xOpen(name, id, flags, outFlags) {
    const key = name ?? `temporary ${id}`;
    if (!this.#files.has(key)) this.#files.set(key, { bytes: Buffer.alloc(0) });
    this.#open.set(id, key);
    outFlags.setInt32(0, flags, true);
    return VFS.SQLITE_OK;
  }

  xClose(id) {
    this.#open.delete(id);
    return VFS.SQLITE_OK;
  }

  #file(id) {
    return this.#files.get(this.#open.get(id));
  }

  xRead(id, target, offset) {
    const { bytes } = this.#file(id);
    const read = bytes.subarray(offset, offset + target.byteLength);
    target.set(read);
    target.fill(0, read.length);
    return read.length === target.byteLength ? VFS.SQLITE_OK : VFS.SQLITE_IOERR_SHORT_READ;
  }

  xWrite(id, source, offset) {
    const file = this.#file(id);
    if (file.bytes.length < offset + source.byteLength) {
      file.bytes = Buffer.concat([file.bytes, Buffer.alloc(offset + source.byteLength - file.bytes.length)]);
    }
    file.bytes.set(source, offset);
    return VFS.SQLITE_OK;
  }

  xTruncate(id, size) {
    const file = this.#file(id);
    file.bytes = file.bytes.subarray(0, size);
    return VFS.SQLITE_OK;
  }

  xFileSize(id, size) {
    size.setBigInt64(0, BigInt(this.#file(id).bytes.length), true);
    return VFS.SQLITE_OK;
  }

  xDelete(name) {
    this.#files.delete(name);
    return VFS.SQLITE_OK;
  }

  xAccess(name, flags, result) {
    result.setInt32(0, this.#files.has(name) ? 1 : 0, true);
    return VFS.SQLITE_OK;
  }
}

const files = new Files();
sqlite3.vfs_register(files, false);

/** The module hands results over in fixed places of its memory: one call at a time, also on different databases. */
let turn = Promise.resolve();
function inTurn(work) {
  const result = turn.then(work);
  turn = result.catch(() => {});
  return result;
}

let count = 0;

/** The real cr-sqlite 0.16. */
export class RealFile {
  #name = `real-${++count}`;
  #db;

  static async open(schema) {
    const peer = new RealFile();
    peer.#db = await inTurn(() => sqlite3.open_v2(peer.#name, undefined, files.name));
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

  /** The file as it is now. */
  bytes() {
    return Buffer.from(files.bytes(this.#name));
  }

  async close() {
    await this.exec("SELECT crsql_finalize()");
    await inTurn(() => sqlite3.close(this.#db));
  }
}

/** What `crsql-sync import` made of a file of cr-sqlite. */
export class Imported {
  #dir = mkdtempSync(path.join(os.tmpdir(), "crsql-import-"));
  #file = path.join(this.#dir, "imported.db");
  /** What the command reported. */
  report;

  static async of(bytes) {
    const peer = new Imported();
    const source = path.join(peer.#dir, "source.db");
    writeFileSync(source, bytes);
    peer.report = JSON.parse(await run(["import", source, peer.#file, "--json"]));
    if (!readFileSync(source).equals(bytes)) throw new Error("the import wrote to its source");
    return peer;
  }

  async exec(sql) {
    await this.query(sql);
  }

  /** The rows of all statements, every value as text. */
  async query(sql) {
    const output = await run(["sql", this.#file, "--json"], `PRAGMA synchronous = off;\n${sql};\n`);
    const text = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));
    return output.split("\n").filter(Boolean).map((line) => JSON.parse(line).map(text));
  }

  async close() {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** Runs `crsql-sync`; rejects with what it wrote to standard error when it fails. */
function run(args, input = "") {
  return new Promise((resolve, reject) => {
    const child = execFile(binary, args, { maxBuffer: 2 ** 28 }, (error, output, errors) => {
      if (error) reject(new Error(`crsql-sync ${args[0]}: ${errors}\n${input}`));
      else resolve(output);
    });
    child.stdin.on("error", () => {}).end(input);
  });
}
