/**
 * A page with a database of its own and no upstream, in a browser that can be killed; and a record of what its worker
 * answered, which has to be there afterwards.
 */

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { promisify } from "node:util";
import { SERVER } from "./paths.mjs";
import { Profile } from "./profile.mjs";
import { Server } from "./server.mjs";
import { Www } from "./www.mjs";

const SCHEMA = "CREATE TABLE note (id TEXT PRIMARY KEY NOT NULL, text); SELECT crsql_as_crr('note')";
const PAGE = `<!doctype html><script type="module">
  import { connect } from "/client.js";
  globalThis.client = await connect({ dbid: "notes", worker: "/notes-sw.js", schema: ${JSON.stringify(SCHEMA)} });
</script>`;
const WORKER = 'import { installSyncWorker } from "./package-worker.js";\ninstallSyncWorker({ files: true });\n';

export class Notes {
  profile;
  www;
  /** The pairs of notes that were acknowledged. */
  written = new Set();
  /** How many answers were lost. */
  lost = 0;

  static async open(t) {
    const notes = new Notes();
    notes.www = new Www(t);
    notes.www.copyFromPackage("worker.js", "package-worker.js");
    notes.www.write("notes-sw.js", WORKER);
    notes.www.write("notes.html", PAGE);
    const server = await Server.start({ www: notes.www.dir });
    t.after(() => server.close());
    notes.profile = await Profile.open(`${server.url}notes.html`, { name: "notes", isReady: false });
    t.after(() => notes.profile.close());
    await notes.ready();
    return notes;
  }

  get page() {
    return this.profile.page;
  }

  async ready() {
    await this.page.waitForFunction(() => globalThis.client);
  }

  /** Kills the browser with all its processes, and starts it with what it had on disk. */
  async restart() {
    await this.profile.kill();
    await this.profile.launch({ isReady: false });
    await this.ready();
  }

  /** Writes two notes in one transaction, `kilobytes` each, and records it when it was answered. */
  async write(pair, kilobytes = 0) {
    const statements = ["a", "b"].map((half) => ["INSERT INTO note VALUES (?, hex(randomblob(?)))", [`${pair}-${half}`, 20 + kilobytes * 500]]);
    const isWritten = await this.#attempt(statements);
    if (isWritten) this.written.add(String(pair));
    return isWritten;
  }

  /** Runs statements as one transaction, and says whether they were answered. */
  async #attempt(statements) {
    try {
      return await this.page.evaluate((statements) => globalThis.client.batch(statements).then(() => true), statements);
    } catch (error) {
      // It may have happened or not. Nothing else may go wrong: a pair that is there twice, for one.
      if (!/answer|closed|destroyed|crashed|navigat|Target|unavailable/i.test(error.message)) throw error;
      this.lost++;
      return false;
    }
  }

  /** Takes the long texts out of what was written so far. */
  async shorten() {
    await this.#attempt([["UPDATE note SET text = '' WHERE length(text) > 1000", []]]);
  }

  /** Starts the worker, if it does not run, without asking it for a database. */
  async wake() {
    await this.page.evaluate(() => fetch("/sync/none/status"));
  }

  /** Makes a database of the file that this one is now, and returns the status of the answer. */
  import(dbid) {
    return this.page.evaluate(async (dbid) => {
      const body = await (await fetch("/sync/notes/file")).blob();
      const headers = { "content-type": "application/vnd.sqlite3" };
      return (await fetch(`/sync/${dbid}/file`, { method: "PUT", headers, body })).status;
    }, dbid);
  }

  /** The database as a file. */
  async file(dbid) {
    const text = await this.page.evaluate(async (dbid) => {
      const response = await fetch(`/sync/${dbid}/file`);
      if (!response.ok) throw new Error(`GET file: ${response.status} ${await response.text()}`);
      const blob = await response.blob();
      const length = Number(response.headers.get("content-length"));
      if (blob.size !== length) throw new Error(`the file has ${blob.size} bytes and not ${length}`);
      return new Promise((resolve) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result);
        reader.readAsDataURL(blob);
      });
    }, dbid);
    return Buffer.from(text.slice(text.indexOf(",") + 1), "base64");
  }

  /** Fails unless the database is whole, everything acknowledged is in it, and of no transaction only a half. */
  async check() {
    // An answer has 10,000 rows at most.
    const sql = "SELECT substr(id, 1, length(id) - 2) AS pair, count(*) AS count FROM note GROUP BY pair HAVING pair > ? ORDER BY pair LIMIT 10000";
    const halves = new Map();
    for (let after = "", rows; rows?.length !== 0; ) {
      rows = await this.page.evaluate(([sql, after]) => globalThis.client.query(sql, [after]), [sql, after]);
      for (const { pair, count } of rows) halves.set((after = pair), count);
    }
    const missing = [...this.written].filter((pair) => !halves.has(pair));
    assert.deepEqual(missing, [], "what was acknowledged is missing");
    const half = [...halves].filter(([, count]) => count !== 2);
    assert.deepEqual(half, [], "of a transaction only a half is there");
    await this.inspect();
    return halves;
  }

  /** Fails unless the file is a sound database, as the server's binary sees it. */
  async inspect(dbid = "notes") {
    const file = path.join(os.tmpdir(), `crsql-e2e-notes-${randomUUID()}.db`);
    writeFileSync(file, await this.file(dbid));
    try {
      await promisify(execFile)(SERVER, ["inspect", "--check", file]);
    } finally {
      rmSync(file);
    }
  }
}
