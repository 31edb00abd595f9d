// Turns what wasm-pack left in pkg/ into what the npm package ships:
// - refuses a module that imports from `env` (C code that expects a libc; no browser provides that);
// - gives what it imports short names: wasm-bindgen's are 30 bytes each in both files, half of that a hash;
// - names the module after its content, so that a service worker, whose update check does not look at
//   .wasm files, fetches the new one: the name stands in the script, and the script is compared.
// Prints the new file name.
import { createHash } from "node:crypto";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { Reader } from "./wasm-reader.mjs";

const pkg = process.argv[2];
const plain = "crsql_sync_bg.wasm";
const glue = `${pkg}/crsql_sync.js`;
const built = readFileSync(`${pkg}/${plain}`);

const imports = WebAssembly.Module.imports(new WebAssembly.Module(built));
const fromEnv = imports.filter(({ module }) => module === "env");
if (fromEnv.length > 0) {
  const names = fromEnv.map(({ name }) => name).join(", ");
  console.error(`error: the wasm module imports from "env": ${names}. Some dependency is not built for the browser.`);
  process.exit(1);
}

const short = new Map(imports.map(({ name }, index) => [name, `i${index.toString(36)}`]));
const bytes = renameImports(built, short);
writeFileSync(`${pkg}/${plain}`, bytes);

const hash = createHash("sha256").update(bytes).digest("hex").slice(0, 16);
const hashed = `crsql_sync_bg.${hash}.wasm`;
renameSync(`${pkg}/${plain}`, `${pkg}/${hashed}`);
rmSync(`${pkg}/${plain}.d.ts`, { force: true }); // describes raw exports that nobody should call

const script = readFileSync(glue, "utf8").replaceAll(plain, hashed);
writeFileSync(glue, script.replace(/^( +)(\w+)(?=: function\b)/gm, (whole, indent, name) => indent + (short.get(name) ?? name)));
console.log(hashed);

/** The module with other names for the functions that it imports. */
function renameImports(bytes, names) {
  const IMPORTS = 2;
  const reader = new Reader(bytes);
  for (const { kind, start, end } of reader.sections()) {
    if (kind !== IMPORTS) continue;
    const count = reader.number();
    const section = [leb(count)];
    for (let left = count; left > 0; left--) {
      const module = reader.vector();
      const name = Buffer.from(names.get(reader.vector().toString()));
      const kind = reader.byte();
      if (kind !== 0) throw new Error("the module imports something else than functions");
      section.push(leb(module.length), module, leb(name.length), name, leb(kind), leb(reader.number()));
    }
    const content = Buffer.concat(section);
    return Buffer.concat([bytes.subarray(0, start), leb(IMPORTS), leb(content.length), content, bytes.subarray(end)]);
  }
  return bytes;
}

/** A number as the format writes it. */
function leb(value) {
  const bytes = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  return Buffer.from([...bytes, value]);
}
