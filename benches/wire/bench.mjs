/**
 * What the same changes take on the wire: in JSON, in our binary form, and in the messages of the real
 * `@vlcn.io/ws-common`, which cr-sqlite's network layers send. Bytes a change, before and after gzip.
 *
 *   node benches/wire/bench.mjs DIR
 *
 * DIR holds the batches in both of our forms (scripts/bench-wire has main.rs write them).
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { decode, encode, tags } from "@vlcn.io/ws-common";

/** Bytes a change that the binary form may take of rows that no random key makes larger. */
const GOALS = { raw: 20, "gzip -6": 4, "gzip -9": 4 };
const PACKINGS = {
  raw: (bytes) => bytes,
  "gzip -6": (bytes) => gzipSync(bytes, { level: 6 }),
  "gzip -9": (bytes) => gzipSync(bytes, { level: 9 }),
};

const bytes = (hex) => new Uint8Array(Buffer.from(hex, "hex"));

/** A value as their clients have it from SQLite. */
function value(json) {
  if (json?.$blob !== undefined) return bytes(json.$blob);
  if (json?.$int !== undefined) return BigInt(json.$int);
  return json?.$real !== undefined ? Number(json.$real) : json;
}

/** Their message of the changes of a batch. */
function message({ from, start, changes }) {
  const theirs = changes.map(([table, pk, cid, val, colVersion, version, site, cl, seq]) => [
    table, bytes(pk), cid, value(val), BigInt(colVersion), BigInt(version), bytes(site), BigInt(cl), seq,
  ]);
  return { _tag: tags.Changes, sender: bytes(from), since: [BigInt(start ?? 0), 0], changes: theirs };
}

const row = (name, cells, goal) => `${name.padEnd(34)}${cells.map((cell) => cell.padStart(16)).join("")}  ${goal}`.trimEnd();

const [dir] = process.argv.slice(2);
console.log(row("bytes a change", ["JSON", "ws-common", "ours", "JSON/ours", "ws-common/ours"], "goal"));
const names = readdirSync(dir).filter((file) => file.endsWith(".bin")).map((file) => path.basename(file, ".bin"));
for (const name of names.sort()) {
  const json = readFileSync(path.join(dir, `${name}.json`));
  const batch = JSON.parse(json);
  const theirs = encode(message(batch));
  assert.equal(decode(theirs).changes.length, batch.changes.length);
  const forms = [json, theirs, readFileSync(path.join(dir, `${name}.bin`))];
  for (const [packing, pack] of Object.entries(PACKINGS)) {
    const [a, b, c] = forms.map((form) => pack(form).length / batch.changes.length);
    const cells = [a.toFixed(1), b.toFixed(1), c.toFixed(2), `${(a / c).toFixed(2)}x`, `${(b / c).toFixed(2)}x`];
    // 16 random bytes a row are 5.3 a change, which nothing makes smaller.
    const goal = name.startsWith("UUIDs") ? "" : `<= ${GOALS[packing]} ${c <= GOALS[packing] ? "ok" : "missed"}`;
    console.log(row(`${name.replaceAll("-", " ")}, ${packing}`, cells, goal));
  }
}
