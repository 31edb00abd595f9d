/** The contract against the server over TCP; with CRSQL_SYNC_URL against any other one, as in http://localhost:8080/sync. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { names, run } from "./suite.mjs";

const SERVER = process.env.CRSQL_SYNC_BIN ?? "target/debug/crsql-sync";
let base = process.env.CRSQL_SYNC_URL;

if (!base) {
  const data = mkdtempSync(path.join(os.tmpdir(), "crsql-contract-"));
  const server = spawn(SERVER, ["serve", "--data", data, "--listen", "127.0.0.1:0", "--sql"], { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, CRSQL_SYNC_LOG_LEVEL: "error" } });
  before(async () => {
    for await (const line of createInterface(server.stdout)) {
      base = /^listening on (.*)/.exec(line)?.[1];
      if (base) return;
    }
    throw new Error(`${SERVER} did not start`);
  });
  after(async () => {
    const ended = once(server, "exit");
    server.kill("SIGKILL");
    await ended;
    rmSync(data, { recursive: true });
  });
}

for (const name of names) test(name, () => run(name, { base, fetch }));
