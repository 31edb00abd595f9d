/**
 * Workers and browsers that end at any moment while pages write, compaction runs and files come in: `KILLS` of them, 40
 * unless given, at moments that `SEED` decides.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Notes } from "./harness/notes.mjs";

const KILLS = Number(process.env.KILLS ?? 40);
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 32));
/** One of so many kills takes the whole browser. */
const BROWSERS = 20;
const WRITERS = 4;
const LONGEST_MS = 1_500;

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
function random(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

test(`${KILLS} random kills under load lose nothing that was answered (SEED=${SEED})`, { timeout: 60_000 + KILLS * 1_500 }, async (t) => {
  const notes = await Notes.open(t);
  const next = random(SEED);
  let isOver = false;
  let gate = Promise.resolve();
  const write = async (writer) => {
    for (let n = 0; !isOver; n++) {
      await gate;
      // Some are long, so that there are checkpoints of every kind.
      const kilobytes = n % 40 === 7 ? 300 : n % 7 === 3 ? 20 : 0;
      if (!(await notes.write(`${writer}-${n}`, kilobytes))) await sleep(5);
      // So that the database stays small enough to be opened after each kill.
      await gate;
      if (n % 40 === 8) await notes.shorten();
    }
  };
  const writers = Array.from({ length: WRITERS }, (_, writer) => write(writer));
  const failed = Promise.all(writers);
  failed.catch(() => (isOver = true));

  const begin = performance.now();
  for (let kill = 1; kill <= KILLS && !isOver; kill++) {
    // Mostly before the worker has started again and answered much, and now and then after seconds.
    await sleep(next() ** 3 * LONGEST_MS);
    if (kill % BROWSERS === 0) {
      let open;
      gate = new Promise((resolve) => (open = resolve));
      await notes.restart();
      await notes.check();
      open();
    } else {
      await notes.profile.stopWorker();
    }
  }
  const took = performance.now() - begin;
  isOver = true;
  await failed;
  await notes.check();
  t.diagnostic(`${KILLS} kills in ${Math.round(took / 1000)} s: ${notes.written.size} transactions acknowledged, ${notes.lost} answers lost`);
  assert.ok(notes.written.size > KILLS, "the writers hardly wrote");
});
