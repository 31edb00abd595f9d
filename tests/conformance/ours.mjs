/** A peer of this project: a database file, and the command line's `sql`. */

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const binary = process.env.CRSQL_SYNC_BIN ?? path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, "target"), "debug/crsql-sync");
if (!existsSync(binary)) throw new Error(`${binary} is missing: run cargo build first, or name the binary with CRSQL_SYNC_BIN`);

export class OurPeer {
  #dir = mkdtempSync(path.join(os.tmpdir(), "crsql-conformance-"));
  #file = path.join(this.#dir, "peer.db");
  /** Statements that nobody has asked an answer of: one run carries them out together. */
  #waiting = [];

  static async open(schema) {
    const peer = new OurPeer();
    await peer.exec(schema);
    return peer;
  }

  async exec(sql) {
    this.#waiting.push(sql);
  }

  /** The rows of all statements, every value as text. */
  async query(sql) {
    const before = this.#waiting.map((statement) => `${statement};\n`).join("");
    this.#waiting = [];
    // Rows of the statements before (SELECT crsql_as_crr) are told from the answer by a mark.
    const output = await run([this.#file, "--json"], `PRAGMA synchronous = off;\n${before}SELECT 'the answer:';\n${sql};\n`);
    const lines = output.split("\n").filter(Boolean);
    return lines.slice(lines.indexOf('["the answer:"]') + 1).map((line) => JSON.parse(line).map(text));
  }

  async close() {
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

/** A value as text: blobs and REALs without a fraction are objects. */
function text(value) {
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Runs `crsql-sync sql` with `input`; rejects with what it wrote to standard error when it fails. */
function run(args, input) {
  return new Promise((resolve, reject) => {
    const child = spawn(binary, ["sql", ...args], { stdio: ["pipe", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    child.stdout.setEncoding("utf8").on("data", (text) => (output += text));
    child.stderr.setEncoding("utf8").on("data", (text) => (errors += text));
    child.on("error", reject);
    child.on("close", (code) => (code === 0 ? resolve(output) : reject(new Error(`crsql-sync sql: exit ${code}: ${errors}\n${input}`))));
    child.stdin.on("error", () => {}).end(input);
  });
}
