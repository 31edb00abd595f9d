/** A proxy that lets no event stream live longer than some time: as those do that stand before servers, and networks. */

import { once } from "node:events";
import http from "node:http";
import { forward } from "./forward.mjs";

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
    forward(upstream, request, response, (answer) => {
      answer.pipe(response.writeHead(answer.statusCode, answer.headers));
      if (!answer.headers["content-type"]?.startsWith("text/event-stream")) return;
      const timer = setTimeout(() => {
        this.cuts += 1;
        response.destroy();
      }, ms);
      response.on("close", () => clearTimeout(timer));
    });
  }

  close() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
