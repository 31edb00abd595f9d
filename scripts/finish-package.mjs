// Completes pkg/package.json, of which wasm-pack wrote name, version, licence and the like from Cargo.toml.
// Fails when a file that it promises is not there.
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";

const [pkg, name] = process.argv.slice(2);
const path = `${pkg}/package.json`;
const { main, types, files, sideEffects, ...written } = JSON.parse(readFileSync(path, "utf8"));

const entry = (file) => ({ types: `./${file}.d.ts`, default: `./${file}.js` });
const wasm = readdirSync(pkg).find((file) => /^crsql_sync_bg\.[0-9a-f]+\.wasm$/.test(file));
const manifest = {
  ...written,
  name,
  type: "module",
  types: "./client.d.ts",
  exports: {
    ".": entry("client"), // what a page imports
    "./client": entry("client"),
    "./sw": entry("sw"), // what a service worker imports
    "./worker.js": "./worker.js", // a whole service worker, to be copied: as a module,
    "./worker.classic.js": "./worker.classic.js", // and as a classic script
    "./wasm": entry("crsql_sync"), // wasm-bindgen's own module
    [`./${wasm}`]: `./${wasm}`,
    "./package.json": "./package.json",
  },
  files: readdirSync(pkg).filter((file) => /\.(js|d\.ts|wasm)$/.test(file) || ["types", "snippets"].includes(file)).sort(),
  sideEffects: ["./worker.js", "./worker.classic.js", "./snippets/*"],
};

const promised = Object.values(manifest.exports).flatMap((target) => (typeof target === "string" ? [target] : Object.values(target)));
const missing = promised.filter((target) => !existsSync(`${pkg}/${target}`));
if (missing.length > 0) {
  console.error(`error: ${pkg}/ lacks ${missing.join(", ")}, which package.json exports. Does \`npm run build:www\` write them?`);
  process.exit(1);
}
writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
