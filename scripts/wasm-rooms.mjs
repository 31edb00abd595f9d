// Says what the bytes of a wasm module are, by crate and, of our own, by room:
//
//   scripts/wasm-rooms.mjs MODULE
//
// The module must have its names: scripts/bench-wasm leaves one, and so does `wasm-bindgen` before wasm-opt. Each group is
// compressed alone, so the groups come to more than the module does.
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const bytes = readFileSync(process.argv[2]);
const [CODE, DATA] = [10, 11];

let at = 0;
const number = () => {
  for (let value = 0, shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return value;
  }
};
const text = () => {
  const length = number();
  return bytes.toString("utf8", at, (at += length));
};

const sections = new Map();
for (at = 8; at < bytes.length; ) {
  const kind = bytes[at++];
  const size = number();
  const end = at + size;
  sections.set(kind === 0 ? text() : kind, { at, end });
  at = end;
}

const imported = WebAssembly.Module.imports(new WebAssembly.Module(bytes)).filter(({ kind }) => kind === "function").length;

const names = new Map();
if (!sections.has("name")) throw new Error("the module has no names");
for (at = sections.get("name").at; at < sections.get("name").end; ) {
  const kind = bytes[at++];
  const size = number();
  const end = at + size;
  if (kind === 1) for (let left = number(); left > 0; left--) names.set(number(), text());
  at = end;
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
at = sections.get(CODE).at;
for (let count = number(), index = imported; index < imported + count; index++) {
  const size = number();
  const of = group(names.get(index) ?? "?");
  if (!groups.has(of)) groups.set(of, []);
  groups.get(of).push(bytes.subarray(at, at + size));
  at += size;
}
groups.set("data", [bytes.subarray(sections.get(DATA).at, sections.get(DATA).end)]);

const rows = [...groups].map(([of, parts]) => {
  const all = Buffer.concat(parts);
  return [of, parts.length, all.length, gzipSync(all, { level: 9 }).length];
});
const print = (row) => console.log(String(row[0]).padEnd(28) + row.slice(1).map((cell) => String(cell).padStart(10)).join(""));
print(["", "functions", "raw", "gzip"]);
for (const row of rows.sort((a, b) => b[3] - a[3]).slice(0, 30)) print(row);
