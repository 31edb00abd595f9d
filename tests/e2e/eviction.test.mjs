/** Data that is taken away while a worker uses it: by the browser, which needs the place, or by whoever deletes a database. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Stage, synced, until } from "./harness/stage.mjs";

/** Each takes the database away. */
const LOSSES = {
  "the browser evicts": (page) => clear(page, "indexeddb"),
  "the browser evicts with the wasm file": async (page, profile) => {
    await clear(page, "indexeddb,cache_storage");
    await profile.stopWorker();
  },
  "another script deletes": (page) =>
    page.evaluate(async () => {
      for (const { name } of await indexedDB.databases()) {
        await new Promise((resolve, reject) => {
          const request = indexedDB.deleteDatabase(name);
          request.onsuccess = resolve;
          request.onerror = () => reject(request.error);
        });
      }
    }),
};

describe("a database", () => {
  for (const [how, lose] of Object.entries(LOSSES)) {
    test(`that ${how} comes back from the upstream, into live queries too, and is written again`, async (t) => {
      const stage = await Stage.open(t);
      const { page, profile, server } = stage;
      await stage.connect(page, { dbid: "demo" });
      await page.evaluate(() => globalThis.db.exec("INSERT INTO todo (id, title) VALUES ('1', 'sent before')").then(() => {}));
      await synced(page);
      const { site } = await page.evaluate(() => globalThis.db.getStatus());
      await page.evaluate(() => {
        globalThis.titles = undefined;
        globalThis.db.watch("SELECT title FROM todo ORDER BY id", [], (rows) => (globalThis.titles = rows.map(({ title }) => title).join()), { onError: () => {} });
      });
      await until(page, () => globalThis.titles === "sent before");

      await lose(page, profile);
      await until(page, async (site) => (await globalThis.db.getStatus()).site !== site, site);
      await synced(page);
      await until(page, () => globalThis.titles === "sent before");
      await page.evaluate(() => globalThis.db.exec("INSERT INTO todo (id, title) VALUES ('2', 'after')").then(() => {}));
      await until(page, () => globalThis.titles === "sent before,after");
      await synced(page);
      assert.deepEqual((await server.rows()).map(({ title }) => title), ["sent before", "after"]);
    });
  }
});

async function clear(page, storageTypes) {
  const cdp = await page.context().newCDPSession(page);
  const { origin } = new URL(page.url());
  await cdp.send("Storage.clearDataForOrigin", { origin, storageTypes });
  await cdp.detach();
}
