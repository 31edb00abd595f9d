/** Two people with the page open: what one does, the other sees. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { World } from "./harness/world.mjs";

describe("two browser profiles", () => {
  let world, anna, ben;
  after(() => world?.close());
  before(async () => {
    world = await World.open(["Anna", "Ben"]);
    [anna, ben] = world.people;
    for (const person of world.people) await person.seesState("online");
  });

  test("an item written in one appears in the other within a second", async (t) => {
    const took = [];
    for (let i = 1; i <= 10; i++) {
      const title = `Item ${i}`;
      const [writer, reader] = i % 2 ? [anna, ben] : [ben, anna];
      const begin = performance.now();
      await writer.add(title);
      await reader.seesItem(title, 5_000);
      took.push(Math.round(performance.now() - begin));
    }
    const sorted = took.toSorted((a, b) => a - b);
    t.diagnostic(`from Enter to the other browser: median ${sorted[5]} ms, slowest ${sorted.at(-1)} ms`);
    assert.ok(sorted.at(-1) < 1_000, `took ${took} ms`);
  });

  test("a check mark, a new title and a deletion appear in the other too", async () => {
    await anna.toggle("Item 1");
    await ben.page.waitForSelector("li.done");
    await ben.rename("Item 2", "Item two");
    await anna.seesItem("Item two");
    await anna.remove("Item 3");
    await ben.seesNoItem("Item 3");
    const rows = await world.agreed();
    assert.equal(rows.length, 9);
    assert.deepEqual(rows.filter((row) => row.done).map((row) => row.title), ["Item 1"]);
  });

  test("two tabs of one profile share one database", async () => {
    const tab = await anna.page.context().newPage();
    await tab.goto(world.server.url);
    await tab.waitForFunction(() => document.querySelectorAll("#list li").length === 9);
    await anna.add("From the other tab");
    await tab.waitForFunction(() => [...document.querySelectorAll("#list .title")].some((field) => field.value === "From the other tab"));
    assert.equal(await tab.textContent("#me"), await anna.page.textContent("#me"));
    await tab.close();
  });

  test("a mistake in SQL is reported with its code, and changes nothing", async () => {
    const before = await anna.rows();
    const error = await anna.page.evaluate(() =>
      globalThis.db.batch([["INSERT INTO todo (id, title) VALUES ('x', 'lost')"], ["INSERT INTO nowhere VALUES (1)"]]).catch(({ name, code, status }) => ({ name, code, status })),
    );
    assert.deepEqual(error, { name: "SyncError", code: "query_refused", status: 400 });
    assert.deepEqual(await anna.rows(), before);
  });

  test("integers, reals, blobs and nulls come back as they were given", async () => {
    const values = await anna.page.evaluate(async () => {
      const [row] = await globalThis.db.query("SELECT ? AS big, ? AS small, ? AS half, ? AS bytes, ? AS none, ? AS text, typeof(?) AS type", [
        9007199254740993n, -1, 0.5, new Uint8Array([0, 255]), null, "ß", 1.5,
      ]);
      return { ...row, big: String(row.big), bytes: [...row.bytes] };
    });
    assert.deepEqual(values, { big: "9007199254740993", small: -1, half: 0.5, bytes: [0, 255], none: null, text: "ß", type: "real" });
  });

  test("requests outside the prefix go past the worker", async () => {
    const { status, fromWorker } = await anna.page.evaluate(async () => {
      const response = await fetch("/syncopation");
      await new Promise((resolve) => setTimeout(resolve, 50));
      const [entry] = performance.getEntriesByName(response.url);
      return { status: response.status, fromWorker: entry?.workerStart > 0 && entry?.transferSize === 0 };
    });
    assert.equal(status, 404);
    assert.equal(fromWorker, false);
  });
});
