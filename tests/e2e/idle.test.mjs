/**
 * A worker that the browser keeps while it is asked for something, and stops when nothing happens. Browsers with a debugger attached do not do that, so this
 * one is started plainly, and its page reports by itself.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { listen, openPlainly } from "./harness/plain.mjs";
import { Server } from "./harness/server.mjs";
import { Www } from "./harness/www.mjs";

/** Chromium stops an idle worker after 30 s. */
const IDLE_MS = 40_000;

const page = (tell) => `<!doctype html><script type="module">
  import { connect } from "/client.js";
  const tell = ${tell};
  const hello = () => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = (event) => resolve(event.data);
    navigator.serviceWorker.controller.postMessage({ type: "crsql-sync:hello" }, [port2]);
  });
  try {
    const schema = "CREATE TABLE note (id INTEGER PRIMARY KEY NOT NULL, text); SELECT crsql_as_crr('note');";
    const db = await connect({ dbid: "idle", schema, worker: "/sw.js" });
    await db.exec("INSERT INTO note VALUES (1, 'kept')");
    const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
    const first = (await hello()).started;
    const until = performance.now() + ${IDLE_MS};
    while (performance.now() < until) {
      await db.query("SELECT 1");
      await pause(500);
    }
    const before = (await hello()).started;
    await pause(${IDLE_MS});
    const begin = performance.now();
    const rows = await db.query("SELECT text FROM note");
    const took = performance.now() - begin;
    await tell({ rows, took, keptWhileAsked: before === first, restarted: (await hello()).started !== before });
  } catch (error) {
    await tell({ error: String(error), code: error.code });
  }
</script>`;

test("a worker that is asked by its line lives on, and one killed by idleness answers again, with its data", async (t) => {
  const www = new Www(t);
  const { report: reported, tell } = await listen(t);
  www.write("idle.html", page(tell));
  const server = await Server.start({ www: www.dir });
  t.after(() => server.close());
  openPlainly(t, `${server.url}idle.html`);

  const report = await reported;
  assert.equal(report.error, undefined, JSON.stringify(report));
  t.diagnostic(`first answer after ${IDLE_MS / 1000} s of idleness: ${Math.round(report.took)} ms`);
  assert.equal(report.keptWhileAsked, true, "the browser stopped the worker while a page asked it by its line");
  assert.equal(report.restarted, true, "the browser did not stop the worker");
  assert.deepEqual(report.rows, [{ text: "kept" }]);
});
