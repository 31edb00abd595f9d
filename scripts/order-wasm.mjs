// Names the functions of a wasm module so that in the order of their names those that resemble each other stand together:
//
//   scripts/order-wasm.mjs MODULE && wasm-opt --reorder-functions-by-name MODULE -o MODULE
//
// gzip finds again only what stood within the last 32 kB. Copies of a generic function resemble each other, and so do many
// whose names do not tell: handlers, drop glue, whatever calls the same functions. Whichever has most in common with what was
// placed last comes next.
import { readFileSync, writeFileSync } from "node:fs";
import { Reader } from "./wasm-reader.mjs";

/** Functions are compared by their runs of this many bytes. */
const RUN = 6;
/** A run that more functions have is no resemblance. */
const COMMON = 300;
/** How many bytes of what was placed last are compared with. */
const WINDOW = 26_000;
/** What a function is taken to have besides its runs, and the power of that by which its share is divided: else short ones come too early. */
const BESIDES = 30;
const POWER = 0.85;
const [CUSTOM, CODE] = [0, 10];

const file = process.argv[2];
const bytes = readFileSync(file);
const { functions, rest } = read(bytes);
const first = WebAssembly.Module.imports(new WebAssembly.Module(bytes)).filter(({ kind }) => kind === "function").length;
writeFileSync(file, Buffer.concat([...rest, names(order(functions), first)]));

/** The code of each function, and the sections of the module without the names that it has. */
function read(bytes) {
  const functions = [];
  const rest = [bytes.subarray(0, 8)];
  const reader = new Reader(bytes);
  for (const { kind, start, at, end } of reader.sections()) {
    const isNames = kind === CUSTOM && bytes.toString("latin1", at, at + 5) === "\u0004name";
    if (!isNames) rest.push(bytes.subarray(start, end));
    if (kind === CODE) for (let left = reader.number(); left > 0; left--) functions.push(reader.vector());
  }
  return { functions, rest };
}

/** The places of the functions, in their new order. */
function order(functions) {
  const runs = functions.map(runsOf);
  const having = new Map();
  runs.forEach((all, place) => {
    for (const run of all) {
      if (!having.has(run)) having.set(run, []);
      having.get(run).push(place);
    }
  });

  const shared = new Float64Array(functions.length); // how many runs of a function are in the window
  const inWindow = new Map();
  const window = [];
  let size = 0;
  const count = (place, change) => {
    size += change * functions[place].length;
    for (const run of runs[place]) {
      const before = inWindow.get(run) ?? 0;
      inWindow.set(run, before + change);
      const comesOrGoes = before === 0 || before + change === 0;
      if (comesOrGoes && having.get(run).length <= COMMON) for (const other of having.get(run)) shared[other] += change;
    }
  };

  const left = new Set(functions.keys());
  const placed = [];
  while (left.size > 0) {
    let next;
    let best = -1;
    for (const place of left) {
      const score = shared[place] / (runs[place].size + BESIDES) ** POWER;
      if (score > best) [next, best] = [place, score];
    }
    left.delete(next);
    placed.push(next);
    window.push(next);
    count(next, 1);
    while (size > WINDOW && window.length > 1) count(window.shift(), -1);
  }
  return placed;
}

/** Hashes of a function's runs. */
function runsOf(code) {
  const runs = new Set();
  for (let start = 0; start + RUN <= code.length; start++) {
    let hash = 2166136261;
    for (let at = start; at < start + RUN; at++) hash = Math.imul(hash ^ code[at], 16777619);
    runs.add(hash);
  }
  return runs;
}

/** The section that gives each function a name by its place in the order. */
function names(order, first) {
  const named = order.map((place, rank) => [first + place, Buffer.from(String(rank).padStart(6, "0"))]);
  named.sort(([a], [b]) => a - b);
  const map = Buffer.concat([leb(named.length), ...named.flatMap(([index, name]) => [leb(index), leb(name.length), name])]);
  const content = Buffer.concat([leb(4), Buffer.from("name"), leb(1), leb(map.length), map]);
  return Buffer.concat([leb(CUSTOM), leb(content.length), content]);
}

/** A number as the format writes it. */
function leb(value) {
  const bytes = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  return Buffer.from([...bytes, value]);
}
