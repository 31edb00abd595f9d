/** The worker as a page sees it: registered, in control of this page, known by its release, updated on request. */

import { ask } from "../ask.js";
import { type FromWorker, type Hello, type Identity, PROTOCOL, type ToWorker } from "../messages.js";
import { before } from "../time.js";
import { SyncError } from "./errors.js";
import type { Host } from "./host.js";
import type { Auth } from "./http.js";
import { type Asking, type Fetching, Line, type Reply } from "./question.js";

/** Where the worker's script is, and how far it reaches. */
export interface WorkerOptions {
  url: string;
  /** The paths whose pages it serves; the script's folder unless given. */
  scope?: string;
  /** How the script is written. The package's own may be called either, and is the same. */
  type?: "module" | "classic";
}

const ANSWER_MS = 10_000;
/** How long requests wait while a newer worker takes over. */
const HOLD_MS = 3_000;

export class WorkerHost implements Host {
  readonly mode = "worker";
  readonly #registration: ServiceWorkerRegistration;
  readonly #hello: Hello;
  /** A worker took over that this page does not understand. */
  #mismatch: SyncError | undefined;
  /** Pending while a newer worker takes over: browsers wait for a moment at which no page asks the old one for anything. */
  #held: Promise<unknown> | undefined;
  #line: Line | undefined;

  private constructor(registration: ServiceWorkerRegistration, hello: Hello) {
    this.#registration = registration;
    this.#hello = hello;
    // Messages wait until the page is read, unless they are asked for.
    navigator.serviceWorker.startMessages();
    navigator.serviceWorker.addEventListener("controllerchange", () => void this.#greetNext());
    navigator.serviceWorker.addEventListener("message", ({ data }: MessageEvent<FromWorker | undefined>) => {
      if (data?.type === "crsql-sync:hold") this.#held = before(HOLD_MS, controllerChange());
    });
  }

  /** Registers the worker if need be, and waits until this page's requests go to it. */
  static async connect(options: WorkerOptions): Promise<WorkerHost> {
    const container = serviceWorkers();
    const registration = await register(container, options);
    const controller = await control(container, registration, options.url);
    const hello = await greet(controller);
    if (!hello) {
      const message = `The worker that controls this page (${controller.scriptURL}) is not one of crsql-sync. Call installSyncWorker() in it, or give this one a scope of its own.`;
      throw new SyncError("worker_foreign", message);
    }
    // While an update is under way the releases differ for a moment.
    if (hello.protocol !== PROTOCOL) throw mismatch(controller, hello, registration);
    if (hello.version !== __VERSION__ && !registration.installing && !registration.waiting) console.warn(`crsql-sync: ${releases(controller, hello)}`);
    return new WorkerHost(registration, hello);
  }

  async fetch(url: URL, fetching: Fetching): Promise<Response> {
    await this.#held;
    if (this.#mismatch) throw this.#mismatch;
    return fetch(url, fetching);
  }

  async ask(url: URL, asking: Asking): Promise<Reply> {
    await this.#held;
    if (this.#mismatch) throw this.#mismatch;
    const { controller } = navigator.serviceWorker;
    return (controller && (await this.#lineTo(controller).ask(url, asking))) || this.fetch(url, asking);
  }

  close(): void {
    this.#line?.lose();
  }

  onRestart(callback: () => void, signal: AbortSignal): void {
    const { serviceWorker } = navigator;
    serviceWorker.addEventListener("controllerchange", callback, { signal });
    const heard = ({ data }: MessageEvent<FromWorker | undefined>) => data?.type === "crsql-sync:restarted" && callback();
    serviceWorker.addEventListener("message", heard, { signal });
  }

  identify(dbid: string, auth: Auth, signal: AbortSignal): void {
    if (!this.#hello.asks) console.warn("crsql-sync: the worker asks no page who asks the upstream. Add `auth=page` to its URL, or set `upstreamHeaders` in it.");
    const heard = async ({ data, ports }: MessageEvent<FromWorker | undefined>) => {
      if (data?.type !== "crsql-sync:who" || data.dbid !== dbid) return;
      const reply = (identity: Identity) => ports[0]?.postMessage(identity);
      try {
        reply({ credentials: await auth({ refresh: data.refresh }) });
      } catch (error) {
        reply({ error: String(error) });
      }
    };
    navigator.serviceWorker.addEventListener("message", heard, { signal });
  }

  onUpdate(callback: (isWaiting: boolean) => void, signal: AbortSignal): void {
    const registration = this.#registration;
    if (registration.waiting) callback(true);
    const installing = () => {
      const worker = registration.installing;
      const changed = () => {
        // Without an older worker the new one does not wait.
        if (worker?.state === "installed" && registration.active) callback(true);
      };
      worker?.addEventListener("statechange", changed, { signal });
    };
    installing();
    registration.addEventListener("updatefound", installing, { signal });
    navigator.serviceWorker.addEventListener("controllerchange", () => callback(registration.waiting !== null), { signal });
  }

  /**
   * Lets a waiting worker take over, and resolves when it has. The old one closes its streams first, and has pages hold back what they
   * would ask it: browsers keep a worker for five minutes while it has something to do. One that is still being installed is waited for. False when there
   * is none.
   */
  async applyUpdate(): Promise<boolean> {
    const { installing, active } = this.#registration;
    if (installing && active) await installed(installing);
    const { waiting } = this.#registration;
    if (!waiting) return false;
    const taken = controllerChange();
    if (active) await ask(active, { type: "crsql-sync:drain" }, ANSWER_MS);
    post(waiting, { type: "crsql-sync:activate" });
    if ((await before(ANSWER_MS, taken)) === undefined) {
      throw new SyncError("worker_failed", "The new worker did not take over. Close the other tabs of this site, or try again.");
    }
    return true;
  }

  /** Makes the worker try its upstream again. */
  wake(): void {
    if (this.#registration.active) post(this.#registration.active, { type: "crsql-sync:wake" });
  }

  #lineTo(worker: ServiceWorker): Line {
    return this.#line?.serves(worker) ? this.#line : (this.#line = new Line(worker));
  }

  async #greetNext(): Promise<void> {
    this.#line?.lose();
    const { controller } = navigator.serviceWorker;
    const hello = controller && (await greet(controller));
    this.#mismatch = hello && hello.protocol !== PROTOCOL ? mismatch(controller, hello, this.#registration) : undefined;
  }
}

/**
 * Unregisters the workers of crsql-sync that serve this page or pages below it. Pages that are open keep theirs until they
 * are closed. What is stored stays: see {@link wipe}. False when there was none.
 */
export async function unregister(): Promise<boolean> {
  let found = false;
  for (const registration of (await navigator.serviceWorker?.getRegistrations()) ?? []) {
    const worker = registration.active;
    if (worker && (await greet(worker))) found = (await registration.unregister()) || found;
  }
  return found;
}

function controllerChange(): Promise<unknown> {
  return new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
}

function serviceWorkers(): ServiceWorkerContainer {
  if (!globalThis.isSecureContext) {
    throw new SyncError("insecure_context", `Service workers need https or localhost, and this page came from ${location.origin}. Serve it over https, or use \`mode: "server"\` to talk to a server directly.`);
  }
  // Missing in some private windows and in-app browsers too.
  if (!navigator.serviceWorker) {
    throw new SyncError("no_service_worker", 'This window has no service workers. Set `page` to run the core in this page, or use `mode: "server"` to talk to a server directly.');
  }
  return navigator.serviceWorker;
}

async function register(container: ServiceWorkerContainer, options: WorkerOptions): Promise<ServiceWorkerRegistration> {
  const { url, scope, type = "module" } = options;
  // The HTTP cache must not hold an old worker back.
  const init: RegistrationOptions = { type, updateViaCache: "none", ...(scope === undefined ? {} : { scope }) };
  try {
    return await container.register(url, init);
  } catch (cause) {
    const existing = await container.getRegistration(scope ?? new URL(".", new URL(url, location.href)).href);
    // Offline, the browser cannot look for an update. The worker that it has will do.
    if (existing?.active) return existing;
    const message = `The worker at ${url} could not be registered: ${(cause as Error).message} Copy the worker's script and the .wasm file of the package there.`;
    throw new SyncError("worker_failed", message, { cause });
  }
}

async function control(container: ServiceWorkerContainer, registration: ServiceWorkerRegistration, url: string): Promise<ServiceWorker> {
  // The page may be another one's so far, whose scope is wider.
  const isControlled = () => container.controller && (container.controller === registration.active || !location.href.startsWith(registration.scope));
  if (container.controller && isControlled()) return container.controller;
  if (!location.href.startsWith(registration.scope)) {
    throw new SyncError("not_controlled", `The worker serves ${registration.scope}, and this page is not below it. Move the script to a higher folder, or name a \`scope\` and send the header Service-Worker-Allowed.`);
  }
  const changed = new Promise<void>((resolve) => container.addEventListener("controllerchange", () => resolve(), { once: true }));
  const active = await activated(registration, url);
  // It claims the pages of its scope when it is activated. This page may have been opened in between.
  if (!isControlled()) post(active, { type: "crsql-sync:claim" });
  await before(ANSWER_MS, changed);
  if (container.controller) return container.controller;
  throw new SyncError("not_controlled", "The browser keeps this page away from its worker, as it does after a reload with shift. Reload the page normally.");
}

async function activated(registration: ServiceWorkerRegistration, url: string): Promise<ServiceWorker> {
  const worker = registration.active ?? registration.waiting ?? registration.installing;
  const settled = new Promise<boolean>((resolve) => {
    const check = () => {
      if (worker?.state === "activated") resolve(true);
      if (worker?.state === "redundant") resolve(false);
    };
    worker?.addEventListener("statechange", check);
    check();
  });
  if (worker && (await settled)) return worker;
  throw new SyncError("worker_failed", `The worker at ${url} could not be installed: most often its .wasm file was not found. The worker's console says more.`);
}

/** Waits until a worker has been installed, or was given up. */
function installed(worker: ServiceWorker): Promise<void> {
  return new Promise((resolve) => {
    const check = () => {
      if (worker.state !== "installing") resolve();
    };
    worker.addEventListener("statechange", check);
    check();
  });
}

function post(worker: ServiceWorker, message: ToWorker): void {
  worker.postMessage(message);
}

/** Asks a worker who it is; undefined when it is not one of ours. */
async function greet(worker: ServiceWorker): Promise<Hello | undefined> {
  const hello = await ask<Hello>(worker, { type: "crsql-sync:hello" }, ANSWER_MS);
  return hello?.type === "crsql-sync:hello" ? hello : undefined;
}

function releases(worker: ServiceWorker, { version }: Hello): string {
  return `The page has release ${__VERSION__}, the worker at ${worker.scriptURL} has ${version}. Copy the worker's files again (npx crsql-sync init).`;
}

function mismatch(worker: ServiceWorker, hello: Hello, { installing, waiting }: ServiceWorkerRegistration): SyncError {
  const advice = installing || waiting ? "A newer worker is there already: close the other tabs of this site, and reload." : releases(worker, hello);
  return new SyncError("version_mismatch", `Page and worker do not understand each other. ${advice}`);
}
