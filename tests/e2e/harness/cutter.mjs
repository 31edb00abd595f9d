/** A proxy that lets no event stream live longer than some time: as those do that stand before servers, and networks. */

import { once } from "node:events";
import http from "node:http";

export class Cutter {
  #server;
  /** How many event streams were cut. */
  cuts = 0;

  static async start(upstream, ms) {
    const cutter = new Cutter();
    cutter.#server = http.createServer((request, response) => cutter.#pass(upstream, ms, request, response));
    cutter.#server.listen(0, "127.0.0.1");
    await once(cutter.#server, "listening");
    return cutter;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}/`;
  }

  #pass(upstream, ms, request, response) {
    const { method, url: path, headers } = request;
    const onward = http.request(new URL(path, upstream), { method, headers: { ...headers, host: new URL(upstream).host } }, (answer) => {
      answer.pipe(response.writeHead(answer.statusCode, answer.headers));
      answer.on("close", () => answer.complete || response.destroy());
      if (!answer.headers["content-type"]?.startsWith("text/event-stream")) return;
      const timer = setTimeout(() => {
        this.cuts += 1;
        response.destroy();
      }, ms);
      response.on("close", () => clearTimeout(timer));
    });
    onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    response.on("close", () => onward.destroy());
    request.pipe(onward);
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
