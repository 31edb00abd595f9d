/** A copy of the demo's files, for tests that change what is served. */

import { copyFileSync, cpSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { DIST, PKG } from "./paths.mjs";

export class Www {
  dir = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-www-"));

  constructor(t) {
    t.after(() => rmSync(this.dir, { recursive: true, force: true }));
    cpSync(DIST, this.dir, { recursive: true });
    // For pages that are not the demo.
    for (const name of ["client.js", "page.js"]) this.copyFromPackage(name);
  }

  copyFromPackage(name, as = name) {
    copyFileSync(path.join(PKG, name), path.join(this.dir, as));
  }

  write(name, text) {
    writeFileSync(path.join(this.dir, name), text);
  }

  append(name, text) {
    this.write(name, readFileSync(path.join(this.dir, name), "utf8") + text);
  }

  replace(name, pattern, text) {
    const before = readFileSync(path.join(this.dir, name), "utf8");
    if (!pattern.test(before)) throw new Error(`${name} has nothing like ${pattern}`);
    this.write(name, before.replace(pattern, text));
  }

  /** Deletes the files that match. */
  remove(pattern) {
    for (const name of readdirSync(this.dir)) if (pattern.test(name)) rmSync(path.join(this.dir, name));
  }
}
