/**
 * Runs random programs until one fails, which is then made smaller and kept.
 *
 *     MINUTES=60 node tests/conformance/hunt.mjs       new seeds, for so long; for ever without MINUTES
 *     SEEDS=1-100000 node tests/conformance/hunt.mjs   these
 */

import { runSeed } from "./failure.mjs";

const begin = Date.now();
const [first, last] = process.env.SEEDS ? process.env.SEEDS.split("-").map(Number) : [begin % 2 ** 31, Infinity];
const end = process.env.MINUTES ? begin + Number(process.env.MINUTES) * 60_000 : Infinity;

let shown = begin;
let seed = first;
for (; seed <= (last ?? first) && Date.now() < end; seed++) {
  await runSeed(seed).catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
  if (Date.now() - shown > 10_000) report();
}
report();

function report() {
  shown = Date.now();
  const count = seed - first;
  console.log(`${count} programs, ${((count * 1000) / (shown - begin)).toFixed(1)} a second, next seed ${seed}`);
}
