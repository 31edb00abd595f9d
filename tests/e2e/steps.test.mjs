/**
 * A worker that ends at each step of storing, held there by the debugger: stopped as the browser stops it, or killed with
 * the browser. What was answered is there afterwards, of nothing is there a half, and the file is sound.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Debugger } from "./harness/devtools.mjs";
import { Notes } from "./harness/notes.mjs";
import { Stage, synced } from "./harness/stage.mjs";

const ENDS = {
  "stopped": (notes) => notes.profile.stopWorker(),
  "killed with the browser": (notes) => notes.restart(),
};

/** What a write does, and whether it is durable by then. */
const STEPS = { "commit, before": false, "commit, within": false, "commit, after": true };

for (const [how, end] of Object.entries(ENDS)) {
  describe(`a worker ${how}`, () => {
    test("at a step of a write keeps what it had answered, and no half", async (t) => {
      const notes = await Notes.open(t);
      for (const [step, isDurable] of Object.entries(STEPS)) {
        for (let i = 0; i < 3; i++) assert.ok(await notes.write(`before ${step} ${i}`));
        const debug = await Debugger.attach(notes.profile);
        await debug.hold(step);
        const writes = Promise.all([notes.write(`held at ${step}`), notes.write(`beside ${step}`)]);
        await debug.held();
        await end(notes);
        await writes;
        const found = await notes.check();
        // A stopped worker's requests are sent again; with the browser they are gone.
        assert.equal(found.has(`held at ${step}`), how === "stopped" || isDurable, step);
        assert.ok(await notes.write(`after ${step}`));
      }
      await notes.check();
    });

    test("before the answer to a durable write has done it once", async (t) => {
      const notes = await Notes.open(t);
      await notes.write("before");
      const debug = await Debugger.attach(notes.profile);
      await debug.holdAnswers();
      const write = notes.write("held");
      await debug.held();
      await end(notes);
      await write;
      assert.ok((await notes.check()).has("held"));
    });

    for (const step of ["checkpoint, before", "checkpoint, within", "checkpoint, after"]) {
      test(`in compaction (${step}) keeps everything`, async (t) => {
        const notes = await Notes.open(t);
        assert.ok(await notes.write("before", 500));
        const debug = await Debugger.attach(notes.profile);
        await debug.hold(step);
        // With these the log is long enough to be emptied.
        const writes = Promise.all([notes.write("long", 500), notes.write("as long", 500)]);
        await debug.held();
        await end(notes);
        await writes;
        await notes.check();
        assert.ok(await notes.write("after"));
        await notes.check();
      });

      test(`in an import (${step}) leaves all of it or nothing`, async (t) => {
        const notes = await Notes.open(t);
        for (let i = 0; i < 20; i++) assert.ok(await notes.write(i, 10));
        const debug = await Debugger.attach(notes.profile);
        await debug.hold(step);
        const importing = notes.import("copy").catch((error) => error);
        await debug.held();
        await end(notes);
        await importing;
        const status = await notes.page.evaluate(async () => (await fetch("/sync/copy/status")).status);
        // Chromium does not send a request again whose body was a stream.
        if (step === "checkpoint, after") assert.equal(status, 200);
        if (status === 404) assert.equal(await notes.import("copy"), 201);
        await notes.inspect("copy");
        await notes.check();
      });
    }
  });
}

test("a worker killed while it opens a database opens it the next time", async (t) => {
  const notes = await Notes.open(t);
  for (const step of ["open, before", "open, within", "open, after"]) {
    await notes.write(`before ${step}`);
    await notes.profile.stopWorker();
    await notes.wake();
    const debug = await Debugger.attach(notes.profile);
    await debug.hold(step);
    const write = notes.write(step);
    await debug.held();
    await notes.profile.stopWorker();
    await write;
    await notes.check();
  }
});

test("a worker stopped at a step of a merge has all of it afterwards, and tells pages of each change once", async (t) => {
  const stage = await Stage.open(t, { args: ["--sql"] });
  const { page, profile, server } = stage;
  await stage.connect(page);
  await synced(page);
  await page.evaluate(() => {
    globalThis.told = [];
    globalThis.db.subscribe(({ changes }) => globalThis.told.push(...changes.map(([table, pk, cid]) => `${table} ${pk} ${cid}`)));
  });
  for (const step of Object.keys(STEPS)) {
    const debug = await Debugger.attach(profile);
    await debug.hold(step);
    const statements = ["a", "b"].map((half) => ({ sql: "INSERT INTO todo (id) VALUES (?)", params: [`${step} ${half}`] }));
    const response = await fetch(`${server.url}sync/stage/sql`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(statements) });
    assert.equal(response.status, 200, await response.text());
    await debug.held();
    await profile.stopWorker();
    for (let count = 0; count < 2; ) {
      [{ count }] = await page.evaluate((step) => globalThis.db.query("SELECT count(*) AS count FROM todo WHERE id LIKE ? || '%'", [step]), step);
      assert.notEqual(count, 1, `half of it is there: ${step}`);
    }
  }
  const whole = Object.keys(STEPS).length * 2;
  await page.waitForFunction((whole) => new Set(globalThis.told.map((change) => change.split(" ")[1])).size === whole, whole, { timeout: 60_000 });
  const told = await page.evaluate(() => globalThis.told);
  assert.deepEqual(told.filter((change, at) => told.indexOf(change) !== at), [], "a change was told twice");
});
