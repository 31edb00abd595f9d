/** The hooks, with the real React in its strict mode. */

import assert from "node:assert/strict";
import path from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { PKG } from "./harness/paths.mjs";
import { Stage, countAsked } from "./harness/stage.mjs";
import { suiteContext } from "./harness/suite.mjs";

describe("the hooks for React", () => {
  let page;
  const context = suiteContext();

  before(async () => {
    const code = await bundle();
    const change = (www) => {
      www.write("app.js", code);
      www.write("react.html", '<!doctype html><div id="root"></div><script type="module" src="/app.js"></script>');
    };
    page = (await Stage.open(context, { change, path: "react.html" })).page;
    await countAsked(page);
  });

  const runs = () => page.evaluate(() => globalThis.asked("WHERE list = ?"));
  const texts = (id) => page.$$eval(`#${id} li`, (items) => items.map((item) => item.textContent));
  const sees = (id, wanted) => page.waitForFunction(([id, wanted]) => [...document.querySelectorAll(`#${id} li`)].map((item) => item.textContent).join() === wanted, [id, wanted]);
  const exec = (sql, params) => page.evaluate(([sql, params]) => globalThis.db.exec(sql, params).then(() => {}), [sql, params]);
  const INSERT = "INSERT INTO todo VALUES (?, ?, ?)";

  test("show rows as they are written, and run a query once for two components", async () => {
    await page.waitForSelector("ul#a", { state: "attached" });
    await page.waitForSelector("ul#b", { state: "attached" });
    const before = await runs();
    await exec(INSERT, ["1", "home", "milk"]);
    for (const id of ["a", "b"]) await sees(id, "milk");
    assert.equal(await runs(), before + 1);
  });

  test("draw again only the rows that changed", async () => {
    await exec(INSERT, ["2", "home", "tea"]);
    await sees("a", "milk,tea");
    const before = await page.evaluate(() => ({ ...globalThis.drawn }));
    await exec("UPDATE todo SET title = 'water' WHERE id = '2'");
    await sees("a", "milk,water");
    const after = await page.evaluate(() => globalThis.drawn);
    assert.equal(after["1"], before["1"]);
    assert.ok(after["2"] > before["2"]);
  });

  test("follow their parameters", async () => {
    await exec(INSERT, ["3", "work", "report"]);
    await page.evaluate(() => globalThis.show({ list: "work" }));
    await sees("a", "report");
    assert.deepEqual(await texts("b"), ["milk", "water"]);
    await page.evaluate(() => globalThis.show({ list: "home" }));
    await sees("a", "milk,water");
  });

  test("go on for one component when the other is gone, and end with the last", async () => {
    await page.evaluate(() => globalThis.show({ a: false }));
    await page.waitForSelector("#a", { state: "detached" });
    await exec(INSERT, ["4", "home", "zest"]);
    await sees("b", "milk,water,zest");
    await page.evaluate(() => globalThis.show({ b: false }));
    await page.waitForSelector("#b", { state: "detached" });
    await page.waitForTimeout(1_000);
    const before = await runs();
    await exec("DELETE FROM todo WHERE id = '4'");
    await page.waitForTimeout(500);
    assert.equal(await runs(), before);
    await page.evaluate(() => globalThis.show({ a: true }));
    await sees("a", "milk,water");
  });

  test("subscribe a partial copy as long as they are there", async () => {
    await page.evaluate(() => globalThis.partial.batch([["INSERT INTO todo VALUES ('1', 'home', 'bread')"], ["INSERT INTO todo VALUES ('2', 'work', 'report')"]]).then(() => {}));
    const shows = (text) => page.waitForFunction((text) => document.querySelector("#subscribed")?.textContent === text, text, { timeout: 15_000 });
    await page.evaluate(() => globalThis.show({ subscribed: "home" }));
    await shows("complete 1: bread");
    await page.evaluate(() => globalThis.show({ subscribed: "work" }));
    await shows("complete 1: report");
    await page.evaluate(() => globalThis.show({ subscribed: "" }));
    await page.waitForFunction(async () => (await globalThis.partial.getStatus()).subscriptions.length === 0);
  });

  test("give errors by their code, and the status", async () => {
    await page.waitForFunction(() => document.querySelector("#broken").textContent === "query_refused");
    await page.waitForFunction(() => document.querySelector("#status").textContent === "online 0");
  });
});

/** The app in one file, with the development build of React, whose strict mode does everything twice. */
async function bundle() {
  const [{ output }] = await build({
    configFile: false,
    envDir: false,
    logLevel: "warn",
    mode: "development",
    define: { "process.env.NODE_ENV": '"development"' },
    resolve: {
      alias: [
        { find: /^crsql-sync$/, replacement: path.join(PKG, "client.js") },
        { find: "crsql-sync/react", replacement: path.join(PKG, "react.js") },
      ],
    },
    build: {
      write: false,
      minify: false,
      target: "es2022",
      lib: { entry: fileURLToPath(new URL("react/app.mjs", import.meta.url)), formats: ["es"], fileName: () => "app.js" },
      rolldownOptions: { external: [/page\.js$/] },
    },
  });
  return output[0].code;
}
