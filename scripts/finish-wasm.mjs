// Turns what wasm-pack left in pkg/ into what the npm package ships:
// - refuses a module that imports from `env` (C code that expects a libc; no browser provides that);
// - names the module after its content, so that a service worker, whose update check does not look at
//   .wasm files, fetches the new one: the name stands in the script, and the script is compared.
// Prints the new file name.
import { createHash } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";

const pkg = process.argv[2];
const plain = "crsql_sync_bg.wasm";
const bytes = readFileSync(`${pkg}/${plain}`);

const fromEnv = WebAssembly.Module.imports(new WebAssembly.Module(bytes)).filter(({ module }) => module === "env");
if (fromEnv.length > 0) {
  const names = fromEnv.map(({ name }) => name).join(", ");
  console.error(`error: the wasm module imports from "env": ${names}. Some dependency is not built for the browser.`);
  process.exit(1);
}

const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const hashed = `crsql_sync_bg.${hash}.wasm`;
renameSync(`${pkg}/${plain}`, `${pkg}/${hashed}`);
rmSync(`${pkg}/${plain}.d.ts`, { force: true }); // describes raw exports that nobody should call

const glue = `${pkg}/crsql_sync.js`;
writeFileSync(glue, readFileSync(glue, "utf8").replaceAll(plain, hashed));
console.log(hashed);
