/**
 * The service worker's half: answers the requests under one path from the database in this browser, and leaves every
 * other request alone.
 *
 * To be called while the worker's script runs for the first time, since browsers take listeners only then:
 *
 *     import { installSyncWorker } from "crsql-sync/worker";
 *     installSyncWorker({ upstream: "/sync" });
 *
 * @module
 */

import type { Authorize, SyncWorkerConfig as EngineConfig, UpstreamHeaders } from "crsql-sync:engine";
import { engineConfig, normalizePrefix } from "./engine/config.js";
import { Engine } from "./engine/engine.js";
import { type Done, type FromWorker, type Hello, PROTOCOL, SYNC_TAG, type ToWorker } from "./messages.js";
import { sleep } from "./time.js";
import { Questions } from "./worker/questions.js";
import { WasmFile } from "./worker/wasm.js";
import { askPages } from "./worker/who.js";

export type { Authorize, Bounds, Credentials, Limits, Operation, UpstreamHeaders, UpstreamRequest, Verdict } from "crsql-sync:engine";

declare const self: ServiceWorkerGlobalScope;

/** Settings of the worker. All have defaults; without `upstream` the data stays in this browser. */
export interface SyncWorkerConfig extends Omit<EngineConfig, "upstreamHeaders"> {
  /** The same routes on a server, as a URL that ends with its prefix. May be relative to the worker's own. */
  upstream?: string | null;
  /** Says who asks the upstream. `"page"` asks the open pages, for the `auth` that they were connected with. */
  upstreamHeaders?: UpstreamHeaders | "page";
  /** Called before each operation; says whether it may be done. Without it every page of the origin may do all. */
  authorize?: Authorize;
  /** Where the wasm file lies; beside this module unless given. Its name has to change with its content. */
  wasmUrl?: string | URL;
}

/**
 * Where this module lies. Bundlers take `new URL("…", import.meta.url)` for a file of theirs, and many would put it into the
 * worker's script, where it cannot be cached apart.
 */
const HERE = import.meta.url.toString();

/** How long a background `sync` event is kept open, for the upstream to be reached. Browsers allow some minutes. */
const BACKGROUND_SYNC_MS = 20_000;

/** Adds the listeners. They do no more than decide; the engine starts with the first request that is ours. */
export function installSyncWorker(config: SyncWorkerConfig = {}): void {
  const { authorize, wasmUrl, upstreamHeaders, ...rest } = config;
  const asks = upstreamHeaders === "page";
  const identity = asks ? askPages : upstreamHeaders;
  const prefix = normalizePrefix(config.prefix ?? "/sync");
  const wasm = new WasmFile(new URL(wasmUrl ?? new URL(__WASM_FILE__, HERE), self.location.href));
  const engine = new Engine(wasm, engineConfig({ ...rest, ...(identity ? { upstreamHeaders: identity } : {}) }, prefix), authorize, () => void tellPages({ type: "crsql-sync:restarted" }));
  let backgroundSync: Promise<void> | undefined;

  /** Written without a network, and the tab may be closed before it is back: the browser calls us then. */
  const note = ({ method }: { method: string }) => {
    if (config.upstream != null && isWrite(method) && !navigator.onLine) backgroundSync ??= registerBackgroundSync();
  };
  const questions = new Questions((question) => {
    note(question);
    return engine.ask(question);
  });

  self.addEventListener("install", (event) => event.waitUntil(wasm.install()));

  self.addEventListener("activate", (event) => {
    event.waitUntil(Promise.all([wasm.deleteOlder(), self.clients.claim()]));
  });

  self.addEventListener("fetch", (event) => {
    const { request } = event;
    if (!isOurs(request, prefix)) return;
    note(request);
    event.respondWith(engine.handle(request));
  });

  self.addEventListener("message", (event) => {
    const message = event.data as ToWorker | undefined;
    const [port] = event.ports;
    const reply = (answer: Hello | Done | boolean) => port?.postMessage(answer);
    switch (message?.type) {
      case "crsql-sync:hello":
        return reply({ type: "crsql-sync:hello", protocol: PROTOCOL, version: __VERSION__, wasm: wasm.name, started: performance.timeOrigin, prefix, asks });
      case "crsql-sync:drain":
        engine.drain();
        event.waitUntil(
          tellPages({ type: "crsql-sync:hold" })
            .then(() => questions.settled())
            .then(() => reply({ type: "crsql-sync:done" })),
        );
        return;
      case "crsql-sync:wake":
        return event.waitUntil(engine.wake());
      case "crsql-sync:activate":
        return event.waitUntil(self.skipWaiting());
      case "crsql-sync:claim":
        return event.waitUntil(self.clients.claim());
      case "crsql-sync:line":
        if (port) questions.attend(message.line, port);
        return;
      case "crsql-sync:knows":
        reply(questions.knows(message.line));
        // What takes long has the browser keep the worker.
        return event.waitUntil(questions.settled());
    }
  });

  self.addEventListener("sync", (event) => {
    if (event.tag !== SYNC_TAG) return;
    backgroundSync = undefined;
    event.waitUntil(engine.wake().then(() => sleep(BACKGROUND_SYNC_MS)));
  });

  self.addEventListener("error", (event) => engine.onUncaught(event.error));
  self.addEventListener("unhandledrejection", (event) => engine.onUncaught(event.reason));
}

/**
 * Whether a request is for us. Has to be decided at once: a request that is not ours must go on as if we were not there.
 * `only-if-cached` comes from developer tools and cannot be answered unless it is of mode `same-origin`.
 */
function isOurs(request: Request, prefix: string): boolean {
  if (request.mode === "navigate") return false;
  if (request.cache === "only-if-cached" && request.mode !== "same-origin") return false;
  const url = new URL(request.url);
  return url.origin === self.location.origin && (url.pathname + "/").startsWith(prefix + "/");
}

function isWrite(method: string): boolean {
  return method !== "GET" && method !== "HEAD";
}

/** Only Chromium has background sync, and a user may have turned it off: it is an addition, not a promise. */
async function registerBackgroundSync(): Promise<void> {
  try {
    await self.registration.sync?.register(SYNC_TAG);
  } catch {
    // Not allowed here.
  }
}

async function tellPages(message: FromWorker): Promise<void> {
  for (const client of await self.clients.matchAll({ includeUncontrolled: true })) client.postMessage(message);
}

interface SyncEvent extends ExtendableEvent {
  readonly tag: string;
}

declare global {
  interface ServiceWorkerGlobalScopeEventMap {
    sync: SyncEvent;
  }
  interface ServiceWorkerRegistration {
    readonly sync?: { register(tag: string): Promise<void> };
  }
}
