/** The network is cut, or the server is down: everybody goes on working, and everything meets again. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { World } from "./harness/world.mjs";

describe("without a network", () => {
  let world, anna, ben;
  after(() => world?.close());
  before(async () => {
    world = await World.open(["Anna", "Ben"]);
    [anna, ben] = world.people;
    for (const title of ["Bread", "Milk", "Tea"]) await anna.add(title);
    await ben.seesItem("Tea");
  });

  test("edits of both sides of a cut meet when it is healed", async () => {
    for (const person of world.people) await person.setNetwork(false);
    await anna.add("Written by Anna");
    await anna.rename("Bread", "Brown bread");
    await anna.remove("Tea");
    await ben.add("Written by Ben");
    await ben.toggle("Bread");
    await ben.toggle("Tea");
    await anna.seesItem("Brown bread");
    await ben.seesItem("Written by Ben");
    assert.ok(!(await ben.titles()).includes("Written by Anna"));
    await anna.page.waitForSelector("#unsent:not([hidden])");

    for (const person of world.people) await person.setNetwork(true);
    await anna.seesItem("Written by Ben");
    await ben.seesItem("Written by Anna");
    const rows = await world.agreed();
    // Different columns of one row: both edits count. A deleted row stays deleted.
    assert.deepEqual(rows.map(({ title, done }) => `${title} ${done}`).sort(), ["Brown bread 1", "Milk 0", "Written by Anna 0", "Written by Ben 0"]);
    await anna.page.waitForSelector("#unsent", { state: "hidden" });
  });

  test("cutting the network and healing it answer with what they did", async () => {
    const states = await anna.page.evaluate(async () => {
      const states = [];
      for (let i = 0; i < 5; i++) {
        states.push((await globalThis.db.pause()).upstream.state);
        states.push((await globalThis.db.resume()).upstream.state === "paused" ? "paused" : "open");
      }
      return states;
    });
    assert.deepEqual(states, Array(5).fill(["paused", "open"]).flat());
    await anna.seesState("online");
  });

  test("two that wrote much offline and come back at the same instant both send everything", async () => {
    for (const person of world.people) await person.setNetwork(false);
    const write = (person) =>
      person.page.evaluate((name) => Promise.all(Array.from({ length: 50 }, (_, n) => globalThis.db.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [`${name}-${n}`, `Of ${name}`]))).then(() => {}), person.name);
    await Promise.all(world.people.map(write));
    await Promise.all(world.people.map((person) => person.page.evaluate(() => globalThis.db.resume().then(() => {}))));
    const rows = await world.agreed();
    for (const { name } of world.people) assert.equal(rows.filter(({ title }) => title === `Of ${name}`).length, 50);
    for (const person of world.people) {
      await person.seesState("online");
      await person.page.evaluate(() => globalThis.db.exec("DELETE FROM todo WHERE title LIKE 'Of %'").then(() => {}));
    }
    await world.agreed();
  });

  test("a cut network stays cut over a reload, and what was written offline is still there", async () => {
    await anna.setNetwork(false);
    await anna.add("Before the reload");
    await anna.seesItem("Before the reload");
    await anna.reload();
    await anna.seesState("paused");
    await anna.seesItem("Before the reload");
    assert.ok(!(await ben.titles()).includes("Before the reload"));
    await anna.setNetwork(true);
    await ben.seesItem("Before the reload");
  });

  test("the page opens and works while the server is down, and catches up when it is back", async (t) => {
    await world.server.kill();
    await anna.seesState("offline");
    await anna.reload();
    await anna.seesItem("Milk");
    await anna.add("Written while the server was down");
    await anna.seesItem("Written while the server was down");
    await anna.stopWorker();
    await anna.reload();
    await anna.seesItem("Written while the server was down");
    await anna.screenshot("server-down");

    await world.server.start();
    const begin = performance.now();
    await ben.seesItem("Written while the server was down", 60_000);
    t.diagnostic(`caught up ${Math.round(performance.now() - begin)} ms after the server was back`);
    await world.agreed();
  });
});
