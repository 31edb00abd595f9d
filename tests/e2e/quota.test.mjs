/** A browser that has no more room for the site, by its own quota: writes fail by a code, all else goes on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Notes } from "./harness/notes.mjs";

const MEGABYTE = 2 ** 20;

test("a browser without room refuses what does not fit by its code, keeps what was answered, and writes again when there is room", async (t) => {
  const notes = await Notes.open(t);
  const { page, profile } = notes;
  const quota = await Quota.of(page);
  assert.equal(await outcome(notes, "before", 10), "written");

  await quota.set((await quota.usage()) + 4 * MEGABYTE);
  t.diagnostic(`full after ${await fill(notes, "large", 200)} writes`);
  await notes.check();

  // Less than what is there: not even the number by which an instance takes a database over can be written.
  await quota.set(1);
  await fill(notes, "small");
  await profile.stopWorker();
  await notes.check();
  assert.equal(await outcome(notes, "in a worker that started without room"), "storage_full");
  await notes.check();

  await quota.set();
  assert.equal(await outcome(notes, "with room again", 200), "written");
  await notes.check();
  await notes.restart();
  await notes.check();
});

/** Writes until there is no room, and says how often that went well. Chromium looks at the quota every 30 s only, as long as there was room. */
async function fill(notes, name, kilobytes) {
  for (let n = 0; n < 200; n++) {
    const code = await outcome(notes, `${name} ${n}`, n < 12 ? kilobytes : 0);
    if (code === "storage_full") return n;
    assert.equal(code, "written");
    if (n >= 12) await sleep(300);
  }
  throw new Error("the browser has room without end");
}

/** Writes two notes in one transaction: `written`, or the code of the error. */
async function outcome(notes, pair, kilobytes = 0) {
  const statements = ["a", "b"].map((half) => ["INSERT INTO note VALUES (?, hex(randomblob(?)))", [`${pair}-${half}`, 20 + kilobytes * 500]]);
  const outcome = await notes.page.evaluate((statements) => globalThis.client.batch(statements).then(() => "written", ({ code }) => code), statements);
  if (outcome === "written") notes.written.add(String(pair));
  return outcome;
}

/** What the browser allows the page's site. */
class Quota {
  #page;
  #cdp;

  static async of(page) {
    const quota = new Quota();
    quota.#page = page;
    quota.#cdp = await page.context().newCDPSession(page);
    return quota;
  }

  /** In bytes; as it is by itself when nothing is given. */
  async set(quotaSize) {
    const { origin } = new URL(this.#page.url());
    await this.#cdp.send("Storage.overrideQuotaForOrigin", { origin, ...(quotaSize === undefined ? {} : { quotaSize }) });
  }

  usage() {
    return this.#page.evaluate(async () => (await navigator.storage.estimate()).usage);
  }
}
