/** The standalone server: started, killed without warning, started again on the same port with the same data. */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { DIST, SERVER } from "./paths.mjs";

export class Server {
  #data = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-data-"));
  #www;
  #args;
  #port;
  #process;
  #log = "";

  static async start({ www = DIST, args = [] } = {}) {
    const server = new Server();
    server.#www = www;
    server.#args = args;
    server.#port = await freePort();
    await server.start();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.#port}/`;
  }

  /** What it wrote to its output. */
  get log() {
    return this.#log;
  }

  /** Starts it, and resolves when it says its address. */
  async start() {
    const args = ["serve", "--data", this.#data, "--listen", `127.0.0.1:${this.#port}`, "--www", this.#www, ...this.#args];
    const child = spawn(SERVER, args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    await new Promise((resolve, reject) => {
      const take = (text) => {
        this.#log += text;
        if (text.includes(`127.0.0.1:${this.#port}`)) resolve();
      };
      child.stdout.setEncoding("utf8").on("data", take);
      child.stderr.setEncoding("utf8").on("data", take);
      child.once("error", reject);
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}:\n${this.#log}`)));
    });
  }

  /** Ends it at once, whatever it was doing. */
  async kill() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Deletes its data, while it does not run. */
  forget() {
    for (const name of readdirSync(this.#data)) rmSync(path.join(this.#data, name), { recursive: true });
  }

  /** Copies a database to `file`, also while it runs. */
  backUp(dbid, file) {
    execFileSync(SERVER, ["backup", this.#file(dbid), file]);
  }

  /** Puts a backup in the place of a database, while it does not run: as a copy that has a site of its own, or as the very file. */
  restore(dbid, file, { asIs = false } = {}) {
    const target = this.#file(dbid);
    if (!asIs) return execFileSync(SERVER, ["restore", "--force", file, target]);
    for (const name of readdirSync(this.#data)) if (name.startsWith(path.basename(target))) rmSync(path.join(this.#data, name));
    copyFileSync(file, target);
  }

  #file(dbid) {
    return path.join(this.#data, `${dbid}.db`);
  }

  /** The rows of `todo` as the server holds them, read from its changes as any peer would. */
  async rows(dbid = "demo", headers = {}) {
    const rows = new Map();
    for (let since = "0"; ; ) {
      const response = await fetch(`${this.url}sync/${dbid}/changes?since=${since}`, { headers });
      if (!response.ok) throw new Error(`GET changes: ${response.status} ${await response.text()}`);
      const batch = await response.json();
      for (const [table, pk, cid, val, , , , cl] of batch.changes) {
        if (table !== "todo") continue;
        if (cl % 2 === 0) rows.delete(pk);
        else rows.set(pk, { ...(rows.get(pk) ?? { id: unpackText(pk) }), ...(cid === "-1" ? {} : { [cid]: plain(val) }) });
      }
      if (!batch.more) break;
      since = batch.next ?? `${batch.from}.${batch.end}`;
    }
    return [...rows.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  async close() {
    await this.kill();
    rmSync(this.#data, { recursive: true, force: true });
  }
}

/** A packed key of one text: count 1, tag, length, bytes. */
function unpackText(pk) {
  const bytes = Buffer.from(pk, "hex");
  const lengthBytes = bytes[1] >> 3;
  return bytes.subarray(2 + lengthBytes).toString("utf8");
}

function plain(val) {
  return val !== null && typeof val === "object" ? (val.$real ?? val.$int ?? val.$blob) : val;
}

export function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
