/**
 * The core in the page itself, for windows without service workers: the same router and the same stored databases. One tab
 * of a site has it at a time, by a Web Lock. Loaded only where it is needed.
 *
 * @module
 */

import type { Credentials, UpstreamRequest } from "crsql-sync:engine";
import { SyncError } from "./client/errors.js";
import type { Host } from "./client/host.js";
import type { Auth } from "./client/http.js";
import type { Asking, Fetching } from "./client/question.js";
import { engineConfig, normalizePrefix } from "./engine/config.js";
import { Engine } from "./engine/engine.js";

/** Settings of the core in a page. Without `upstream` the data stays in this browser. */
export interface PageOptions {
  /** The same routes on a server, as a URL that ends with its prefix. May be relative to the page's own. */
  upstream?: string | null;
  /** Where the wasm file lies; beside this module unless given. */
  wasmUrl?: string | URL;
  /** What to do while another tab has the databases: `wait` until it is closed, or `fail` with the code `taken`. */
  whenTaken?: "wait" | "fail";
}

/** The lock of the tab that has the databases of this origin. */
const LOCK = "crsql-sync:page";

/** The core of this page, and how many use it. */
let shared: { settings: string; host: Promise<PageHost>; users: number } | undefined;

/** Starts the core, or shares the one that this page has. */
export async function openPage(prefix: string, options: PageOptions, signal: AbortSignal | undefined): Promise<Host> {
  const { wasmUrl, whenTaken: _, ...config } = options;
  const settings = JSON.stringify([prefix, config]);
  if (shared && shared.settings !== settings) {
    throw new SyncError("page_failed", "This page has the core already, with other settings. Use the same `url` and `page` for all databases.");
  }
  const mine = (shared ??= { settings, host: PageHost.open(prefix, options, signal), users: 0 });
  mine.users += 1;
  const leave = () => {
    mine.users -= 1;
    if (mine.users > 0) return;
    if (shared === mine) shared = undefined;
    mine.host.then((host) => host.stop()).catch(() => {});
  };
  try {
    return new User(await mine.host, leave);
  } catch (error) {
    leave();
    throw error;
  }
}

/** One database's share in the core. */
class User implements Host {
  readonly mode = "page";
  readonly #page: PageHost;
  readonly #leave: () => void;

  constructor(page: PageHost, leave: () => void) {
    this.#page = page;
    this.#leave = leave;
  }

  fetch(url: URL, fetching: Fetching): Promise<Response> {
    return this.#page.fetch(url, fetching);
  }

  ask(url: URL, asking: Asking): Promise<Response> {
    return this.#page.fetch(url, asking);
  }

  identify(dbid: string, auth: Auth, signal: AbortSignal): void {
    const { identities } = this.#page;
    identities.set(dbid, auth);
    signal.addEventListener("abort", () => identities.get(dbid) === auth && identities.delete(dbid));
  }

  wake(): void {
    this.#page.wake();
  }

  onRestart(callback: () => void, signal: AbortSignal): void {
    this.#page.restarts.addEventListener("restart", callback, { signal });
  }

  /** The page is its own release. */
  onUpdate(): void {}

  applyUpdate(): Promise<boolean> {
    return Promise.resolve(false);
  }

  close(): void {
    this.#leave();
  }
}

class PageHost {
  readonly restarts = new EventTarget();
  /** Who asks the upstream, by database. */
  readonly identities = new Map<string, Auth>();
  readonly #engine: Engine;
  readonly #release: () => void;
  readonly #ended = new AbortController();

  private constructor(prefix: string, { wasmUrl, whenTaken: _, ...config }: PageOptions, release: () => void) {
    const url = new URL(wasmUrl ?? new URL(__WASM_FILE__, import.meta.url), location.href);
    const compile = () => compileFrom(url);
    const upstreamHeaders = (request: UpstreamRequest) => this.#identify(request);
    this.#engine = new Engine({ compile }, engineConfig({ ...config, upstreamHeaders, files: true }, prefix), undefined, () => this.restarts.dispatchEvent(new Event("restart")));
    this.#release = release;
    const { signal } = this.#ended;
    addEventListener("error", (event) => this.#engine.onUncaught(event.error), { signal });
    addEventListener("unhandledrejection", (event) => this.#engine.onUncaught(event.reason), { signal });
  }

  static async open(prefix: string, options: PageOptions, signal: AbortSignal | undefined): Promise<PageHost> {
    if (!navigator.locks) throw new SyncError("insecure_context", "The core needs https or localhost to be alone with its databases. Serve the page over https.");
    const path = normalizePrefix(prefix);
    const release = await lock(options.whenTaken ?? "wait", signal);
    try {
      return new PageHost(path, options, release);
    } catch (error) {
      release();
      throw error;
    }
  }

  async fetch(url: URL, fetching: Fetching): Promise<Response> {
    const response = await this.#engine.handle(new Request(url, fetching));
    fetching.signal?.throwIfAborted();
    if (response.type === "error") throw new TypeError("The engine gave no answer.");
    return response;
  }

  wake(): void {
    this.#engine.wake().catch((error: unknown) => console.error("crsql-sync:", error));
  }

  #identify({ dbid, principal, refresh }: UpstreamRequest): Credentials | Promise<Credentials> {
    const auth = this.identities.get(dbid);
    if (auth) return auth({ refresh });
    // Of databases that are not open here nobody is known, unless nobody needs to be.
    if (principal !== null || this.identities.size > 0) throw new Error("this page does not say who asks the upstream");
    return {};
  }

  async stop(): Promise<void> {
    await this.#engine.stop();
    this.#ended.abort();
    this.#release();
  }
}

/** Waits for the lock, and gives what releases it. */
function lock(whenTaken: "wait" | "fail", signal: AbortSignal | undefined): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const options = whenTaken === "fail" ? { ifAvailable: true } : { ...(signal ? { signal } : {}) };
    const held = navigator.locks.request(LOCK, options, (lock) => {
      if (!lock) throw new SyncError("taken", "Another tab of this site has the databases. Close it, or use `whenTaken: \"wait\"`.");
      return new Promise<void>((release) => resolve(release));
    });
    held.catch(reject);
  });
}

async function compileFrom(url: URL): Promise<WebAssembly.Module> {
  const response = await fetch(url);
  if (!response.ok) throw new TypeError(`${url} answered ${response.status}. Copy the .wasm file of the package there, or name its place with \`wasmUrl\`.`);
  if (response.headers.get("content-type") === "application/wasm") return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}
