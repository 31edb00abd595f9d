/** What can be wrong with a page or its worker is said with a code, and with what to do about it. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Profile } from "./harness/profile.mjs";
import { Server } from "./harness/server.mjs";
import { Www } from "./harness/www.mjs";

/** Opens `path` of a server whose files `change` has changed. */
async function open(t, path, change) {
  const www = new Www(t);
  change(www);
  const server = await Server.start({ www: www.dir });
  t.after(() => server.close());
  const profile = await Profile.open(server.url + path, { isReady: false });
  t.after(() => profile.close());
  return profile;
}

/** A page that opens a database, and says in `outcome` what came of it. */
const page = (options) => `<!doctype html><script type="module">
  import { connect } from "/client.js";
  const options = { dbid: "x", schema: "CREATE TABLE t (a INTEGER PRIMARY KEY NOT NULL); SELECT crsql_as_crr('t')", worker: "/sw.js", ...${options} };
  globalThis.outcome = await connect(options).then(() => ({ code: "none" }), ({ name, code, message }) => ({ name, code, message }));
</script>`;

async function outcome(profile) {
  return (await profile.page.waitForFunction(() => globalThis.outcome, undefined, { timeout: 30_000 })).jsonValue();
}

describe("connect", () => {
  test("says that the wasm file is missing", async (t) => {
    const profile = await open(t, "x.html", (www) => {
      www.remove(/\.wasm$/);
      www.write("x.html", page("{}"));
    });
    const { code, message } = await outcome(profile);
    assert.equal(code, "worker_failed");
    assert.match(message, /wasm file was not found/);
  });

  test("says that there is no script at the worker's URL", async (t) => {
    const profile = await open(t, "x.html", (www) => www.write("x.html", page('{ worker: "/nowhere.js" }')));
    const { code, message } = await outcome(profile);
    assert.equal(code, "worker_failed");
    assert.match(message, /\/nowhere\.js could not be registered/);
  });

  test("says that the page is outside the worker's scope", async (t) => {
    const profile = await open(t, "x.html", (www) => www.write("x.html", page('{ worker: { url: "/sw.js", scope: "/app/" } }')));
    const { code, message } = await outcome(profile);
    assert.equal(code, "not_controlled");
    assert.match(message, /not below it/);
  });

  test("says that another library's worker has the page", async (t) => {
    const profile = await open(t, "x.html", (www) => {
      www.write("other-sw.js", 'addEventListener("activate", (event) => event.waitUntil(clients.claim()));');
      www.write("x.html", page('{ worker: "/other-sw.js" }'));
    });
    const { code, message } = await outcome(profile);
    assert.equal(code, "worker_foreign");
    assert.match(message, /installSyncWorker/);
  });

  test("works in a page that was reloaded with shift", async (t) => {
    const profile = await open(t, "", () => {});
    await profile.ready();
    const cdp = await profile.page.context().newCDPSession(profile.page);
    await Promise.all([profile.page.waitForEvent("load"), cdp.send("Page.reload", { ignoreCache: true })]);
    await profile.ready();
    await profile.add("Still here");
    await profile.seesItem("Still here");
  });

  test("works with the ready-made worker, configured by its URL", async (t) => {
    const profile = await open(t, "x.html", (www) => {
      www.copyFromPackage("sw.js", "crsql-sync-sw.js");
      www.write("x.html", page('{ url: "/data", worker: "/crsql-sync-sw.js?prefix=/data&upstream=/sync" }'));
    });
    assert.deepEqual(await outcome(profile), { code: "none" });
  });
});
