// Compares the pins of wasm-pack.toml with the lock files and the installed packages. A wasm-bindgen tool
// and crate that differ do not work together; a wasm-opt of another version may break the module silently.
import { readFileSync } from "node:fs";

const read = (path) => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const pin = (key) => read("wasm-pack.toml").match(new RegExp(`^${key} = "(.*)"$`, "m"))?.[1];
const locked = (crate) => read("Cargo.lock").match(new RegExp(`^name = "${crate}"\nversion = "(.*)"$`, "m"))?.[1];
const npmLock = JSON.parse(read("package-lock.json")).packages;

const checks = [
  ["wasm-bindgen", locked("wasm-bindgen"), "Cargo.lock", 'set wasm-bindgen = "=…" in Cargo.toml to the same version'],
  ["binaryen", npmLock["node_modules/binaryen"]?.version, "package-lock.json", "npm install --save-dev binaryen@…"],
  ["binaryen", JSON.parse(read("node_modules/binaryen/package.json")).version, "node_modules", "run scripts/setup"],
];
let failed = false;
for (const [key, found, where, remedy] of checks) {
  if (pin(key) === found) continue;
  console.error(`error: wasm-pack.toml pins ${key} ${pin(key)}, but ${where} has ${found}. Change the pin, or: ${remedy}`);
  failed = true;
}
process.exit(failed ? 1 : 0);
