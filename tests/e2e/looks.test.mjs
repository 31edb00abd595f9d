/** What the page looks like. Leaves pictures in tests/e2e/screenshots/, to be looked at. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { World } from "./harness/world.mjs";

const ITEMS = [
  "Milk, two bottles",
  "Call the plumber about the kitchen tap",
  "Return the library books",
  "A long item that does not fit on one line of a narrow phone, so that it has to go on in the next",
  "Water the plants",
];

describe("the page", () => {
  test("is readable in light and dark, wide and narrow, online and offline", async (t) => {
    const world = await World.open(["Anna"]);
    t.after(() => world.close());
    const [anna] = world.people;
    const { page } = anna;
    await page.emulateMedia({ colorScheme: "light" });
    await anna.seesState("online");
    await anna.screenshot("empty");

    for (const title of ITEMS) {
      await anna.add(title);
      await anna.seesItem(title);
    }
    await anna.toggle("Return the library books");
    await page.waitForSelector("li.done");
    await page.waitForSelector("#unsent", { state: "hidden" });
    // The colour of what has just arrived fades.
    await page.waitForTimeout(1_500);
    await anna.screenshot("desktop-light");
    await page.emulateMedia({ colorScheme: "dark" });
    await anna.screenshot("desktop-dark");

    await anna.setNetwork(false);
    await anna.add("Written without a network");
    await anna.toggle("Water the plants");
    await page.waitForSelector("#unsent:not([hidden])");
    await page.waitForTimeout(1_500);
    await anna.screenshot("offline-unsent-dark");
    await page.emulateMedia({ colorScheme: "light" });
    await anna.screenshot("offline-unsent-light");
    await page.setViewportSize({ width: 360, height: 780 });
    await anna.screenshot("narrow");
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(overflow, 0, "the narrow page scrolls sideways");
  });

  test("shows two browsers, one of them with unsent items", async (t) => {
    const world = await World.open(["Anna", "Ben"]);
    t.after(() => world.close());
    const [anna, ben] = world.people;
    for (const title of ["Bread", "Tickets for Saturday", "Water the plants"]) await anna.add(title);
    await ben.seesItem("Water the plants");
    await ben.setNetwork(false);
    await ben.add("Batteries");
    await ben.toggle("Bread");
    await ben.page.waitForSelector("#unsent:not([hidden])");
    const pictures = [];
    for (const { page } of world.people) {
      await page.setViewportSize({ width: 520, height: 640 });
      await page.waitForTimeout(1_500);
      pictures.push((await page.screenshot()).toString("base64"));
    }
    const { page } = anna;
    await page.setViewportSize({ width: 1120, height: 700 });
    await page.setContent(`<style>body { margin: 0; padding: 40px; display: flex; gap: 0; background: #dcd9d3 } img { width: 500px; margin: 0 10px; border-radius: 12px; box-shadow: 0 6px 24px #0003 }</style>
      ${pictures.map((picture) => `<img src="data:image/png;base64,${picture}">`).join("")}`);
    await anna.screenshot("two-browsers");
  });

  test("can be used with the keyboard alone", async (t) => {
    const world = await World.open(["Anna"]);
    t.after(() => world.close());
    const [anna] = world.people;
    const { keyboard } = anna.page;
    await anna.page.focus("#new-title");
    await keyboard.type("By keyboard");
    await keyboard.press("Enter");
    await anna.seesItem("By keyboard");
    // Add button, then the item: its check mark, its title, its delete button.
    for (let i = 0; i < 2; i++) await keyboard.press("Tab");
    await keyboard.press("Space");
    await anna.page.waitForSelector("li.done");
    await keyboard.press("Tab");
    await keyboard.press("End");
    await keyboard.type("!");
    await keyboard.press("Enter");
    await anna.seesItem("By keyboard!");
    await anna.page.focus(".delete");
    await keyboard.press("Enter");
    await anna.seesNoItem("By keyboard!");
    assert.equal(await anna.page.evaluate(() => document.activeElement.id), "new-title");
  });
});
