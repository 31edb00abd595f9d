/**
 * The package as a user has it: packed, installed into examples/vite-react, built and served by Vite, and driven in
 * Chromium. React and Vite are those of this repository; the app lies below it, where Node finds them.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { PKG } from "./harness/paths.mjs";
import { Profile } from "./harness/profile.mjs";
import { Server } from "./harness/server.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const out = path.join(root, "tests/e2e/out");
const app = path.join(out, "vite-react");
const bin = (name) => path.join(root, "node_modules/.bin", name);

function install() {
  rmSync(app, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  cpSync(path.join(root, "examples/vite-react"), app, { recursive: true, filter: (file) => !/node_modules|dist$/.test(file) });
  const [{ filename }] = JSON.parse(execFileSync("npm", ["pack", PKG, "--json", "--pack-destination", out], { cwd: out, encoding: "utf8" }));
  const manifest = JSON.parse(readFileSync(path.join(app, "package.json"), "utf8"));
  writeFileSync(path.join(app, "package.json"), JSON.stringify({ ...manifest, dependencies: { "crsql-sync": `file:${path.join(out, filename)}` }, devDependencies: {} }));
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", "--no-package-lock"], { cwd: app, stdio: "pipe" });
}

async function visit(t, url) {
  const profile = await Profile.open(url, { isReady: false, name: "visitor" });
  t.after(() => profile.close());
  return profile;
}

async function write(page, name, text) {
  await page.fill("input[name=name]", name);
  await page.fill("textarea", text);
  await page.click("form button");
  await page.waitForSelector(`li:has-text("${text}")`);
}

describe("the example", () => {
  before(install);

  test("is built with the worker beside the page, and two browsers write into one book", async (t) => {
    execFileSync(bin("vite"), ["build", "--logLevel", "warn"], { cwd: app, stdio: "inherit" });
    const files = readdirSync(path.join(app, "dist"));
    assert.ok(files.includes("crsql-sync-sw.js") && files.some((name) => /^crsql_sync_bg\.[0-9a-f]+\.wasm$/.test(name)), files.join());
    const server = await Server.start({ www: path.join(app, "dist") });
    t.after(() => server.close());
    const [anna, ben] = [await visit(t, server.url), await visit(t, server.url)];
    await write(anna.page, "Anna", "What a lovely place");
    await ben.page.waitForSelector('li:has-text("What a lovely place")');
    await ben.page.waitForSelector('[data-state="online"]');
    await write(ben.page, "Ben", "We come again");
    await anna.page.waitForSelector('li:has-text("We come again")');
    await anna.screenshot("example");

    // It opens, and writes, without a server.
    await server.kill();
    await write(anna.page, "Anna", "Written offline");
    await anna.page.waitForFunction(() => /unsent/.test(document.querySelector(".status").textContent));
    await server.start();
    await ben.page.waitForSelector('li:has-text("Written offline")', { timeout: 30_000 });
  });

  test("runs in Vite's development server, with a service worker and without", async (t) => {
    const server = await Server.start();
    t.after(() => server.close());
    const vite = spawn(bin("vite"), ["--host", "127.0.0.1", "--port", "0"], { cwd: app, env: { ...process.env, UPSTREAM: server.url, NO_COLOR: "1" }, detached: true });
    t.after(() => process.kill(-vite.pid, "SIGKILL"));
    let log = "";
    for await (const chunk of vite.stdout) if (/Local:\s+(\S+)/.test((log += chunk))) break;
    const url = /Local:\s+(\S+)/.exec(log)?.[1];
    assert.ok(url, log);
    const { page } = await visit(t, url);
    await write(page, "Dev", "By the worker");
    await page.waitForSelector('[data-state="online"]', { timeout: 20_000 });

    const other = await visit(t, "about:blank");
    await other.page.addInitScript(() => Object.defineProperty(Navigator.prototype, "serviceWorker", { value: undefined }));
    await other.page.goto(url);
    await other.page.waitForSelector('li:has-text("By the worker")', { timeout: 30_000 });
    await write(other.page, "Dev", "By the page");
    await other.page.waitForSelector('.status:has-text("without a service worker")');
    await page.waitForSelector('li:has-text("By the page")');
  });
});

describe("npx crsql-sync", () => {
  const site = path.join(out, "site");
  const run = (...args) => execFileSync(path.join(app, "node_modules/.bin/crsql-sync"), args, { cwd: site, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  const fails = (...args) => assert.throws(() => run(...args)) ?? errorOf(() => run(...args));
  const errorOf = (call) => {
    try {
      call();
    } catch (error) {
      return error.stderr;
    }
  };

  before(() => {
    if (!existsSync(app)) install();
    rmSync(site, { recursive: true, force: true });
    mkdirSync(site);
    writeFileSync(path.join(site, "package.json"), '{\n    "name": "site"\n}\n');
  });

  test("copies the worker and its wasm file, and remembers where", () => {
    assert.match(fails("check"), /init <folder>/);
    run("init", "public/");
    const files = readdirSync(path.join(site, "public"));
    assert.deepEqual(files.map((name) => name.replace(/[0-9a-f]{16}/, "HASH")).sort(), ["crsql-sync-sw.js", "crsql_sync_bg.HASH.wasm"]);
    assert.equal(readFileSync(path.join(site, "package.json"), "utf8"), '{\n    "name": "site",\n    "crsql-sync": {\n        "workerDirectory": [\n            "public"\n        ]\n    }\n}\n');
    assert.match(run("check"), /public is up to date/);
  });

  test("finds files of another release, and replaces them", () => {
    const worker = path.join(site, "public/crsql-sync-sw.js");
    const old = path.join(site, "public/crsql_sync_bg.0123456789abcdef.wasm");
    writeFileSync(worker, "// of another release");
    writeFileSync(old, "");
    assert.match(fails("check"), /crsql-sync-sw\.js is of another release[^]*crsql-sync init/);
    run("init");
    assert.match(run("check"), /up to date/);
    assert.equal(existsSync(old), false);
  });

  test("says what it does not know", () => {
    assert.match(fails("instal"), /no command "instal"/);
    assert.match(run("--help"), /init <folder>/);
  });
});
