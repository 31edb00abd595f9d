/**
 * Builds what is written in TypeScript: the page client and the worker's bootstrap into pkg/, the demo into dist/.
 *
 *     node www/build.mjs
 *
 * Expects the wasm build in pkg/: crsql_sync.js and crsql_sync_bg.HASH.wasm (WASM_FILE names it, where there is more
 * than one).
 */

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const www = path.join(root, "www");
const pkg = path.join(root, "pkg");
const dist = path.join(root, "dist");

const version = /^version = "(.+)"$/m.exec(readFileSync(path.join(root, "Cargo.toml"), "utf8"))[1];
const wasmFile = findWasm();
const define = { __VERSION__: JSON.stringify(version), __WASM_FILE__: JSON.stringify(wasmFile) };

// For workers that load others by importScripts: there the global `crsqlSync`. A whole worker is built so too: one script that browsers
// take as a module and as a classic one. Firefox before 147 knows no module workers, and runs what is registered as one as a classic script.
const classic = { format: "iife", define: { "import.meta.url": "self.location.href" } };
await library("client.ts", "client.js", { external: ["./page.js"] });
await library("page.ts", "page.js");
await library("react.ts", "react.js", { external: ["react"] });
await library("worker.ts", "worker.js");
await library("worker.ts", "worker.classic.js", classic);
await library("sw.ts", "sw.js", classic);
for (const file of ["cli.mjs", "files.mjs", "vite.mjs", "vite.d.mts"]) copyFileSync(path.join(www, "package", file), path.join(pkg, file));
await demo();
declarations();

function findWasm() {
  const found = existsSync(pkg) ? readdirSync(pkg).filter((name) => /^crsql_sync_bg\.[0-9a-f]+\.wasm$/.test(name)) : [];
  const name = process.env.WASM_FILE ?? found[0];
  if (found.length === 1 || (process.env.WASM_FILE && existsSync(path.join(pkg, name)))) return name;
  console.error(`pkg/ holds ${found.length} files crsql_sync_bg.HASH.wasm: build the wasm module first (make build), or name one with WASM_FILE.`);
  process.exit(1);
}

/** Bundles one entry into one file. */
async function library(entry, file, { outDir = pkg, format = "es", define: more = {}, external = [] } = {}) {
  await build({
    ...common(),
    define: { ...define, ...more },
    plugins: [gluePlugin()],
    build: {
      outDir,
      emptyOutDir: false,
      copyPublicDir: false,
      target: "es2022",
      minify: true,
      lib: { entry: path.join(www, entry), formats: [format], name: "crsqlSync", fileName: () => file },
      // Whole: for an ES module Vite would keep white space, and annotations that tree shaking may need. These files need none.
      rolldownOptions: { external, output: { minify: true } },
    },
  });
}

async function demo() {
  await build({
    ...common(),
    root: www,
    define,
    plugins: [gluePlugin()],
    build: {
      outDir: dist,
      emptyOutDir: true,
      copyPublicDir: false,
      target: "es2022",
      modulePreload: false,
      rolldownOptions: { input: ["index.html", "team/index.html", "team/ann/index.html", "team/ben/index.html"].map((page) => path.join(www, page)) },
    },
  });
  const files = readdirSync(dist, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dist, path.join(entry.parentPath, entry.name)))
    .sort();
  const contents = createHash("sha256");
  for (const file of files) contents.update(file).update(readFileSync(path.join(dist, file)));
  // Its address is the folder's.
  const shell = files.map((file) => "/" + file.replaceAll(path.sep, "/").replace(/(^|\/)index\.html$/, "$1"));
  const build_ = contents.digest("hex").slice(0, 16);
  await library("demo/sw.ts", "sw.js", { ...classic, outDir: dist, define: { ...classic.define, __SHELL__: JSON.stringify(shell), __BUILD__: JSON.stringify(build_) } });
  copyFileSync(path.join(pkg, wasmFile), path.join(dist, wasmFile));
}

/** The types of pkg/: one short file for each entry, the rest in types/. */
function declarations() {
  const tsc = path.join(root, "node_modules/.bin/tsc");
  const types = path.join(pkg, "types");
  rmSync(types, { recursive: true, force: true });
  for (const project of ["tsconfig.json", "tsconfig.worker.json"]) {
    execFileSync(tsc, ["-p", path.join(www, project), "--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", types], { stdio: "inherit" });
  }
  // Nobody imports these.
  for (const name of ["demo", "sw.d.ts"]) rmSync(path.join(types, name), { recursive: true });
  // The engine's settings are declared beside the Rust code that reads them.
  const engine = readFileSync(path.join(root, "src/worker/types.d.ts"), "utf8");
  writeFileSync(path.join(types, "glue.d.ts"), `declare module "crsql-sync:engine" {\n${engine}}\n\n${readFileSync(path.join(www, "glue.d.ts"), "utf8")}`);
  for (const name of ["client", "react"]) writeFileSync(path.join(pkg, `${name}.d.ts`), `export * from "./types/${name}.js";\n`);
  writeFileSync(path.join(pkg, "worker.d.ts"), '/// <reference path="./types/glue.d.ts" />\nexport * from "./types/worker.js";\n');
}

/**
 * `crsql-sync:glue`, the JavaScript half of the wasm module, as a function that evaluates it: see glue.d.ts for why. It
 * is bundled first, so that whatever wasm-bindgen makes of it (modules, snippets) is one text with its own scope.
 */
function gluePlugin() {
  const id = "\0crsql-sync:glue";
  return {
    name: "crsql-sync-glue",
    resolveId: (source) => (source === "crsql-sync:glue" ? id : undefined),
    async load(loaded) {
      if (loaded !== id) return undefined;
      const entry = process.env.GLUE_FILE ?? path.join(pkg, "crsql_sync.js");
      const [{ output }] = await build({
        ...common(),
        // Its default place of the wasm file, which we always name. Left alone, the bundler would put that file in here.
        plugins: [{ name: "no-import-meta", enforce: "pre", transform: (code) => code.replaceAll("import.meta.url", "self.location.href") }],
        build: {
          write: false,
          target: "es2022",
          minify: false,
          lib: { entry, formats: ["cjs"], fileName: () => "glue.js" },
          rolldownOptions: { output: { exports: "named" } },
        },
      });
      const { code } = output[0];
      if (!/\b(let|var)\b[^;]*\bwasm\b[^;]*;/.test(code)) throw new Error("the glue has no variable `wasm` any more: see how stop() can cut it off");
      return `export function evaluateGlue() {
  const module = { exports: {} };
  const exports = module.exports;
${code}
  // Every call into the instance goes by this variable.
  module.exports.stop = () => void (wasm = new Proxy({}, { get: () => () => {} }));
  return module.exports;
}
`;
    },
  };
}

function common() {
  return { configFile: false, envDir: false, logLevel: "warn" };
}
