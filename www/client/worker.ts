/** The worker as a page sees it: registered, in control of this page, known by its release, updated on request. */

import type { Hello, ToWorker } from "../messages.js";
import { SyncError } from "./errors.js";

/** Where the worker's script is, and how far it reaches. */
export interface WorkerOptions {
  url: string;
  /** The paths whose pages it serves; the script's folder unless given. */
  scope?: string;
  /** `classic` for browsers without module workers (Firefox before 147) and the script built for them. */
  type?: "module" | "classic";
}

const ANSWER_MS = 10_000;

export class Worker {
  readonly registration: ServiceWorkerRegistration;
  /** Which worker answered when the page was opened. */
  readonly hello: Hello;

  private constructor(registration: ServiceWorkerRegistration, hello: Hello) {
    this.registration = registration;
    this.hello = hello;
  }

  /** Registers the worker if need be, and waits until this page's requests go to it. */
  static async connect(options: WorkerOptions): Promise<Worker> {
    const container = serviceWorkers();
    const registration = await register(container, options);
    const controller = await control(container, registration, options.url);
    const hello = await ask<Hello>(controller, { type: "crsql-sync:hello" });
    if (hello?.type === "crsql-sync:hello") {
      // While an update is under way they differ for a moment.
      if (hello.version !== __VERSION__ && !registration.installing && !registration.waiting) {
        console.warn(`crsql-sync: the page has release ${__VERSION__}, the worker at ${controller.scriptURL} has ${hello.version}. Copy the worker's file again.`);
      }
      return new Worker(registration, hello);
    }
    const message = `The worker that controls this page (${controller.scriptURL}) is not one of crsql-sync. Call installSyncWorker() in it, or give this one a scope of its own.`;
    throw new SyncError("worker_foreign", message);
  }

  /** Calls back when a newer worker waits to take over; at once if one does already. */
  onUpdate(callback: () => void, signal: AbortSignal): void {
    const { registration } = this;
    if (registration.waiting) callback();
    const installing = () => {
      const worker = registration.installing;
      const changed = () => {
        // Without an older worker the new one does not wait.
        if (worker?.state === "installed" && registration.active) callback();
      };
      worker?.addEventListener("statechange", changed, { signal });
    };
    installing();
    registration.addEventListener("updatefound", installing, { signal });
  }

  /**
   * Lets a waiting worker take over, and resolves when it has. The old one closes its streams first: browsers keep a
   * worker for five minutes while it has one open. One that is still being installed is waited for. False when there
   * is none.
   */
  async applyUpdate(): Promise<boolean> {
    const { installing, active } = this.registration;
    if (installing && active) await installed(installing);
    const { waiting } = this.registration;
    if (!waiting) return false;
    const taken = new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
    if (active) await ask(active, { type: "crsql-sync:drain" });
    post(waiting, { type: "crsql-sync:activate" });
    if ((await before(ANSWER_MS, taken)) === undefined) {
      throw new SyncError("worker_failed", "The new worker did not take over. Close the other tabs of this site, or try again.");
    }
    return true;
  }

  /** Makes the worker try its upstream again. */
  wake(): void {
    if (this.registration.active) post(this.registration.active, { type: "crsql-sync:wake" });
  }
}

function serviceWorkers(): ServiceWorkerContainer {
  if (!globalThis.isSecureContext) {
    throw new SyncError("insecure_context", `Service workers need https or localhost, and this page came from ${location.origin}. Serve it over https, or pass \`worker: false\` to talk to a server directly.`);
  }
  // Missing in some private windows and in-app browsers too.
  if (!navigator.serviceWorker) {
    throw new SyncError("no_service_worker", "This window has no service workers. Use another browser or leave the private window, or pass `worker: false` to talk to a server directly.");
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
  if (container.controller) return container.controller;
  if (!location.href.startsWith(registration.scope)) {
    throw new SyncError("not_controlled", `The worker serves ${registration.scope}, and this page is not below it. Move the script to a higher folder, or name a \`scope\` and send the header Service-Worker-Allowed.`);
  }
  const changed = new Promise<void>((resolve) => container.addEventListener("controllerchange", () => resolve(), { once: true }));
  const active = await activated(registration, url);
  // It claims the pages of its scope when it is activated. This page may have been opened in between.
  if (!container.controller) post(active, { type: "crsql-sync:claim" });
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
  throw new SyncError("worker_failed", `The worker at ${url} could not be installed: most often its .wasm file was not found. The console of the worker says more.`);
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

function post(worker: ServiceWorker, message: ToWorker, ports: MessagePort[] = []): void {
  worker.postMessage(message, ports);
}

/** Sends a message and waits for the answer; undefined when none comes. */
function ask<T>(worker: ServiceWorker, message: ToWorker): Promise<T | undefined> {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise<T>((resolve) => (port1.onmessage = (event: MessageEvent<T>) => resolve(event.data)));
  post(worker, message, [port2]);
  return before(ANSWER_MS, answer).finally(() => port1.close());
}

/** What a promise gives, or undefined if it takes too long. */
async function before<T>(ms: number, promise: Promise<T>): Promise<T | undefined> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => (timer = setTimeout(resolve, ms)));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
