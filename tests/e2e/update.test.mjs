/** A new release of the worker takes over from one that has streams open. */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { describe, test } from "node:test";
import { DIST } from "./harness/paths.mjs";
import { World } from "./harness/world.mjs";

describe("an update of the worker", () => {
  test("waits to be asked, then takes over within seconds although streams are open, and loses nothing", async (t) => {
    const www = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-www-"));
    t.after(() => rmSync(www, { recursive: true, force: true }));
    cpSync(DIST, www, { recursive: true });
    const world = await World.open(["Anna", "Ben"], { www });
    t.after(() => world.close());
    const [anna, ben] = world.people;
    await anna.add("Written with the old worker");
    await ben.seesItem("Written with the old worker");

    const script = path.join(www, "sw.js");
    writeFileSync(script, `${readFileSync(script, "utf8")}\n// another release\n`);
    await anna.page.evaluate(async () => (await navigator.serviceWorker.ready).update());
    await anna.page.waitForSelector("#update:not([hidden])");
    assert.equal(await anna.page.evaluate(async () => Boolean((await navigator.serviceWorker.ready).waiting)), true);

    const begin = performance.now();
    // Not by the button, which also reloads the page: the stream of this very page has to move.
    assert.equal(await anna.page.evaluate(() => globalThis.client.applyUpdate()), true);
    const took = Math.round(performance.now() - begin);
    t.diagnostic(`the new worker took over in ${took} ms`);
    assert.ok(took < 5_000, `took ${took} ms`);
    assert.equal(await anna.page.evaluate(async () => Boolean((await navigator.serviceWorker.ready).waiting)), false);

    await ben.add("Written by the other after the update");
    await anna.seesItem("Written by the other after the update", 5_000);
    await anna.add("Written with the new worker");
    await ben.seesItem("Written with the new worker", 5_000);
    assert.equal((await world.agreed()).length, 3);
  });
});
