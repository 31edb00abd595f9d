// Completes pkg/package.json, of which wasm-pack wrote name, version, licence and the like from Cargo.toml.
// Fails when a file that it promises is not there.
import { chmodSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";

const [pkg, name] = process.argv.slice(2);
const path = `${pkg}/package.json`;
const { main, types, files, sideEffects, ...written } = JSON.parse(readFileSync(path, "utf8"));

const entry = (file) => ({ types: `./${file}.d.ts`, default: `./${file}.js` });
const wasm = readdirSync(pkg).find((file) => /^crsql_sync_bg\.[0-9a-f]+\.wasm$/.test(file));
const manifest = {
  ...written,
  name,
  repository: { type: "git", url: written.repository.url.replace(/^(git\+)*(.*?)(\.git)?$/, "git+$2.git") },
  type: "module",
  types: "./client.d.ts",
  bin: { "crsql-sync": "cli.mjs" },
  exports: {
    ".": entry("client"), // what a page imports,
    "./client": entry("client"), // also by its name
    "./react": entry("react"),
    "./worker": entry("worker"), // what a service worker imports
    "./worker.classic.js": "./worker.classic.js", // the same for importScripts()
    "./sw.js": "./sw.js", // a whole service worker, to be served: as a module or as a classic script
    "./vite": { types: "./vite.d.mts", browser: null, default: "./vite.mjs" },
    "./wasm": entry("crsql_sync"), // wasm-bindgen's own module
    [`./${wasm}`]: `./${wasm}`,
    "./package.json": "./package.json",
  },
  files: readdirSync(pkg).filter((file) => /\.(m?js|d\.m?ts|wasm)$/.test(file) || ["types", "snippets"].includes(file)).sort(),
  sideEffects: ["./sw.js", "./worker.classic.js", "./snippets/*"],
  engines: { node: ">=20.19" },
  peerDependencies: { react: ">=18", vite: ">=5" },
  peerDependenciesMeta: { react: { optional: true }, vite: { optional: true } },
};

const targets = (target) => (target === null ? [] : typeof target === "string" ? [target] : Object.values(target).flatMap(targets));
const promised = [...Object.values(manifest.exports), ...Object.values(manifest.bin)].flatMap(targets);
const missing = promised.filter((target) => !existsSync(`${pkg}/${target}`));
if (missing.length > 0) {
  console.error(`error: ${pkg}/ lacks ${missing.join(", ")}, which package.json promises. Does \`npm run build:www\` write them?`);
  process.exit(1);
}
chmodSync(`${pkg}/cli.mjs`, 0o755);
writeFileSync(path, `${JSON.stringify(manifest, null, 2)}\n`);
