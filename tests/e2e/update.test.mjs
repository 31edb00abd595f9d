/** A new release of the worker takes over from one that has streams open. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
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

function isWaiting(page) {
  return page.evaluate(async () => Boolean((await navigator.serviceWorker.ready).waiting));
}
