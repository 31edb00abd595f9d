/** Databases as files by the page client: taken out whole, made anew from a file, with progress, and by whoever answers. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { SCHEMA, Stage } from "./harness/stage.mjs";

const MODES = {
  "the worker": { worker: "/crsql-sync-sw.js?files=on" },
  "the page": { mode: "page", page: {} },
  "a server": { mode: "server" },
};

describe("a database as a file", () => {
  for (const [who, options] of Object.entries(MODES)) {
    test(`goes out and comes back by ${who}, and tells how far it is`, async (t) => {
      const stage = await Stage.open(t, { args: ["--files", "--sql"] });
      await stage.connect(stage.page, options);
      const found = await stage.page.evaluate(roundTrip, { ...options, schema: SCHEMA });
      // A file of SQLite, all of it counted.
      assert.equal(found.magic, "SQLite format 3\0");
      assert.ok(found.size > 3_000_000, `${found.size} bytes`);
      // What a server compresses on its way is of unknown size.
    assert.deepEqual(found.exported.at(-1), [found.size, who === "a server" ? undefined : found.size]);
      assert.ok(found.exported.length > 1, "told more than once");
      // What goes to a server over HTTP/1.1 is not counted.
      const counted = who === "a server" ? [] : [[found.size, found.size]];
      assert.deepEqual(found.imported.slice(-1), counted);
      assert.equal(found.status, "created");
      assert.equal(found.rows, 3_000);
      assert.notEqual(found.site, found.newSite, "the new copy is one of its own");
    });
  }

  test("is refused, and changes nothing, where there is one already, or what comes is none", async (t) => {
    const stage = await Stage.open(t);
    const options = MODES["the worker"];
    await stage.connect(stage.page, options);
    const codes = await stage.page.evaluate(async (options) => {
      const { db, lib } = globalThis;
      await db.exec("INSERT INTO todo (id, title) VALUES ('a', 'milk')");
      const code = (file, dbid) => lib.importFile(file, { ...options, dbid }).then(() => "none", ({ code }) => code);
      const file = await db.exportFile();
      const torn = file.slice(0, 5_000);
      return [await code(file, "stage"), await code(torn, "torn"), await code(new Blob(["no database"]), "text"), await code(file, "torn")];
    }, options);
    assert.deepEqual(codes, ["database_exists", "invalid_file", "invalid_file", "none"]);
    assert.equal(await stage.page.evaluate(async () => (await globalThis.db.query("SELECT title FROM todo"))[0].title), "milk");
  });

  test("says which setting is missing where the worker has no files", async (t) => {
    const stage = await Stage.open(t);
    await stage.connect(stage.page, { worker: "/crsql-sync-sw.js" });
    const { code } = await stage.page.evaluate(() => globalThis.db.exportFile().catch(({ code, message }) => ({ code, message })));
    assert.equal(code, "not_found");
  });
});

/** Run in a page: fills the database, takes it out, and makes another one of it. */
async function roundTrip(options) {
  const { db, lib } = globalThis;
  const text = "x".repeat(1_000);
  await db.exec(
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO note (id, text) SELECT i, ? FROM n",
    [text],
  );
  const [exported, imported] = [[], []];
  const { site } = await db.getStatus();
  const file = await db.exportFile({ onProgress: (...progress) => exported.push(progress) });
  const magic = await file.slice(0, 16).text();
  const { status } = await lib.importFile(file, { ...options, dbid: "copy", onProgress: (...progress) => imported.push(progress) });
  const copy = await lib.connect({ ...options, dbid: "copy" });
  const [{ rows }] = await copy.query("SELECT count(*) AS rows FROM note WHERE text = ?", [text]);
  return { magic, size: file.size, exported, imported, status, rows, site, newSite: (await copy.getStatus()).site };
}
