/**
 * A browser profile with the demo's page open: what one person has. The browser is a process of its own, so that it can
 * be killed as a crash would.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { chromium } from "playwright-core";
import { CHROMIUM, SCREENSHOTS } from "./paths.mjs";

export const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export class Profile {
  #dir = mkdtempSync(path.join(os.tmpdir(), "crsql-e2e-profile-"));
  #url;
  #process;
  #browser;
  page;
  /** What page and worker wrote to the console. */
  log = [];

  /** Starts a browser with a fresh profile and opens the page. */
  static async open(url, { name = "profile", isReady = true } = {}) {
    const profile = new Profile();
    profile.name = name;
    profile.#url = url;
    try {
      await profile.launch({ isReady });
      return profile;
    } catch (error) {
      await profile.close();
      throw error;
    }
  }

  /** Starts the browser with what it had on disk, and opens the page; waits for the demo, unless it is another page. */
  async launch({ isReady = true } = {}) {
    const portFile = path.join(this.#dir, "DevToolsActivePort");
    rmSync(portFile, { force: true });
    this.#process = spawn(CHROMIUM, [...FLAGS, "--remote-debugging-port=0", `--user-data-dir=${this.#dir}`, "about:blank"], { stdio: "ignore", detached: true });
    while (!existsSync(portFile) || !readFileSync(portFile, "utf8").includes("\n")) await sleep(20);
    const [port] = readFileSync(portFile, "utf8").split("\n");
    this.#browser = await chromium.connectOverCDP(`http://127.0.0.1:${port}`);
    const [context] = this.#browser.contexts();
    context.on("console", (message) => this.log.push(message.text()));
    this.page = context.pages()[0] ?? (await context.newPage());
    this.page.setDefaultTimeout(20_000);
    await this.page.setViewportSize({ width: 1000, height: 760 });
    await this.page.goto(this.#url);
    if (isReady) await this.ready();
  }

  /** Resolves when the page shows the list. */
  async ready() {
    await this.page.waitForFunction(() => globalThis.db && document.querySelector("#progress.done") && document.querySelector("#me").textContent !== "…").catch(async (error) => {
      const notice = await this.page.textContent("#notice").catch(() => "");
      throw new Error(`${this.name}: the page did not get ready. Notice: "${notice}". Console:\n${this.log.join("\n")}`, { cause: error });
    });
  }

  async reload() {
    await this.page.reload();
    await this.ready();
  }

  // What a person does.

  async add(title) {
    await this.page.fill("#new-title", title);
    await this.page.press("#new-title", "Enter");
  }

  async toggle(title) {
    await this.#row(title).locator(".check").click();
  }

  async rename(title, to) {
    const field = this.#row(title).locator(".title");
    await field.fill(to);
    await field.press("Enter");
  }

  async remove(title) {
    await this.#row(title).hover();
    await this.#row(title).locator(".delete").click();
  }

  async setNetwork(on) {
    await this.page.setChecked("#network", on, { force: true });
    await this.sees(() => document.querySelector("#state").dataset.state, on ? undefined : "paused");
  }

  #row(title) {
    return this.page.locator("#list li").filter({ has: this.page.locator(`[aria-label="Delete ${title}"]`) });
  }

  // What a person sees.

  titles() {
    return this.page.evaluate(() => [...document.querySelectorAll("#list .title")].map((field) => field.value));
  }

  async seesItem(title, timeout = 10_000) {
    await this.page.waitForFunction((wanted) => [...document.querySelectorAll("#list .title")].some((field) => field.value === wanted), title, { timeout, polling: 20 });
  }

  async seesNoItem(title, timeout = 10_000) {
    await this.page.waitForFunction((gone) => ![...document.querySelectorAll("#list .title")].some((field) => field.value === gone), title, { timeout, polling: 20 });
  }

  async seesState(state, timeout = 15_000) {
    await this.page.waitForFunction((wanted) => document.querySelector("#state").dataset.state === wanted, state, { timeout, polling: 50 });
  }

  /** Waits until `look`, run in the page, gives `value`; anything when that is undefined. */
  async sees(look, value, timeout = 10_000) {
    const check = `(() => { const seen = (${look})(); return ${value === undefined ? "seen != null" : `seen === ${JSON.stringify(value)}`}; })()`;
    await this.page.waitForFunction(check, undefined, { timeout, polling: 50 });
  }

  async screenshot(name) {
    mkdirSync(SCREENSHOTS, { recursive: true });
    await this.page.screenshot({ path: path.join(SCREENSHOTS, `${name}.png`) });
  }

  // What a program does.

  /** Writes, and resolves when the database answered that it is on disk. */
  exec(sql, params = []) {
    return this.page.evaluate(([sql, params]) => globalThis.db.exec(sql, params).then(() => true), [sql, params]);
  }

  rows() {
    return this.page.evaluate(() => globalThis.db.query("SELECT id, title, done, created FROM todo ORDER BY id"));
  }

  status() {
    return this.page.evaluate(() => globalThis.db.getStatus());
  }

  // What the world does.

  /** Stops the service worker, as the browser does when it likes. */
  async stopWorker() {
    const cdp = await this.page.context().newCDPSession(this.page);
    await cdp.send("ServiceWorker.enable");
    await cdp.send("ServiceWorker.stopAllWorkers");
    await cdp.detach();
  }

  /** Kills the browser with all its processes. */
  async kill() {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    process.kill(-child.pid, "SIGKILL");
    await once(child, "exit");
    await this.#browser.close().catch(() => {});
  }

  async close() {
    await this.kill();
    // Its children may still be writing for a moment.
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}
