/**
 * The worst of caches, between a browser and a server: it keeps the first answer to a GET of changes for ever, whatever the
 * server says, gives it to whoever asks that path by whatever query, and tells browsers to keep it too.
 */

import { once } from "node:events";
import http from "node:http";
import { forward } from "./forward.mjs";

const FOR_EVER = "max-age=31536000, immutable";

export class CachingProxy {
  #server;
  /** The requests that came, each as method and path. */
  requests = [];
  /** The answers that are kept, by path. */
  kept = new Map();
  /** How often one of them was given. */
  hits = 0;

  static async start(upstream) {
    const proxy = new CachingProxy();
    proxy.#server = http.createServer((request, response) => proxy.#answer(upstream, request, response));
    proxy.#server.listen(0, "127.0.0.1");
    await once(proxy.#server, "listening");
    return proxy;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/`;
  }

  #answer(upstream, request, response) {
    const { method, url: path } = request;
    const { pathname } = new URL(path, upstream);
    this.requests.push(`${method} ${path}`);
    const kept = method === "GET" && this.kept.get(pathname);
    if (kept) {
      this.hits += 1;
      return response.writeHead(200, kept.headers).end(kept.body);
    }
    const keeps = method === "GET" && pathname.endsWith("/changes");
    forward(upstream, request, response, async (answer) => {
      if (!keeps || answer.statusCode !== 200) return answer.pipe(response.writeHead(answer.statusCode, answer.headers));
      const body = Buffer.concat(await answer.toArray());
      const answered = { ...answer.headers, "cache-control": FOR_EVER };
      this.kept.set(pathname, { headers: answered, body });
      response.writeHead(200, answered).end(body);
    });
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
