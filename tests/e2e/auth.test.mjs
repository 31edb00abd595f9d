/** Who asks the upstream is known by the page, and the worker asks it. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SCHEMA, Stage } from "./harness/stage.mjs";

const TOKEN = "a-token-of-good-length";
const HEADERS = { authorization: `Bearer ${TOKEN}` };

/** Opens a database whose credentials are those that `globalThis.user` has just then. */
function connect(page, options = {}) {
  const all = { dbid: "demo", schema: SCHEMA, worker: "/crsql-sync-sw.js?upstream=/sync&auth=page", ...options };
  return page.evaluate(async (options) => {
    globalThis.asked = [];
    const auth = ({ refresh }) => {
      globalThis.asked.push(refresh);
      const { token, principal } = (refresh && globalThis.renewed) || globalThis.user;
      return { headers: { authorization: `Bearer ${token}` }, principal };
    };
    globalThis.db = await globalThis.lib.connect({ ...options, auth });
    globalThis.db.status.subscribe((status) => (globalThis.latest = status));
  }, all);
}

const signIn = (page, user, renewed) => page.evaluate(([user, renewed]) => Object.assign(globalThis, { user, renewed }), [user, renewed]);
const sees = (page, state, unsent) => page.waitForFunction(([state, unsent]) => globalThis.latest.state === state && (unsent === undefined || globalThis.latest.unsent.changes === unsent), [state, unsent]);
const add = (page, id) => page.evaluate((id) => globalThis.db.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [id, id]).then(() => {}), id);
const titles = async (server) => (await server.rows("demo", HEADERS).catch(() => [])).map(({ title }) => title);

const ANNA = { token: TOKEN, principal: "anna" };
const BEN = { token: TOKEN, principal: "ben" };

for (const mode of ["worker", "page"]) {
  const options = mode === "page" ? { mode, page: { upstream: "/sync" } } : {};

  describe(`an upstream that wants to know who asks, by the ${mode}`, () => {
    test("is told by the page, which is asked again when its token is outdated", async (t) => {
      const { page, server } = await Stage.open(t, { args: ["--token", TOKEN] });
      await signIn(page, { token: "an-outdated-token", principal: "anna" }, ANNA);
      await connect(page, options);
      await add(page, "first");
      await sees(page, "online", 0);
      assert.deepEqual(await titles(server), ["first"]);
      assert.ok(await page.evaluate(() => globalThis.asked.includes(true)));
    });

    test("gets nothing while nobody is known, and everything then", async (t) => {
      const { page, server } = await Stage.open(t, { args: ["--token", TOKEN] });
      await signIn(page, { token: "no-good", principal: "anna" });
      await connect(page, options);
      await add(page, "early");
      await sees(page, "unauthorized");
      assert.deepEqual(await titles(server), []);
      await signIn(page, ANNA);
      await page.evaluate(() => globalThis.db.wake());
      await sees(page, "online", 0);
      assert.deepEqual(await titles(server), ["early"]);
    });

    test("is never sent the changes of one under the name of another", async (t) => {
      const { page, server } = await Stage.open(t, { args: ["--token", TOKEN] });
      await signIn(page, ANNA);
      await connect(page, options);
      await add(page, "by anna");
      await sees(page, "online", 0);
      await page.evaluate(() => globalThis.db.pause().then(() => {}));
      await add(page, "by anna, offline");
      await signIn(page, BEN);
      await page.evaluate(() => globalThis.db.resume().then(() => {}));
      await sees(page, "principal_changed");
      assert.deepEqual(await titles(server), ["by anna"]);
      assert.equal(await page.evaluate(() => globalThis.latest.unsent.changes > 0), true);

      await signIn(page, ANNA);
      await page.evaluate(() => globalThis.db.setLink({ principal: "anna" }).then(() => {}));
      await sees(page, "online", 0);
      assert.deepEqual((await titles(server)).sort(), ["by anna", "by anna, offline"]);
    });
  });
}
