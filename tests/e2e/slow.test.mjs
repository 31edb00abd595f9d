/** A reader of an event stream that takes nothing: it costs the worker nothing, and others go on. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Stage } from "./harness/stage.mjs";

const MEGABYTE = 2 ** 20;
const WRITES = 150;
const KILOBYTES = 200;

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
