/** A bare page that has the client as `lib`, for tests that call it themselves. */

import { setTimeout as sleep } from "node:timers/promises";
import { Profile } from "./profile.mjs";
import { Server } from "./server.mjs";
import { Www } from "./www.mjs";

/** A page that has the client as `lib`. */
export const PAGE = '<!doctype html><meta charset="utf-8"><script type="module">import * as lib from "/client.js"; globalThis.lib = lib;</script>';

/** What the tests open databases with. */
export const SCHEMA = `
  CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title TEXT NOT NULL DEFAULT '', done INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL DEFAULT 0);
  CREATE TABLE note (id INTEGER PRIMARY KEY NOT NULL, text);
  SELECT crsql_as_crr('todo'); SELECT crsql_as_crr('note');`;

export class Stage {
  www;
  server;
  profile;

  /** Starts a server with the package's files, changed by `change`, and a browser at the bare page. */
  static async open(t, { change = () => {}, path = "stage.html", args } = {}) {
    const stage = new Stage();
    stage.www = new Www(t);
    stage.www.copyFromPackage("sw.js", "crsql-sync-sw.js");
    stage.www.write("stage.html", PAGE);
    change(stage.www);
    stage.server = await Server.start({ www: stage.www.dir, args });
    t.after(() => stage.server.close());
    stage.profile = await Profile.open(stage.server.url + path, { isReady: false });
    t.after(() => stage.profile.close());
    await stage.#ready(stage.page);
    return stage;
  }

  get page() {
    return this.profile.page;
  }

  /** Another tab of the same profile. */
  async tab() {
    const tab = await this.page.context().newPage();
    await tab.goto(`${this.server.url}stage.html`);
    await this.#ready(tab);
    return tab;
  }

  /** Opens a database in a tab as `db`. */
  async connect(tab, options = {}) {
    const all = { dbid: "stage", schema: SCHEMA, worker: "/crsql-sync-sw.js?upstream=/sync", ...options };
    await tab.evaluate(async (options) => void (globalThis.db = await globalThis.lib.connect(options)), all);
  }

  async #ready(tab) {
    await tab.waitForFunction(() => globalThis.lib);
  }
}

/** Run in a page: what `connect` came to, by its code. */
export function outcome(options) {
  return globalThis.lib.connect(options).then(
    (db) => ((globalThis.db = db), { code: "none", mode: db.mode }),
    ({ name, code, message }) => ({ name, code, message }),
  );
}

/** From now on a page knows as `asked(text)` how many requests it has sent by message whose body has the text in it. */
export function countAsked(page) {
  return page.evaluate(() => {
    const bodies = [];
    const { postMessage } = MessagePort.prototype;
    MessagePort.prototype.postMessage = function (message, ...more) {
      if (message?.body) bodies.push(message.body);
      return postMessage.call(this, message, ...more);
    };
    globalThis.asked = (text) => bodies.filter((body) => body.includes(text)).length;
  });
}

/** Resolves when the database that a page has as `db` is in step with its upstream. */
export function synced(page) {
  return until(page, async () => {
    const { unsent, upstream } = await globalThis.db.getStatus();
    return upstream.state === "online" && unsent.changes === 0;
  });
}

/** Waits until `look`, run in a page, comes to something true; `waitForFunction` does not wait for promises. */
export async function until(page, look, argument, timeout = 60_000) {
  for (const deadline = Date.now() + timeout; ; await sleep(50)) {
    const seen = await page.evaluate(look, argument).catch((error) => error);
    if (seen && !(seen instanceof Error)) return;
    if (Date.now() > deadline) throw new Error(`not within ${timeout} ms: ${look}`, { cause: seen });
  }
}
