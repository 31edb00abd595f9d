/** Event streams that somebody cuts again and again while both sides write: a page sees one stream, with each change once. */

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, test } from "node:test";
import { Cutter } from "./harness/cutter.mjs";
import { listen, openPlainly } from "./harness/plain.mjs";
import { Profile } from "./harness/profile.mjs";
import { Server } from "./harness/server.mjs";
import { PAGE, SCHEMA } from "./harness/stage.mjs";
import { Www } from "./harness/www.mjs";

const CUTS = 10;
const CUT_MS = 3_000;
/** Where there are limits, this is a common one. Chromium ends a worker that has had one event for so long, but not for a stream. */
const SLOW_MS = 300_000;
/** How many such cuts are waited for. */
const SLOW = Number(process.env.CRSQL_SLOW ?? 0);

const WORKER = { dbid: "stage", schema: SCHEMA, url: "/data", worker: "/crsql-sync-sw.js?prefix=/data&upstream=/sync" };
const SERVER = { dbid: "stage", schema: SCHEMA, url: "/sync", mode: "server" };

describe("an event stream", () => {
  for (const [whose, options] of [
    ["of a worker from its upstream", WORKER],
    ["of a page from a server", SERVER],
  ]) {
    test(`${whose}, cut every ${CUT_MS / 1000} s, ${CUTS} times, loses and doubles nothing for a page that writes meanwhile`, async (t) => {
      const server = await serve(t);
      const cutter = await Cutter.start(server.url, CUT_MS);
      t.after(() => cutter.close());
      const profile = await Profile.open(`${cutter.url}stage.html`, { isReady: false });
      t.after(() => profile.close());
      const { page } = profile;
      await page.waitForFunction(() => globalThis.lib);
      await page.evaluate(`globalThis.played = (${play})(lib, ${JSON.stringify(options)}, () => globalThis.isOver); undefined`);
      for (const deadline = Date.now() + 5 * CUTS * CUT_MS; cutter.cuts < CUTS; await sleep(100)) {
        assert.ok(Date.now() < deadline, `only ${cutter.cuts} cuts`);
      }
      const report = await page.evaluate(() => ((globalThis.isOver = true), globalThis.played));
      t.diagnostic(`${cutter.cuts} cuts, ${report.here} writes of the page and ${report.there} of the server`);
      check(report);
      if (options === SERVER) assert.ok(report.opened.length > CUTS, `opened at ${report.opened}`);
    });
  }

  const skip = !SLOW && "takes five minutes for each cut: CRSQL_SLOW=2 waits for two";
  test(`of a worker from its upstream, cut every ${SLOW_MS / 1000} s, loses and doubles nothing, in a browser that nobody looks into`, { skip }, async (t) => {
    const { report, tell } = await listen(t);
    const until = SLOW * SLOW_MS + 15_000;
    const script = `
      import * as lib from "/client.js";
      const report = await (${play})(lib, ${JSON.stringify(WORKER)}, () => performance.now() > ${until}, 250).catch((error) => ({ error: String(error) }));
      await (${tell})(report);`;
    const server = await serve(t, (www) => www.write("cuts.html", `<!doctype html><script type="module">${script}</script>`));
    const cutter = await Cutter.start(server.url, SLOW_MS);
    t.after(() => cutter.close());
    openPlainly(t, `${cutter.url}cuts.html`);
    const told = await report;
    check(told);
    const opened = told.opened.map((ms) => Math.round(ms / 1000));
    t.diagnostic(`${cutter.cuts} cuts, ${told.here} writes of the page and ${told.there} of the server; the page opened its own stream at ${opened} s`);
    assert.ok(cutter.cuts >= SLOW, `${cutter.cuts} cuts`);
  });
});

/**
 * Run in a page: writes here and, past the worker, at the server until it is over. Tells how often, what a subscriber heard, and when
 * streams were opened.
 */
async function play(lib, options, isOver, pause = 20) {
  const rest = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const { fetch } = globalThis;
  const opened = [];
  globalThis.fetch = (url, init) => {
    if (String(url).includes("/events")) opened.push(performance.now());
    return fetch(url, init);
  };
  const db = await lib.connect(options);
  const heard = [];
  db.subscribe((batch) => heard.push(...lib.readChanges(batch).map(({ pk, cid, version }) => `${pk} ${cid} ${version}`)));
  let [here, there] = [0, 0];
  while (!isOver()) {
    await db.exec("INSERT INTO note VALUES (?, 'here')", [++here]);
    // Until the worker has told the upstream, there is no database.
    const body = JSON.stringify({ sql: "INSERT INTO note VALUES (?, 'there')", params: [-there - 1] });
    const answer = await fetch(`/sync/${options.dbid}/sql`, { method: "POST", headers: { "content-type": "application/json" }, body });
    if (answer.ok) there += 1;
    await rest(pause);
  }
  for (let n = 0; heard.length < here + there && n < 600; n++) await rest(100);
  // What comes twice comes soon.
  await rest(1000);
  return { here, there, heard, opened };
}

function check({ error, here, there, heard }) {
  assert.equal(error, undefined);
  assert.ok(here > 100 && there > 100, `only ${here} and ${there} writes`);
  assert.equal(heard.length, new Set(heard).size, "a change was told twice");
  assert.equal(heard.length, here + there, "a change was not told");
}

async function serve(t, change = () => {}) {
  const www = new Www(t);
  www.copyFromPackage("sw.js", "crsql-sync-sw.js");
  www.write("stage.html", PAGE);
  change(www);
  const server = await Server.start({ www: www.dir, args: ["--sql"] });
  t.after(() => server.close());
  return server;
}
