/** Readers of event streams that take nothing: they cost the worker nothing, are left in the end, and others go on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "./harness/stage.mjs";

const MEGABYTE = 2 ** 20;
const WRITES = 150;
const KILOBYTES = 200;
/** How long a page may take nothing, in the test of that; 30 s unless the settings say otherwise. */
const STALL_MS = 2_000;

/** Appended to the worker: says how large the engine's memory is. */
const GAUGE = `
{
  const { instantiate } = WebAssembly;
  let memory;
  WebAssembly.instantiate = async (...given) => {
    const made = await instantiate(...given);
    memory = (made.instance ?? made).exports.memory;
    return made;
  };
  self.addEventListener("message", ({ data, ports }) => data === "test:memory" && ports[0].postMessage(memory.buffer.byteLength));
}`;

test("a page that stops to read its event stream holds up nobody, costs the worker no memory, and goes on where it stopped", async (t) => {
  const stage = await Stage.open(t, { change: (www) => www.append("crsql-sync-sw.js", GAUGE) });
  const { page } = stage;
  const [slow, other] = [await stage.tab(), await stage.tab()];
  const worker = "/crsql-sync-sw.js";
  for (const tab of [page, slow, other]) await stage.connect(tab, { worker });
  await other.evaluate(() => globalThis.db.watch("SELECT max(length(text)) AS length, count(*) AS n FROM note", [], ([row]) => (globalThis.row = row)));
  await slow.evaluate(async () => {
    const response = await fetch("/sync/stage/events?since=0", { headers: { accept: "text/event-stream" } });
    globalThis.reader = response.body.getReader();
    await globalThis.reader.read();
  });

  await write(page, 20);
  const before = await memory(page);
  await write(page, WRITES);
  await other.waitForFunction((length) => globalThis.row.length === length, 1000 * KILOBYTES + WRITES, { timeout: 30_000 });
  const grown = (await memory(page)) - before;
  t.diagnostic(`${Math.round((WRITES * KILOBYTES) / 1000)} MB were written; the engine's memory grew by ${(grown / MEGABYTE).toFixed(1)} MB`);
  assert.ok(grown < 10 * MEGABYTE, `grew by ${grown} bytes`);

  const { at } = await page.evaluate(() => globalThis.db.getStatus());
  const bytes = await slow.evaluate(async (at) => {
    const decoder = new TextDecoder();
    let bytes = 0;
    for (let text = ""; !text.includes(`id: ${at}`); ) {
      const { value, done } = await globalThis.reader.read();
      if (done) throw new Error("the stream ended");
      bytes += value.length;
      // An id may be cut by the pieces.
      text = text.slice(-100) + decoder.decode(value, { stream: true });
    }
    return bytes;
  }, at);
  t.diagnostic(`the slow page read ${(bytes / MEGABYTE).toFixed(1)} MB to catch up`);
  assert.ok(bytes < (WRITES * KILOBYTES * 1000) / 4, `read ${bytes} bytes`);
});

test("a page that reads nothing for longer than it may is left, others hear of each write at once, and it catches up with nothing lost or twice", async (t) => {
  const change = (www) => {
    www.copyFromPackage("worker.js", "package-worker.js");
    www.write("stalling-sw.js", `import { installSyncWorker } from "./package-worker.js";\ninstallSyncWorker({ limits: { stallMs: ${STALL_MS} } });\n${GAUGE}`);
  };
  const stage = await Stage.open(t, { change });
  const { page } = stage;
  const [still, other] = [await stage.tab(), await stage.tab()];
  for (const tab of [page, still, other]) await stage.connect(tab, { worker: "/stalling-sw.js" });
  for (const tab of [still, other]) await tab.evaluate(listen);
  await still.waitForFunction(() => globalThis.opened === 1);
  await still.evaluate(() => (globalThis.mayRead = new Promise((resolve) => (globalThis.goOn = resolve))) && undefined);

  // More than lies between worker and page by itself.
  const LARGE = 20;
  await page.evaluate(insert, { from: 0, to: LARGE, kilobytes: KILOBYTES, pause: 0 });
  const before = await memory(page);
  const SMALL = 100;
  await page.evaluate(insert, { from: LARGE, to: LARGE + SMALL, kilobytes: 0, pause: (2 * STALL_MS) / SMALL });
  await page.evaluate(insert, { from: LARGE + SMALL, to: 2 * LARGE + SMALL, kilobytes: KILOBYTES, pause: 0 });
  const all = 2 * LARGE + SMALL;
  await other.waitForFunction((all) => globalThis.heard.length === all, all, { timeout: 30_000 });
  const grown = (await memory(page)) - before;
  const times = (await other.evaluate(() => globalThis.took)).slice(LARGE, LARGE + SMALL).sort((a, b) => a - b);
  t.diagnostic(`others heard after ${times[SMALL / 2].toFixed(1)} ms (median; 95 of 100 within ${times[SMALL * 0.95].toFixed(1)}); the engine's memory grew by ${(grown / MEGABYTE).toFixed(1)} MB`);
  assert.ok(times[SMALL / 2] < 100, `heard after ${times}`);
  assert.ok(grown < 10 * MEGABYTE, `grew by ${grown} bytes`);

  assert.ok((await still.evaluate(() => globalThis.heard.length)) < LARGE, "it read on");
  await still.evaluate(() => globalThis.goOn());
  await still.waitForFunction((all) => globalThis.heard.length >= all, all, { timeout: 30_000 });
  const { heard, opened } = await still.evaluate(() => ({ heard: globalThis.heard, opened: globalThis.opened }));
  assert.deepEqual(heard, [...Array(all).keys()]);
  assert.equal(opened, 2, "the stream that stood still was not left");
});

/**
 * Run in a page: counts the streams that it opens, reads of them when it may, and notes what it hears, and how long after the
 * write.
 */
function listen() {
  const { fetch } = globalThis;
  globalThis.opened = 0;
  globalThis.fetch = async (url, init) => {
    const response = await fetch(url, init);
    if (String(url).includes("/events")) {
      globalThis.opened += 1;
      const reader = response.body.getReader();
      const read = () => reader.read();
      const cancel = (reason) => reader.cancel(reason);
      const held = { read: async () => (await globalThis.mayRead, read()), cancel };
      Object.defineProperty(response.body, "getReader", { value: () => held });
    }
    return response;
  };
  globalThis.heard = [];
  globalThis.took = [];
  globalThis.db.subscribe((batch) => {
    for (const { val } of globalThis.lib.readChanges(batch)) {
      const { n, at } = JSON.parse(val.split("|")[0]);
      globalThis.heard.push(n);
      globalThis.took.push(performance.timeOrigin + performance.now() - at);
    }
  });
}

/** Run in a page: writes notes that say when they were. */
async function insert({ from, to, kilobytes, pause }) {
  const text = "x".repeat(1000 * kilobytes);
  for (let n = from; n < to; n++) {
    const at = performance.timeOrigin + performance.now();
    await globalThis.db.exec("INSERT INTO note VALUES (?, ?)", [n, `${JSON.stringify({ n, at })}|${text}`]);
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

/** Replaces one text again and again; the last is `count` characters longer than the first. */
async function write(page, count) {
  await page.evaluate(async ([count, kilobytes]) => {
    for (let n = 1; n <= count; n++) {
      const text = [...crypto.getRandomValues(new Uint8Array(1000))].map((byte) => String.fromCharCode(33 + (byte % 90))).join("");
      await globalThis.db.exec("INSERT OR REPLACE INTO note VALUES (1, ?)", [text.repeat(kilobytes) + "x".repeat(n)]);
    }
  }, [count, KILOBYTES]);
}

function memory(page) {
  return page.evaluate(() => new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => resolve(data);
    navigator.serviceWorker.controller.postMessage("test:memory", [port2]);
  }));
}
