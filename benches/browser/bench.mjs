/**
 * The package in a real browser beside `@vlcn.io/crsqlite-wasm`, the original cr-sqlite on IndexedDB, in the same page of the
 * same Chromium: ours behind `fetch` in a service worker, theirs by its own calls. What is compared is durable: theirs with
 * the durability `strict`, and once more as it comes, `relaxed`.
 *
 *   node benches/browser/bench.mjs [WHAT…]     some of: write merge wake open tabs; all unless given
 */

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DIST, PKG } from "../../tests/e2e/harness/paths.mjs";
import { Profile } from "../../tests/e2e/harness/profile.mjs";
import { Server } from "../../tests/e2e/harness/server.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const modules = path.join(here, "../../node_modules");
const VENDOR = { "crsqlite-wasm": "@vlcn.io/crsqlite-wasm", "wa-sqlite": "@vlcn.io/wa-sqlite", "xplat-api": "@vlcn.io/xplat-api", "async-mutex": "async-mutex" };
const IMPORTS = {
  "@vlcn.io/crsqlite-wasm": "/vendor/crsqlite-wasm/dist/index.js",
  "@vlcn.io/crsqlite-wasm/": "/vendor/crsqlite-wasm/",
  "@vlcn.io/wa-sqlite": "/vendor/wa-sqlite/src/sqlite-api.js",
  "@vlcn.io/wa-sqlite/": "/vendor/wa-sqlite/",
  "@vlcn.io/xplat-api": "/vendor/xplat-api/dist/xplat-api.js",
  "async-mutex": "/vendor/async-mutex/index.mjs",
};
const SIDES = ["ours", "strict", "relaxed"];
const RUNS = 3;

const www = mkdtempSync(path.join(os.tmpdir(), "crsql-bench-www-"));
cpSync(DIST, www, { recursive: true });
cpSync(path.join(PKG, "client.js"), path.join(www, "client.js"));
cpSync(path.join(PKG, "worker.js"), path.join(www, "package-worker.js"));
cpSync(path.join(here, "page.js"), path.join(www, "page.js"));
for (const [name, from] of Object.entries(VENDOR)) cpSync(path.join(modules, from), path.join(www, "vendor", name), { recursive: true });
writeFileSync(path.join(www, "bench-sw.js"), 'import { installSyncWorker } from "./package-worker.js";\ninstallSyncWorker();\n');
writeFileSync(path.join(www, "bench.html"), `<!doctype html><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`);

const server = await Server.start({ www });
const url = `${server.url}bench.html`;
let profile;
let names = 0;
const name = () => `bench-${++names}`;
/** Calls a function of page.js. */
const call = (fn, args, page = profile.page) => page.evaluate(async ([fn, args]) => (await import("/page.js"))[fn](...args), [fn, args]);
/** Each side has a page of its own, so that neither pays for what the other left; the browser is the same. */
const fresh = () => profile.page.goto(url);

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const percentile = (values, part) => values.toSorted((a, b) => a - b)[Math.floor(values.length * part)];
const sum = (values) => values.reduce((a, b) => a + b, 0);
const lines = [];
/** A line of the table: a number for each side, ours being compared with theirs that is durable. */
function line(what, unit, { ours, strict, relaxed }, goals = [], moreIsBetter = false) {
  const over = (theirs) => (ours && theirs ? (moreIsBetter ? ours / theirs : theirs / ours) : undefined);
  const digits = (value) => (value === undefined ? "-" : value.toFixed(value < 100 ? 1 : 0));
  const ratio = (value) => (value === undefined ? "-" : `${value.toFixed(1)}x`);
  const verdicts = goals.map(([text, ok]) => `${text} ${ok(ours, over(strict)) ? "ok" : "MISSED"}`).join(", ");
  const cells = [digits(ours), digits(strict), digits(relaxed), ratio(over(strict)), ratio(over(relaxed))];
  lines.push(`${`${what}, ${unit}`.padEnd(46)}${cells.map((cell) => cell.padStart(10)).join("")}  ${verdicts}`.trimEnd());
  console.log(lines.at(-1));
}
const atMost = (limit) => [`<= ${limit}`, (ours) => ours <= limit];
const atLeast = (times) => [`>= ${times}x`, (_, ratio) => ratio >= times];

/** What `measure` gives for each side, in the median of several runs that take turns. */
async function compare(measure, { sides = SIDES, runs = RUNS } = {}) {
  const all = Object.fromEntries(sides.map((side) => [side, []]));
  for (let run = 0; run < runs; run++) {
    for (const side of run % 2 ? sides.toReversed() : sides) {
      await fresh();
      try {
        all[side].push(await measure(side));
      } catch (error) {
        if (side === "ours") throw error;
        console.error(`${side} failed: ${error.message.split("\n")[0]}`);
      }
    }
  }
  return (of) => Object.fromEntries(sides.map((side) => [side, all[side].length ? median(all[side].map(of)) : undefined]));
}

const BENCHES = {
  async write() {
    const each = await compare((side) => call("writes", [side, name(), 300]));
    line("a durable write, median", "ms", each(median), [atMost(3)]);
    line("a durable write, 95 of 100", "ms", each((times) => percentile(times, 0.95)));
    line("writes one after the other", "a second", each((times) => (1000 * times.length) / sum(times)), [atLeast(5)], true);
    const together = await compare((side) => call("writesAtOnce", [side, name(), 300]));
    line("300 writes at once", "a second", together((ms) => 300_000 / ms), [], true);
  },

  async merge() {
    const times = await compare((side) => call("merge", [side, name(), 10_000]));
    line("merge of 30,000 changes", "ms", times((ms) => ms), [atLeast(5)]);
  },

  async wake() {
    const database = name();
    await fresh();
    for (const side of ["ours", "strict"]) {
      await call("make", [side, database, 10]);
      await fresh();
    }
    // The worker is stopped, and for theirs the page is new.
    const times = await compare(
      async (side) => {
        if (side === "ours") await profile.stopWorker();
        return (await call("reads", [side, database])).first;
      },
      { sides: ["ours", "strict"], runs: 9 },
    );
    line("first answer after a stop, 10 MB", "ms", times((ms) => ms), [atMost(150)]);
  },

  async open() {
    for (const [megabytes, limit, runs] of [[10, 150, 7], [100, 1000, 3]]) {
      const database = name();
      const sides = megabytes > 10 ? ["ours"] : ["ours", "strict"];
      await fresh();
      for (const side of sides) {
        await call("make", [side, database, megabytes]);
        await fresh();
      }
      const times = await compare(
        async (side) => {
          if (side === "ours") {
            await profile.stopWorker();
            // Starts the engine, without this database.
            await call("sql", ["none", "SELECT 1"]).catch(() => {});
          }
          return call("reads", [side, database]);
        },
        { sides, runs },
      );
      line(`opening ${megabytes} MB, to the first answer`, "ms", times(({ first }) => first), [atMost(limit)]);
      line(`opening ${megabytes} MB, to the last row`, "ms", times(({ all }) => all));
    }
  },

  async tabs() {
    const database = name();
    await fresh();
    const other = await profile.page.context().newPage();
    await other.goto(url);
    await call("watch", [database], other);
    const begun = await call("writeSlowly", [database, 100]);
    const seen = new Map(await other.evaluate(() => [...globalThis.seen]));
    const times = begun.filter(([id]) => seen.has(id)).map(([id, at]) => seen.get(id) - at);
    line("write in one tab to watch in another, median", "ms", { ours: median(times) }, [atMost(20)]);
    line("write in one tab to watch in another, 95 of 100", "ms", { ours: percentile(times, 0.95) });
    await other.close();
  },
};

try {
  profile = await Profile.open(url, { isReady: false });
  profile.page.setDefaultTimeout(120_000);
  const wanted = process.argv.slice(2);
  console.log(`${"".padEnd(46)}${["ours", "strict", "relaxed", "strict/", "relaxed/"].map((cell) => cell.padStart(10)).join("")}`);
  for (const [what, bench] of Object.entries(BENCHES)) if (wanted.length === 0 || wanted.includes(what)) await bench();
} finally {
  await profile?.close();
  await server.close();
  rmSync(www, { recursive: true, force: true });
}
