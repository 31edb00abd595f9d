/** Workers that an application has already: built by Workbox and by Serwist, with two lines more. */

import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { build } from "vite";
import { generateSW } from "workbox-build";
import { PKG } from "./harness/paths.mjs";
import { Stage } from "./harness/stage.mjs";

/** What both have to do: serve the page without a server, and the database. */
async function check(t, stage, worker) {
  const { page, server } = stage;
  await stage.connect(page, { dbid: "demo", worker });
  await page.evaluate(() => globalThis.db.exec("INSERT INTO todo (id, title) VALUES ('1', 'by a shared worker')").then(() => {}));
  await page.evaluate(() => new Promise((resolve) => globalThis.db.status.subscribe(({ state, unsent }) => state === "online" && unsent.changes === 0 && resolve())));
  assert.deepEqual((await server.rows()).map(({ title }) => title), ["by a shared worker"]);

  await server.kill();
  const response = await page.reload();
  assert.equal(response.fromServiceWorker(), true, "the page came from elsewhere than the precache");
  await page.waitForFunction(() => globalThis.lib);
  await stage.connect(page, { dbid: "demo", worker });
  assert.deepEqual(await page.evaluate(() => globalThis.db.query("SELECT title FROM todo")), [{ title: "by a shared worker" }]);
}

describe("a worker of the application's own", () => {
  test("is joined in one that Workbox wrote, by importScripts", async (t) => {
    const stage = await Stage.open(t, { change: (www) => {
      www.copyFromPackage("worker.classic.js", "crsql-sync-worker.classic.js");
      www.write("my-sync.js", 'crsqlSync.installSyncWorker({ upstream: "/sync" });');
    } });
    const { count, warnings } = await generateSW({
      globDirectory: stage.www.dir,
      globPatterns: ["stage.html", "client.js", "page.js"],
      swDest: path.join(stage.www.dir, "workbox-sw.js"),
      importScripts: ["crsql-sync-worker.classic.js", "my-sync.js"],
      clientsClaim: true,
      mode: "production",
    });
    assert.deepEqual([count, warnings], [3, []]);
    await check(t, stage, { url: "/workbox-sw.js", type: "classic" });
  });

  test("is joined in one that uses Serwist, by an import", async (t) => {
    const dir = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-serwist-"));
    t.after(() => rmSync(dir, { recursive: true }));
    mkdirSync(dir, { recursive: true });
    writeFileSync(path.join(dir, "sw.js"), `
      import { Serwist } from "serwist";
      import { installSyncWorker } from "crsql-sync/worker";
      installSyncWorker({ upstream: "/sync" });
      new Serwist({ precacheEntries: ["stage.html", "client.js", "page.js"].map((url) => ({ url: "/" + url, revision: "1" })), clientsClaim: true }).addEventListeners();
    `);
    const [{ output }] = await build({
      configFile: false,
      envDir: false,
      logLevel: "warn",
      define: { "process.env.NODE_ENV": '"production"' },
      resolve: { alias: { "crsql-sync/worker": path.join(PKG, "worker.js"), serwist: path.resolve("node_modules/serwist") } },
      build: { write: false, target: "es2022", lib: { entry: path.join(dir, "sw.js"), formats: ["es"], fileName: () => "serwist-sw.js" } },
    });
    const stage = await Stage.open(t, { change: (www) => www.write("serwist-sw.js", output[0].code) });
    await check(t, stage, "/serwist-sw.js");
  });
});
