/** Requests that come by message. They are answered as those by `fetch` are. */

import type { EngineRequest } from "crsql-sync:glue";
import type { Answer, Question } from "../messages.js";

const encoder = new TextEncoder();

export class Questions {
  readonly #handle: (request: EngineRequest) => Promise<Response>;
  /** Those that are being answered. */
  readonly #open = new Set<number>();

  constructor(handle: (request: EngineRequest) => Promise<Response>) {
    this.#handle = handle;
  }

  has(id: number): boolean {
    return this.#open.has(id);
  }

  async answer(question: Question, port: MessagePort): Promise<void> {
    const givenUp = new AbortController();
    port.onmessage = () => givenUp.abort();
    this.#open.add(question.id);
    try {
      const response = await this.#handle(toRequest(question, givenUp.signal));
      const answer: Answer = { status: response.status, headers: [...response.headers], body: await response.text() };
      port.postMessage(answer);
    } finally {
      this.#open.delete(question.id);
      port.close();
    }
  }
}

/** A `Request` would make a stream of the body, which takes longer to read than a small body does to answer. */
function toRequest({ url, method, headers, body = "" }: Question, signal: AbortSignal): EngineRequest {
  return { url, method, headers: new Headers(headers), signal, body: null, arrayBuffer: async () => encoder.encode(body).buffer };
}
