/** Requests that come by message. They are answered as those by `fetch` are. */

import type { Answer, Question } from "../messages.js";

export class Questions {
  readonly #handle: (request: Request) => Promise<Response>;
  /** Those that are being answered. */
  readonly #open = new Set<number>();

  constructor(handle: (request: Request) => Promise<Response>) {
    this.#handle = handle;
  }

  has(id: number): boolean {
    return this.#open.has(id);
  }

  /** Never rejects: the answer tells of what fails. */
  async answer({ id, url, ...init }: Question, port: MessagePort): Promise<void> {
    const givenUp = new AbortController();
    port.onmessage = () => givenUp.abort();
    this.#open.add(id);
    try {
      const response = await this.#handle(new Request(url, { ...init, signal: givenUp.signal }));
      const answer: Answer = { status: response.status, headers: [...response.headers], body: await response.text() };
      port.postMessage(answer);
    } finally {
      this.#open.delete(id);
      port.close();
    }
  }
}
