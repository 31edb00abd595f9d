/**
 * The wasm file: fetched once when the worker is installed, kept in the Cache API, compiled at most once in a worker's
 * life. Its URL contains a hash of its content. So a new build is a new URL, and what is cached is never out of date.
 */

declare const self: ServiceWorkerGlobalScope;

const CACHE_PREFIX = "crsql-sync:";
const WASM_MAGIC = [0x00, 0x61, 0x73, 0x6d];

export class WasmFile {
  readonly #url: URL;
  #compiled: Promise<WebAssembly.Module> | undefined;

  constructor(url: URL) {
    this.#url = url;
  }

  /** The last part of its path. */
  get name(): string {
    return this.#url.pathname.slice(this.#url.pathname.lastIndexOf("/") + 1);
  }

  /** Downloads it, so that later starts need no network. Fails, and with it the installation, if that is not it. */
  async install(): Promise<void> {
    const cache = await caches.open(this.#cacheName());
    if (await cache.match(this.#url)) return;
    const response = await fetch(this.#url);
    await assertWasm(response, this.#url);
    await cache.put(this.#url, response);
  }

  /** Deletes the files of earlier builds. Those of workers with another scope are not ours to delete. */
  async deleteOlder(): Promise<void> {
    const mine = CACHE_PREFIX + self.registration.scope + " ";
    const current = this.#cacheName();
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name.startsWith(mine) && name !== current).map((name) => caches.delete(name)));
  }

  /** The compiled module. After a failure the next call tries again. */
  compile(): Promise<WebAssembly.Module> {
    const compiled = (this.#compiled ??= this.#load());
    compiled.catch(() => {
      if (this.#compiled === compiled) this.#compiled = undefined;
    });
    return compiled;
  }

  async #load(): Promise<WebAssembly.Module> {
    let response = await caches.match(this.#url, { cacheName: this.#cacheName() });
    if (!response) {
      // Browsers may evict a cache.
      await this.install();
      response = (await caches.match(this.#url, { cacheName: this.#cacheName() })) ?? (await fetch(this.#url));
    }
    if (response.headers.get("content-type") === "application/wasm") return WebAssembly.compileStreaming(response);
    return WebAssembly.compile(await response.arrayBuffer());
  }

  #cacheName(): string {
    return `${CACHE_PREFIX}${self.registration.scope} ${this.name}`;
  }
}

/** Many servers answer a wrong path with 200 and a page of HTML, which must not get into the cache. */
async function assertWasm(response: Response, url: URL): Promise<void> {
  const where = `crsql-sync: ${url} `;
  const advice = ". Copy the .wasm file of the package beside the worker, or name its place with `wasmUrl`.";
  if (!response.ok) throw new TypeError(`${where}answered ${response.status}${advice}`);
  const start = new Uint8Array(await response.clone().arrayBuffer(), 0, WASM_MAGIC.length);
  if (!WASM_MAGIC.every((byte, at) => start[at] === byte)) throw new TypeError(`${where}is not a wasm file${advice}`);
}
