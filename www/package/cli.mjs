#!/usr/bin/env node
/** Copies the worker and its wasm file to where a site serves them, and checks later that they are of this release. */

import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { CLASSIC, REQUIRED, VERSION, compare, contents, outdated } from "./files.mjs";

const USAGE = `crsql-sync ${VERSION}

  crsql-sync init <folder>   copies the worker and its wasm file into a folder that the site serves at its root, and
                             remembers it in package.json
  crsql-sync init            copies them again into the folders that package.json remembers
  crsql-sync check           fails if one of those folders has files of another release

  --classic    with init: also the script for importScripts()
  --no-save    with init: does not remember the folder`;

/** Where package.json remembers the folders. */
const KEY = "crsql-sync";

try {
  main();
} catch (error) {
  console.error(`crsql-sync: ${error.message}`);
  process.exitCode = 1;
}

function main() {
  const options = { classic: { type: "boolean" }, "no-save": { type: "boolean" }, help: { type: "boolean", short: "h" }, version: { type: "boolean" } };
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const [command, dir, ...more] = positionals;
  if (values.version) return console.log(VERSION);
  if (values.help || command === undefined) return console.log(USAGE);
  if (more.length > 0) throw new Error(`one folder at a time. What about ${more.join(" ")}?`);
  if (command === "init") return init(dir, values);
  if (command === "check" && dir === undefined) return check();
  throw new Error(`there is no command "${positionals.join(" ")}". Known are init and check; see --help.`);
}

function init(dir, { classic, "no-save": unsaved }) {
  const dirs = dir === undefined ? remembered() : [dir];
  if (dirs.length === 0) throw new Error("which folder does the site serve at its root? For example: npx crsql-sync init public/");
  for (const dir of dirs) copy(dir, classic);
  if (dir !== undefined && !unsaved) remember(dir);
}

function copy(dir, classic) {
  if (existsSync(dir) && !statSync(dir).isDirectory()) throw new Error(`${dir} is not a folder`);
  mkdirSync(dir, { recursive: true });
  for (const name of outdated(dir)) rmSync(path.join(dir, name));
  const files = [...REQUIRED, ...CLASSIC.filter((file) => classic || compare(dir, file) !== "missing")];
  for (const file of files) {
    writeFileSync(path.join(dir, file.to), contents(file));
    console.log(path.join(dir, file.to));
  }
}

function check() {
  const dirs = remembered();
  if (dirs.length === 0) throw new Error('package.json remembers no folder. Run "npx crsql-sync init <folder>" first.');
  const wrong = [];
  for (const dir of dirs) {
    for (const file of REQUIRED) if (compare(dir, file) !== "same") wrong.push(`${path.join(dir, file.to)} is ${compare(dir, file) === "old" ? "of another release" : "missing"}`);
    for (const file of CLASSIC) if (compare(dir, file) === "old") wrong.push(`${path.join(dir, file.to)} is of another release`);
  }
  if (wrong.length > 0) throw new Error(`${wrong.join("\n")}\nRun "npx crsql-sync init" to copy the files of ${VERSION}.`);
  console.log(`crsql-sync ${VERSION}: ${dirs.join(", ")} ${dirs.length === 1 ? "is" : "are"} up to date`);
}

function remembered() {
  const { [KEY]: settings } = manifest()?.json ?? {};
  const dirs = settings?.workerDirectory ?? [];
  return Array.isArray(dirs) ? dirs : [dirs];
}

function remember(dir) {
  const found = manifest();
  if (!found) return console.warn("There is no package.json here to remember the folder in.");
  const relative = path.relative(process.cwd(), path.resolve(dir)).replaceAll(path.sep, "/");
  const dirs = remembered();
  if (dirs.includes(relative)) return;
  const json = { ...found.json, [KEY]: { ...found.json[KEY], workerDirectory: [...dirs, relative] } };
  const indent = /^[ \t]+(?=")/m.exec(found.text)?.[0] ?? "  ";
  writeFileSync("package.json", JSON.stringify(json, null, indent) + "\n");
}

function manifest() {
  if (!existsSync("package.json")) return undefined;
  const text = readFileSync("package.json", "utf8");
  return { text, json: JSON.parse(text) };
}
