// Prints the compressed sizes of what pkg/ ships and fails above a budget of wasm-pack.toml.
// The scripts of the worker are alternatives, each with wasm-bindgen's JavaScript in it: an application loads the
// module, the page client and one of them. That is what the budget of the package counts, with the largest.
import { readFileSync, readdirSync } from "node:fs";
import { brotliCompressSync, gzipSync } from "node:zlib";

const [pkg, ...budgets] = process.argv.slice(2);
const row = (file, ...sizes) => console.log(file.padEnd(38) + sizes.map((size) => String(size).padStart(10)).join(""));

row("file, in bytes", "raw", "gzip", "brotli");
const sizes = {};
for (const file of readdirSync(pkg).filter((name) => /\.(js|wasm)$/.test(name))) {
  const bytes = readFileSync(`${pkg}/${file}`);
  sizes[file] = [bytes.length, gzipSync(bytes, { level: 9 }).length, brotliCompressSync(bytes).length];
  row(file, ...sizes[file]);
}

const add = (...all) => all.reduce((sum, size) => sum.map((n, i) => n + size[i]), [0, 0, 0]);
const workers = ["sw.js", "worker.js", "worker.classic.js"];
const worker = workers.reduce((largest, file) => (sizes[file][1] > sizes[largest][1] ? file : largest));
const wasm = Object.keys(sizes).find((file) => file.endsWith(".wasm"));
const measured = {
  package: add(sizes[wasm], sizes["client.js"], sizes[worker]),
  client: sizes["client.js"],
  worker: sizes[worker],
};
row(`wasm + client.js + ${worker}`, ...measured.package);

// Each as budget-WHAT-ENCODING=BYTES.
for (const budget of budgets) {
  const [, what, encoding, bytes] = /^budget-(\w+)-(gzip|brotli)=(\d+)$/.exec(budget);
  const size = measured[what][encoding === "gzip" ? 1 : 2];
  const over = size > Number(bytes);
  console.log(`${over ? "OVER BUDGET" : "within budget"}: ${what} ${size} of ${bytes} bytes ${encoding}`);
  if (over) process.exitCode = 1;
}
