/**
 * Random programs, and those that failed once, run in both engines and compared change by change. Needs `cargo build`
 * and `npm install`.
 *
 *     SEEDS=1000-1999 node --test tests/conformance/programs.test.mjs    other programs; hunt.mjs runs them for hours
 */

import assert from "node:assert/strict";
import { describe as suite, test } from "node:test";
import { difference } from "./compare.mjs";
import { kept, runSeed } from "./failure.mjs";
import { listing } from "./program.mjs";

suite("programs that failed once", () => {
  for (const [name, program] of kept()) {
    test(name, async () => assert.equal(await difference(program), undefined, listing(program)));
  }
});

suite("random programs", { concurrency: 4 }, () => {
  const [first, last] = (process.env.SEEDS ?? "1-2000").split("-").map(Number);
  const CHUNK = 100;
  for (let from = first; from <= last; from += CHUNK) {
    const to = Math.min(from + CHUNK - 1, last);
    test(`seeds ${from} to ${to} leave the same in both engines`, async () => {
      for (let seed = from; seed <= to; seed++) await runSeed(seed);
    });
  }
});
