/** A program that fails: made smaller, written down, told. */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Refused, difference } from "./compare.mjs";
import { listing, program } from "./program.mjs";
import { shrink } from "./shrink.mjs";

const KEPT = new URL("kept/", import.meta.url);

/** Runs the program of a seed. When it fails, the smallest one that fails alike is kept, and an error tells it. */
export async function runSeed(seed) {
  const whole = program(seed);
  const found = await difference(whole).catch((error) => {
    error.message = `seed ${seed}: ${error.message}\n\n${listing(whole)}`;
    throw error;
  });
  if (found === undefined) return;
  const smallest = await shrink(whole, async (candidate) => (await kindOf(candidate)) === found.kind);
  const file = new URL(`seed-${seed}.json`, KEPT);
  mkdirSync(KEPT, { recursive: true });
  writeFileSync(file, `${JSON.stringify(smallest, undefined, 1)}\n`);
  throw new Error(`seed ${seed}: ${(await difference(smallest)).message}\n\n${listing(smallest)}\n\nkept in ${file.pathname}`);
}

/** What went wrong in a smaller program, if anything did. */
async function kindOf(candidate) {
  try {
    return (await difference(candidate))?.kind;
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

/** The programs that failed once: `[name, program]`. */
export function kept() {
  const files = readdirSync(KEPT).filter((name) => name.endsWith(".json"));
  return files.sort().map((name) => [name.replace(".json", "").replaceAll("-", " "), JSON.parse(readFileSync(new URL(name, KEPT), "utf8"))]);
}
