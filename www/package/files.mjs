/** The files of this package that a site has to serve, and where they go. */

import { existsSync, readFileSync, readdirSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const WASM = /^crsql_sync_bg\.[0-9a-f]+\.wasm$/;

/** Every site needs these. */
export const REQUIRED = [
  { from: "sw.js", to: "crsql-sync-sw.js" },
  ...readdirSync(here).filter((name) => WASM.test(name)).map((name) => ({ from: name, to: name })),
];

/** For workers that load it by importScripts. */
export const CLASSIC = [{ from: "worker.classic.js", to: "crsql-sync-worker.classic.js" }];

/** Version of the package. */
export const { version: VERSION } = JSON.parse(readFileSync(path.join(here, "package.json"), "utf8"));

/** What a file of the package holds. */
export function contents({ from }) {
  return readFileSync(path.join(here, from));
}

/** Whether a folder holds a file as this release has it: `missing`, `old` or `same`. */
export function compare(dir, file) {
  const there = path.join(dir, file.to);
  if (!existsSync(there)) return "missing";
  return readFileSync(there).equals(contents(file)) ? "same" : "old";
}

/** The wasm files of other releases in a folder. */
export function outdated(dir) {
  return readdirSync(dir).filter((name) => WASM.test(name) && !REQUIRED.some(({ to }) => to === name));
}
