/** What the tests need to have been built, and where. */

import { existsSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");

export const DIST = path.join(root, "dist");
export const PKG = path.join(root, "pkg");
export const SCREENSHOTS = path.join(root, "tests/e2e/screenshots");
export const CHROMIUM = process.env.CHROMIUM || "/usr/bin/chromium";
export const SERVER = process.env.CRSQL_SYNC_BIN ?? [path.join(target, "release/crsql-sync"), path.join(target, "debug/crsql-sync")].find(existsSync);

for (const [file, advice] of [
  [path.join(DIST, "index.html"), "make build"],
  [SERVER, "cargo build --release, or name the server's binary with CRSQL_SYNC_BIN"],
  [CHROMIUM, "make setup, or name the browser with CHROMIUM"],
]) {
  if (!file || !existsSync(file)) throw new Error(`${file ?? "The server"} is missing. Run: ${advice}`);
}
