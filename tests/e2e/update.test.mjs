/** A new release of the worker takes over from one that has streams open. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Stage } from "./harness/stage.mjs";
import { Www } from "./harness/www.mjs";
import { World } from "./harness/world.mjs";

describe("an update of the worker", () => {
  test("waits to be asked, then takes over within a second although streams are open, and loses nothing", async (t) => {
    const www = new Www(t);
    const world = await World.open(["Anna", "Ben"], { www: www.dir });
    t.after(() => world.close());
    const [anna, ben] = world.people;
    const { page } = anna;
    await anna.add("Written with the old worker");
    await ben.seesItem("Written with the old worker");

    www.append("sw.js", "\n// another release\n");
    await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
    await page.waitForSelector("#update:not([hidden])");
    assert.equal(await isWaiting(page), true);
    await anna.screenshot("update");

    const begin = performance.now();
    // Not by the button, which also reloads the page: the stream of this very page has to move.
    assert.equal(await page.evaluate(() => globalThis.db.applyUpdate()), true);
    const took = Math.round(performance.now() - begin);
    t.diagnostic(`the new worker took over in ${took} ms`);
    assert.ok(took < 1_000, `took ${took} ms`);
    assert.equal(await isWaiting(page), false);

    await ben.add("Written by the other after the update");
    await anna.seesItem("Written by the other after the update", 5_000);
    await anna.add("Written with the new worker");
    await ben.seesItem("Written with the new worker", 5_000);

    // Its button is there since the first release, so it is pressed while the new worker is still being installed.
    www.append("sw.js", "\n// and another one\n");
    await page.evaluate(async () => (await navigator.serviceWorker.ready).update());
    await Promise.all([page.waitForEvent("load"), page.click("#apply-update")]);
    await anna.ready();
    assert.equal(await page.isHidden("#update"), true);
    assert.equal((await world.agreed()).length, 3);
  });
});

/** Appended to the worker: tells of each log record that became durable, by its number, and which release wrote it. */
const RECORDER = `
{
  const release = 1;
  const channel = new BroadcastChannel("test:commits");
  const { add } = IDBObjectStore.prototype;
  IDBObjectStore.prototype.add = function (...record) {
    const request = add.apply(this, record);
    if (this.name === "log") this.transaction.addEventListener("complete", () => channel.postMessage({ release, generation: request.result }));
    return request;
  };
}`;

describe("two releases of the worker", () => {
  test("that are both alive while a page writes without a pause never write both, and everything answered is there", async (t) => {
    const stage = await Stage.open(t, { change: (www) => www.append("crsql-sync-sw.js", RECORDER) });
    const { page, www } = stage;
    const tabs = [page, await stage.tab()];
    for (const tab of tabs) {
      await stage.connect(tab, { worker: "/crsql-sync-sw.js" });
      await tab.evaluate(() => {
        globalThis.told = 0;
        globalThis.db.subscribe(({ changes }) => (globalThis.told += changes.length));
      });
    }
    await page.evaluate(() => {
      globalThis.written = [];
      const write = async () => {
        for (let n = 0; !globalThis.isOver; n++) {
          await globalThis.db.exec("INSERT INTO todo (id) VALUES (?)", [String(n)]);
          globalThis.written.push(String(n));
        }
      };
      globalThis.writing = write();
      globalThis.writing.catch(() => {});
    });
    await page.evaluate(() => {
      globalThis.commits = [];
      new BroadcastChannel("test:commits").onmessage = ({ data }) => globalThis.commits.push(data);
    });

    const took = [];
    for (let release = 1; release <= 4; release++) {
      await page.waitForFunction((release) => globalThis.commits.filter((commit) => commit.release === release).length > 5, release, { timeout: 60_000 });
      if (release === 4) break;
      www.replace("crsql-sync-sw.js", /const release = \d+;/, `const release = ${release + 1};`);
      await page.evaluate(async () => {
        const registration = await navigator.serviceWorker.ready;
        await registration.update();
        while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 10));
      });
      // A takeover within a second of another one waits for the rest of that: see docs/client.md.
      await page.waitForFunction(() => navigator.serviceWorker.controller.state === "activated");
      took.push(
        await page.evaluate(async () => {
          const begin = performance.now();
          if (!(await globalThis.db.applyUpdate())) throw new Error("no worker waits");
          return Math.round(performance.now() - begin);
        }),
      );
    }

    const written = await page.evaluate(async () => {
      globalThis.isOver = true;
      await globalThis.writing;
      return globalThis.written;
    });
    t.diagnostic(`handovers with two streams and a page that writes took ${took.join(", ")} ms; ${written.length} writes were answered`);
    const [{ ids }] = await page.evaluate(() => globalThis.db.query("SELECT json_group_array(id) AS ids FROM todo"));
    const rows = new Set(JSON.parse(ids));
    assert.deepEqual(written.filter((id) => !rows.has(id)), [], "what was answered is missing");
    for (const tab of tabs) await tab.waitForFunction((count) => globalThis.told >= count, rows.size, { timeout: 30_000 });

    // Each record has one number, and IndexedDB gives none to two: their order is that of the writes.
    const commits = (await page.evaluate(() => globalThis.commits)).sort((a, b) => a.generation - b.generation);
    const releases = commits.map(({ release }) => release);
    assert.deepEqual(releases, [...releases].sort(), "a release wrote after the next one had begun to");
    assert.equal(new Set(commits.map(({ generation }) => generation)).size, commits.length, "two releases wrote one record");
    assert.ok(Math.max(...took) < 500, `handovers took ${took} ms`);
  });
});

function isWaiting(page) {
  return page.evaluate(async () => Boolean((await navigator.serviceWorker.ready).waiting));
}
