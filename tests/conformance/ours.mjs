/** A peer of this project: the command line's `sql`, which is talked to through its pipes, in memory. */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.CRSQL_SYNC_BIN ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "debug/crsql-sync");
if (!existsSync(binary)) throw new Error(`${binary} is missing: run cargo build first, or name the binary with CRSQL_SYNC_BIN`);

export class OurPeer {
  #process = spawn(binary, ["sql", ":memory:", "--json"], { stdio: ["pipe", "pipe", "pipe"] });
  #rows = [];
  #waiting = [];
  #errors = "";
  #closed;

  static async open(schema) {
    const peer = new OurPeer();
    peer.#listen();
    await peer.exec(schema);
    return peer;
  }

  #listen() {
    createInterface({ input: this.#process.stdout }).on("line", (line) => {
      if (line === '["that was all"]') this.#waiting.shift().resolve(this.#rows.splice(0));
      else this.#rows.push(JSON.parse(line).map(text));
    });
    this.#process.stderr.setEncoding("utf8").on("data", (text) => (this.#errors += text));
    this.#process.stdin.on("error", () => {});
    this.#closed = new Promise((resolve) => this.#process.on("close", resolve));
    this.#closed.then(() => {
      for (const { reject } of this.#waiting.splice(0)) reject(new Error(`crsql-sync sql: ${this.#errors.trim()}`));
    });
  }

  async exec(sql) {
    await this.query(sql);
  }

  /** The rows of all statements, every value as text. The first error ends the peer. */
  query(sql) {
    return new Promise((resolve, reject) => {
      if (this.#process.exitCode !== null) return reject(new Error(`crsql-sync sql: ended before: ${this.#errors.trim()}`));
      this.#waiting.push({ resolve, reject });
      // In one line, so that it is one turn of the conversation.
      this.#process.stdin.write(`${sql.replaceAll("\n", " ")};SELECT 'that was all';\n`);
    });
  }

  /** Here no version is taken in vain. */
  async settle() {}

  async close() {
    this.#process.stdin.end();
    await this.#closed;
  }
}

/** A value as text: blobs and REALs without a fraction are objects. */
function text(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
