/**
 * Any browser that speaks WebDriver, which is plain HTTP and the one protocol that all of them have. The other tests drive
 * Chromium by its own, which can do more.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { CHROMIUM } from "./paths.mjs";
import { FLAGS } from "./profile.mjs";
import { freePort } from "./server.mjs";

const { CHROMEDRIVER, FIREFOX, GECKODRIVER, WEBKITDRIVER } = process.env;
const WEBKIT = fileURLToPath(new URL("webkit.py", import.meta.url));

/** How to start each. Those that are not there have no program or no driver. */
export const BROWSERS = [
  {
    name: "Chromium",
    program: CHROMIUM,
    driver: CHROMEDRIVER,
    capabilities: (dir, { isPrivate }) => ({
      "goog:chromeOptions": { binary: CHROMIUM, args: [...FLAGS, `--user-data-dir=${dir}`, ...(isPrivate ? ["--incognito"] : [])] },
    }),
  },
  {
    name: "Firefox",
    program: FIREFOX,
    driver: GECKODRIVER,
    capabilities: (dir, { isPrivate }) => ({
      "moz:firefoxOptions": {
        binary: FIREFOX,
        args: ["-headless", "-profile", dir, ...(isPrivate ? ["-private"] : [])],
        prefs: { "browser.privatebrowsing.autostart": isPrivate },
      },
    }),
  },
  {
    name: "WebKit",
    program: WEBKIT,
    driver: WEBKITDRIVER,
    capabilities: (dir, { isPrivate }) => ({
      "webkitgtk:browserOptions": { binary: WEBKIT, args: [dir, ...(isPrivate ? ["--private"] : [])] },
    }),
  },
];

export class Browser {
  #kind;
  #dir = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-browser-"));
  #isPrivate;
  #driver;
  #pid;
  #url;
  /** The tab that it started with, until it is taken. In a private window only this one may be private. */
  #first;
  /** WebDriver has one current tab: what concerns a tab waits for its turn. */
  #turn = Promise.resolve();

  /** Starts one with a fresh profile. */
  static async open(kind, { isPrivate = false } = {}) {
    const browser = new Browser();
    browser.#kind = kind;
    browser.#isPrivate = isPrivate;
    try {
      await browser.start();
      return browser;
    } catch (error) {
      await browser.close();
      throw error;
    }
  }

  /** What it calls itself, once it is started. */
  version;

  /** Starts it with what it had on disk. */
  async start() {
    // Left by one that was killed, it would lead the driver to a port where nobody is.
    rmSync(path.join(this.#dir, "MarionetteActivePort"), { force: true });
    const port = await freePort();
    // A group of its own, with the browser in it.
    this.#driver = spawn(this.#kind.driver, [`--port=${port}`], { stdio: "ignore", detached: true });
    this.#url = `http://127.0.0.1:${port}`;
    const failed = new Promise((_, reject) => this.#driver.once("error", reject).once("exit", (code) => reject(new Error(`${this.#kind.driver} ended with ${code}`))));
    failed.catch(() => {});
    while (!(await Promise.race([this.#isUp(), failed]))) await sleep(20);
    const alwaysMatch = this.#kind.capabilities(this.#dir, { isPrivate: this.#isPrivate });
    const { sessionId, capabilities } = await this.#send("POST", "/session", { capabilities: { alwaysMatch } });
    this.#url += `/session/${sessionId}`;
    this.#pid = capabilities["moz:processID"] ?? capabilities["goog:processID"];
    this.version = `${capabilities.browserName} ${capabilities.browserVersion}`;
    await this.#send("POST", "/timeouts", { script: 60_000, pageLoad: 60_000 });
    this.#first = await this.#send("GET", "/window");
  }

  /** A new tab at the URL. */
  async tab(url) {
    const handle = this.#first ?? (await this.#send("POST", "/window/new", { type: "tab" })).handle;
    this.#first = undefined;
    const tab = new Tab((...command) => this.#in(handle, ...command));
    await tab.goto(url);
    return tab;
  }

  /** Sends a command to a tab. */
  #in(handle, ...command) {
    const done = this.#turn.then(async () => {
      await this.#send("POST", "/window", { handle });
      return this.#send(...command);
    });
    this.#turn = done.catch(() => {});
    return done;
  }

  async #send(method, command, body) {
    const content = body ? { body: JSON.stringify(body), headers: { "content-type": "application/json" } } : {};
    const response = await fetch(this.#url + command, { method, ...content, signal: AbortSignal.timeout(90_000) });
    const { value } = await response.json();
    if (!response.ok) throw new Error(`${method} ${command}: ${value.error}: ${value.message}`);
    return value;
  }

  #isUp() {
    return this.#send("GET", "/status").then(({ ready }) => ready, () => false);
  }

  /** Ends it as a user does. */
  async quit() {
    await this.#send("DELETE", "");
    await this.kill();
  }

  /** Kills it in the middle of whatever it does. */
  async kill() {
    const { pid } = this.#driver ?? {};
    if (!pid) return;
    this.#driver = undefined;
    for (const victim of [this.#pid, -pid]) signal(victim, "SIGKILL");
    // It has its profile until it is gone; where nobody buries the orphan, it stays in the list of processes.
    for (let tries = 0; tries < 40 && signal(this.#pid, 0); tries++) await sleep(50);
  }

  async close() {
    await this.kill();
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

export class Tab {
  #send;

  constructor(send) {
    this.#send = send;
  }

  goto(url) {
    return this.#send("POST", "/url", { url });
  }

  reload() {
    return this.#send("POST", "/refresh", {});
  }

  /** Closes it. */
  close() {
    return this.#send("DELETE", "/window");
  }

  /** Runs a function in the page, and returns what its promise comes to. */
  async run(look, ...args) {
    // By the page's own `eval`: a driver's script may have other globals than the page.
    const script = `
      const [source, args, done] = arguments;
      window.eval(source)(args).then((value) => done({ value }), (error) => done({ error: String(error), code: error?.code }));`;
    const source = `(async (args) => (${look})(...args))`;
    const { value, error, code } = await this.#send("POST", "/execute/async", { script, args: [source, args] });
    if (error) throw Object.assign(new Error(error), { code });
    return value;
  }

  /** Waits until a function, run in the page, comes to something true, and returns that. */
  async until(look, ...args) {
    for (const deadline = Date.now() + 30_000; ; await sleep(50)) {
      const seen = await this.run(look, ...args).catch((error) => error);
      if (seen && !(seen instanceof Error)) return seen;
      if (Date.now() > deadline) throw new Error(`not within 30 s: ${look}`, { cause: seen });
    }
  }
}

/** Whether the process was there to be sent the signal. */
function signal(pid, name) {
  try {
    return pid !== undefined && process.kill(pid, name);
  } catch {
    return false;
  }
}
