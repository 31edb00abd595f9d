// Says what the bytes of a wasm module are, by crate and, of our own, by room:
//
//   scripts/wasm-rooms.mjs MODULE
//
// The module must have its names: scripts/bench-wasm leaves one, and so does `wasm-bindgen` before wasm-opt. Each group is
// compressed alone, so the groups come to more than the module does.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { Reader } from "./wasm-reader.mjs";

const bytes = readFileSync(process.argv[2]);
const [CUSTOM, CODE, DATA] = [0, 10, 11];
/** The part of the custom section `name` that has those of functions. */
const FUNCTIONS = 1;

const sections = new Map();
const all = new Reader(bytes);
for (const { kind, end } of all.sections()) {
  const name = kind === CUSTOM ? all.vector().toString() : kind;
  sections.set(name, { at: all.at, end });
}
const content = (name) => bytes.subarray(sections.get(name).at, sections.get(name).end);

const imported = WebAssembly.Module.imports(new WebAssembly.Module(bytes)).filter(({ kind }) => kind === "function").length;

const names = new Map();
if (!sections.has("name")) throw new Error("the module has no names");
const named = new Reader(content("name"), 0);
for (const { kind } of named.sections()) {
  if (kind === FUNCTIONS) for (let left = named.number(); left > 0; left--) names.set(named.number(), named.vector().toString());
}

/** The room of a function of ours, the crate of another one; of what is compiled for a type, that of the type. */
function group(name) {
  if (!name.includes("::") && !name.startsWith("<")) return "SQLite, and other C";
  const ours = /crsql_sync(?:\[\w+\])?::(\w+)/.exec(name);
  if (ours) return `crsql_sync::${ours[1]}`;
  const crates = [...name.matchAll(/(?<![\w:])([a-z_]\w*)(?:\[\w+\])?::/g)].map((found) => found[1]);
  return crates.find((crate) => !["core", "alloc", "std"].includes(crate)) ?? crates[0] ?? "?";
}

const groups = new Map();
const code = new Reader(content(CODE), 0);
for (let count = code.number(), index = imported; index < imported + count; index++) {
  const of = group(names.get(index) ?? "?");
  if (!groups.has(of)) groups.set(of, []);
  groups.get(of).push(code.vector());
}
groups.set("data", [content(DATA)]);

const rows = [...groups].map(([of, parts]) => {
  const all = Buffer.concat(parts);
  return [of, parts.length, all.length, gzipSync(all, { level: 9 }).length];
});
const print = (row) => console.log(String(row[0]).padEnd(28) + row.slice(1).map((cell) => String(cell).padStart(10)).join(""));
print(["", "functions", "raw", "gzip"]);
for (const row of rows.sort((a, b) => b[3] - a[3]).slice(0, 30)) print(row);
