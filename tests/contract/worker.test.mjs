/** The contract in a page of Chromium, whose requests its service worker answers. */

import { cpSync, mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { DIST } from "../e2e/harness/paths.mjs";
import { Profile } from "../e2e/harness/profile.mjs";
import { Server } from "../e2e/harness/server.mjs";
import { names } from "./suite.mjs";

let www, server, profile;

before(async () => {
  // The page loads the suite from beside itself.
  www = mkdtempSync(path.join(os.tmpdir(), "crsql-contract-www-"));
  cpSync(DIST, www, { recursive: true });
  cpSync(fileURLToPath(new URL(".", import.meta.url)), path.join(www, "contract"), { recursive: true });
  server = await Server.start({ www });
  profile = await Profile.open(server.url);
});

after(async () => {
  await profile?.close();
  await server?.close();
  rmSync(www, { recursive: true });
});

for (const name of names) {
  test(name, () =>
    profile.page.evaluate(async (name) => {
      const { run } = await import("/contract/suite.mjs");
      await run(name, { base: `${location.origin}/sync`, fetch: globalThis.fetch.bind(globalThis) });
    }, name),
  );
}
