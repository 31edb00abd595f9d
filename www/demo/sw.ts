/**
 * The demo's worker: the database under /sync, and the files of the page itself, so that it opens without a server.
 *
 * The second part is the application's own affair; the library intercepts nothing but its prefix. It shows how the two
 * live in one worker: each listener answers its own requests and leaves the others alone.
 */

import { installSyncWorker } from "../worker.js";

declare const self: ServiceWorkerGlobalScope;

// Two people on one page have a worker each, and a storage of their own.
const storage = new URL(self.location.href).searchParams.get("storage");
installSyncWorker({ prefix: "/sync", upstream: "/sync", ...(storage ? { storage } : {}) });

/** One cache for each build: a shell of mixed releases is worse than an old one. */
const CACHE_PREFIX = "demo-shell:";
const CACHE = CACHE_PREFIX + __BUILD__;

self.addEventListener("install", (event) => {
  // Past the HTTP cache, which may still hold files of another build under the same name.
  const files = __SHELL__.map((path) => new Request(path, { cache: "reload" }));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(files)));
});

self.addEventListener("activate", (event) => event.waitUntil(deleteOlderShells()));

self.addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== self.location.origin || !__SHELL__.includes(pathname)) return;
  event.respondWith(fromShell(event.request, pathname));
});

async function fromShell(request: Request, pathname: string): Promise<Response> {
  return (await caches.match(pathname, { cacheName: CACHE })) ?? fetch(request);
}

async function deleteOlderShells(): Promise<void> {
  const older = (await caches.keys()).filter((name) => name.startsWith(CACHE_PREFIX) && name !== CACHE);
  await Promise.all(older.map((name) => caches.delete(name)));
}
