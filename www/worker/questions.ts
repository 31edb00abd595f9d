/** Requests that come by message. They are answered as those by `fetch` are. */

import type { Answer, Question } from "../messages.js";

export class Questions {
  readonly #ask: (question: Question) => Promise<Omit<Answer, "id">>;
  readonly #lines = new Set<number>();
  /** The answers that are being made. */
  readonly #open = new Set<Promise<void>>();

  constructor(ask: (question: Question) => Promise<Omit<Answer, "id">>) {
    this.#ask = ask;
  }

  /** Answers what comes by a line. */
  attend(line: number, port: MessagePort): void {
    this.#lines.add(line);
    port.onmessage = ({ data }: MessageEvent<Question>) => {
      const answered = this.#answer(data, port).finally(() => this.#open.delete(answered));
      this.#open.add(answered);
    };
  }

  knows(line: number): boolean {
    return this.#lines.has(line);
  }

  /** Resolves when all that was asked until now is answered. */
  settled(): Promise<unknown> {
    return Promise.allSettled(this.#open);
  }

  async #answer(question: Question, port: MessagePort): Promise<void> {
    const answer: Answer = { id: question.id, ...(await this.#ask(question)) };
    port.postMessage(answer);
  }
}
