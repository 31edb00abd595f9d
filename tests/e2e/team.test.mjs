/** The demo of two people on one database, side by side. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Profile } from "./harness/profile.mjs";
import { Server } from "./harness/server.mjs";

describe("two people with a partial copy each", () => {
  let server, profile, ann, ben;
  after(async () => {
    await profile?.close();
    await server?.close();
  });
  before(async () => {
    server = await Server.start();
    // The list's worker has the page first.
    profile = await Profile.open(server.url);
    await open();
  });

  async function open() {
    await profile.page.goto(`${server.url}team/`);
    [ann, ben] = await Promise.all(["ann", "ben"].map((name) => frame(name)));
  }

  async function frame(name) {
    const handle = await profile.page.waitForSelector(`iframe[src="/team/${name}/"]`);
    const frame = await handle.contentFrame();
    await frame.waitForFunction(() => document.querySelector("#subscription").textContent === "complete" && document.querySelector("#rows").textContent !== "…", undefined, { timeout: 30_000 });
    return frame;
  }

  const titles = (frame) => frame.evaluate(() => [...document.querySelectorAll("#list .task")].map((task) => task.textContent));
  const rows = (frame) => frame.evaluate(async () => (await globalThis.db.query("SELECT title FROM task ORDER BY created")).map(({ title }) => title));
  const add = async (frame, title) => {
    await frame.fill("#new-title", title);
    await frame.press("#new-title", "Enter");
    await frame.waitForSelector(`#list .task:text-is("${title}")`);
  };
  const give = (frame, title) => frame.locator("#list li", { hasText: title }).locator(".give").click();
  const has = async (frame, wanted) => {
    for (let tries = 0; tries < 200; tries++) {
      if (JSON.stringify(await rows(frame)) === JSON.stringify(wanted)) break;
      await sleep(50);
    }
    assert.deepEqual(await rows(frame), wanted);
    await frame.waitForFunction((wanted) => JSON.stringify([...document.querySelectorAll("#list .task")].map((task) => task.textContent)) === wanted, JSON.stringify(wanted));
  };

  test("a task that is given away leaves one copy and enters the other", async () => {
    for (const title of ["Book the ferry", "Paint the door", "Water the plants"]) await add(ann, title);
    for (const title of ["Order screws", "Call the plumber"]) await add(ben, title);
    await has(ben, ["Order screws", "Call the plumber"]);
    await give(ann, "Paint the door");
    await has(ann, ["Book the ferry", "Water the plants"]);
    await has(ben, ["Paint the door", "Order screws", "Call the plumber"]);
    // The colour of what has just arrived fades.
    await sleep(1_500);
    await profile.screenshot("team");
    await profile.page.emulateMedia({ colorScheme: "dark" });
    await profile.screenshot("team-dark");
    await profile.page.emulateMedia({ colorScheme: "light" });
  });

  test("what one does without a network reaches the other when it is back", async () => {
    await ann.setChecked("#network", false, { force: true });
    await ann.waitForFunction(() => document.querySelector("#state").dataset.state === "paused");
    await give(ann, "Book the ferry");
    await ann.waitForFunction(() => document.querySelectorAll("#list li").length === 1);
    assert.deepEqual(await rows(ann), ["Book the ferry", "Water the plants"], "it is to be sent");
    await ann.setChecked("#network", true, { force: true });
    await has(ann, ["Water the plants"]);
    await has(ben, ["Book the ferry", "Paint the door", "Order screws", "Call the plumber"]);
  });

  test("both have what was theirs after a reload", async () => {
    await open();
    assert.deepEqual(await titles(ann), ["Water the plants"]);
    assert.equal((await titles(ben)).length, 4);
    await profile.page.setViewportSize({ width: 420, height: 900 });
    await profile.screenshot("team-narrow");
    const overflows = await profile.page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.equal(overflows, false);
  });
});
