/**
 * A browser without a debugger, whose page reports by itself: while one is attached, workers are not stopped for being idle, nor
 * for being at one request for long.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";
import { CHROMIUM } from "./paths.mjs";
import { FLAGS } from "./profile.mjs";

/** Waits for the one report of a page. `tell` is the text of a function that sends it. */
export async function listen(t) {
  const listener = http.createServer().listen(0, "127.0.0.1");
  t.after(() => listener.close());
  const report = once(listener, "request").then(async ([request, response]) => {
    const body = Buffer.concat(await request.toArray());
    response.end();
    return JSON.parse(body);
  });
  await once(listener, "listening");
  const url = `http://127.0.0.1:${listener.address().port}/`;
  return { report, tell: `(report) => fetch("${url}", { method: "POST", mode: "no-cors", body: JSON.stringify(report) })` };
}

/** Opens a page with a fresh profile. */
export function openPlainly(t, url) {
  const dir = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-profile-"));
  const browser = spawn(CHROMIUM, [...FLAGS, `--user-data-dir=${dir}`, url], { stdio: "ignore", detached: true });
  t.after(() => {
    process.kill(-browser.pid, "SIGKILL");
    rmSync(dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  });
}
