/**
 * The package in a real browser beside `@vlcn.io/crsqlite-wasm`, the original cr-sqlite on IndexedDB, in pages of one Chromium:
 * ours in a service worker, asked by its client, theirs in the page by its own calls. What is compared is durable: theirs with
 * the durability `strict`, and once more as it comes, `relaxed`.
 *
 *   node benches/browser/bench.mjs [PART…]     some of: write merge wake open memory tabs; all unless given
 */

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { DIST, PKG } from "../../tests/e2e/harness/paths.mjs";
import { Profile } from "../../tests/e2e/harness/profile.mjs";
import { Server } from "../../tests/e2e/harness/server.mjs";
import { memory } from "./memory.mjs";
import { Table, atLeast, atMost, median, percentile, sum } from "./table.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const modules = path.join(here, "../../node_modules");
const VENDOR = { "crsqlite-wasm": "@vlcn.io/crsqlite-wasm", "wa-sqlite": "@vlcn.io/wa-sqlite", "xplat-api": "@vlcn.io/xplat-api", "ws-common": "@vlcn.io/ws-common", "lib0": "lib0", "async-mutex": "async-mutex" };
const IMPORTS = {
  "@vlcn.io/crsqlite-wasm": "/vendor/crsqlite-wasm/dist/index.js",
  "@vlcn.io/crsqlite-wasm/": "/vendor/crsqlite-wasm/",
  "@vlcn.io/wa-sqlite": "/vendor/wa-sqlite/src/sqlite-api.js",
  "@vlcn.io/wa-sqlite/": "/vendor/wa-sqlite/",
  "@vlcn.io/xplat-api": "/vendor/xplat-api/dist/xplat-api.js",
  "@vlcn.io/ws-common": "/vendor/ws-common/dist/index.js",
  "async-mutex": "/vendor/async-mutex/index.mjs",
  "lib0/": "/vendor/lib0/",
  "lib0/encoding": "/vendor/lib0/encoding.js",
  "lib0/decoding": "/vendor/lib0/decoding.js",
};
const SIDES = ["ours", "strict", "relaxed"];

const www = mkdtempSync(path.join(os.tmpdir(), "crsql-bench-www-"));
cpSync(DIST, www, { recursive: true });
cpSync(path.join(PKG, "client.js"), path.join(www, "client.js"));
cpSync(path.join(PKG, "worker.js"), path.join(www, "package-worker.js"));
for (const file of ["page.js", "wasm-memory.js"]) cpSync(path.join(here, file), path.join(www, file));
for (const [name, from] of Object.entries(VENDOR)) cpSync(path.join(modules, from), path.join(www, "vendor", name), { recursive: true });
writeFileSync(path.join(www, "bench-sw.js"), 'import "./wasm-memory.js";\nimport { installSyncWorker } from "./package-worker.js";\ninstallSyncWorker();\n');
writeFileSync(path.join(www, "bench.html"), `<!doctype html><link rel="icon" href="data:,"><script type="importmap">${JSON.stringify({ imports: IMPORTS })}</script>`);

const server = await Server.start({ www });
const url = `${server.url}bench.html`;
const table = new Table();
let profile;
let names = 0;
const name = () => `bench-${++names}`;
/** Calls a function of page.js. */
const call = (fn, args, page = profile.page) => page.evaluate(async ([fn, args]) => (await import("/page.js"))[fn](...args), [fn, args]);
/** Each measurement has a page of its own, so that none pays for what another left; the browser is the same. */
const fresh = () => profile.page.goto(url);

/** What `measure` gives for each side in several runs, in which the sides take turns. */
async function compare(measure, { sides = SIDES, runs = 3 } = {}) {
  const all = Object.fromEntries(sides.map((side) => [side, []]));
  for (let run = 0; run < runs; run++) {
    for (const side of run % 2 ? sides.toReversed() : sides) {
      await fresh();
      profile.log.length = 0;
      try {
        all[side].push(await measure(side));
      } catch (error) {
        if (side === "ours") throw error;
        console.error(`${side} failed: ${[error.message.split("\n")[0], ...new Set(profile.log)].join("\n  ")}`);
      }
    }
  }
  /** The median of what `of` takes from each run. */
  return (of) => Object.fromEntries(sides.map((side) => [side, all[side].length ? median(all[side].map(of)) : undefined]));
}

/** Makes the same database on each side. */
async function make(sides, database, megabytes) {
  for (const side of sides) {
    await fresh();
    await call("make", [side, database, megabytes]);
  }
}

/** Stops the worker, and starts it and its engine without a database. */
async function restart() {
  await profile.stopWorker();
  await call("sql", ["none", "SELECT 1"]).catch(() => {});
}

const PARTS = {
  async write() {
    const sides = ["put", "fetch", ...SIDES];
    const each = await compare((side) => call("writes", [side, name(), 300]), { sides });
    table.line("a durable write, median", "ms", each(median), [atMost(3)]);
    table.line("a durable write, 95 of 100", "ms", each((times) => percentile(times, 0.95)));
    const { put, fetch } = each(median);
    table.line("  of it a record put into IndexedDB", "ms", { ours: put });
    table.line("  the same write asked by fetch", "ms", { ours: fetch });
    const asked = await compare((side) => call("asks", [side, name(), 300]), { sides: ["message", "fetch"] });
    const { message, fetch: empty } = asked(median);
    table.line("  SELECT 1 by the client", "ms", { ours: message });
    table.line("  SELECT 1 by fetch", "ms", { ours: empty });
    table.line("writes one after the other", "a second", each((times) => (1000 * times.length) / sum(times)), [atLeast(5)], true);
    const together = await compare((side) => call("writesAtOnce", [side, name(), 300]));
    table.line("300 writes at once", "a second", together((ms) => 300_000 / ms), [], true);
  },

  async merge() {
    const times = await compare((side) => call("merge", [side, name(), 10_000]));
    table.line("merge of 30,000 changes", "ms", times((ms) => ms), [atLeast(5)]);
  },

  async wake() {
    const database = name();
    const sides = ["ours", "strict"];
    await make(sides, database, 10);
    // The worker is stopped, and for theirs the page is new. What the page loads before it asks would start the worker.
    const measure = async (side) => {
      if (side === "ours") {
        await profile.page.evaluate(() => import("/page.js").then(() => true));
        await profile.stopWorker();
      }
      return (await call("reads", [side, database])).first;
    };
    const times = await compare(measure, { sides, runs: 9 });
    table.line("first answer after a stop, 10 MB", "ms", times((ms) => ms), [atMost(150)]);
  },

  async open() {
    for (const { megabytes, limit, runs, sides } of [
      { megabytes: 10, limit: 150, runs: 7, sides: ["ours", "strict"] },
      { megabytes: 100, limit: 1000, runs: 3, sides: ["ours"] },
    ]) {
      const database = name();
      await make(sides, database, megabytes);
      const measure = async (side) => {
        if (side === "ours") await restart();
        return call("reads", [side, database]);
      };
      const times = await compare(measure, { sides, runs });
      table.line(`opening ${megabytes} MB, to the first answer`, "ms", times(({ first }) => first), [atMost(limit)]);
      table.line(`opening ${megabytes} MB, to the last row`, "ms", times(({ all }) => all));
    }
  },

  async memory() {
    const megabytes = 50;
    const database = name();
    const sides = ["ours", "strict"];
    await make(sides, database, megabytes);
    const measure = async (side) => {
      const target = side === "ours" ? "service_worker" : "page";
      if (side === "ours") await restart();
      else await call("writes", [side, name(), 1]);
      const before = await memory(profile, target);
      await call("reads", [side, database]);
      return { before, after: await memory(profile, target) };
    };
    const found = await compare(measure, { sides });
    table.line("memory without a database", "MB", found(({ before }) => before / 1e6));
    table.line(`memory for each MB of a database of ${megabytes}`, "MB", found(({ before, after }) => (after - before) / 1e6 / megabytes));
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
    table.line("write in one tab to watch in another, median", "ms", { ours: median(times) }, [atMost(20)]);
    table.line("write in one tab to watch in another, 95 of 100", "ms", { ours: percentile(times, 0.95) });
    await other.close();
  },
};

const wanted = process.argv.slice(2);
const unknown = wanted.filter((part) => !(part in PARTS));
if (unknown.length > 0) throw new Error(`no such part: ${unknown}; there are ${Object.keys(PARTS)}`);
try {
  profile = await Profile.open(url, { isReady: false });
  profile.page.setDefaultTimeout(120_000);
  table.head();
  for (const [part, run] of Object.entries(PARTS)) if (wanted.length === 0 || wanted.includes(part)) await run();
  table.end();
} finally {
  await profile?.close();
  await server.close();
  rmSync(www, { recursive: true, force: true });
}
