/**
 * Requests by message, which takes a tenth of the time of a `fetch` to a worker: benches/README.md has the figures.
 *
 * They go by a port that stays open, a *line*. Browsers do not count what comes by a port as work of the worker, and stop one for
 * which nothing else came in half a minute; so a line takes no new questions after ten seconds, and the message to the worker
 * itself that opens the next one does count.
 *
 * Browsers send a `fetch` again whose worker died. Of a message nobody hears, so a worker that takes long is asked whether it
 * has the line: another one, started since, has not. Then its questions are to be asked in another way.
 */

import { ask } from "../ask.js";
import type { Answer, Question } from "../messages.js";
import { sleep } from "../time.js";

/** What is asked by `fetch`. */
export interface Fetching {
  method: string;
  headers: Headers;
  body?: string | Blob | ReadableStream;
  /** Of a body that is a stream. */
  duplex?: "half";
  signal: AbortSignal | null;
}

/** What {@link Line.ask} takes, too. */
export interface Asking extends Fetching {
  body?: string;
}

/** What is read of an answer; one that came by message is no `Response`, which takes longer to make and to read than it took to come. */
export type Reply = Pick<Response, "status" | "headers" | "url" | "text"> & Partial<Pick<Response, "body">>;

/** How long a worker may take before it is asked, and how long it may take to say whether it has a line. */
const PATIENCE_MS = 100;
const ANSWER_MS = 10_000;
/** How long a line takes new questions. */
const RENEW_MS = 10_000;

/** A port to one instance of a worker that stays open. */
export class Line {
  readonly #line = Math.random();
  readonly #worker: ServiceWorker;
  readonly #port: MessagePort;
  #until = performance.now() + RENEW_MS;
  /** What waits for an answer, or to hear that there will be none. */
  readonly #open = new Map<number, (answer?: Answer) => void>();
  #asked = 0;

  constructor(worker: ServiceWorker) {
    const { port1, port2 } = new MessageChannel();
    this.#worker = worker;
    this.#port = port1;
    port1.onmessage = ({ data }: MessageEvent<Answer>) => this.#open.get(data.id)?.(data);
    // Chromium tells at once when the worker is gone.
    port1.addEventListener("close", () => this.lose());
    worker.postMessage({ type: "crsql-sync:line", line: this.#line }, [port2]);
    void this.#watch();
  }

  /** Whether it takes new questions to that worker. */
  serves(worker: ServiceWorker): boolean {
    return worker === this.#worker && this.#isYoung();
  }

  /** The answer to a request, whole. Undefined where there will be none; then the request may have been carried out. */
  async ask(url: URL, { signal, headers, ...asking }: Asking): Promise<Reply | undefined> {
    const question: Question = { id: this.#asked++, url: url.href, headers: [...headers], ...asking };
    let giveUp = () => {};
    const answered = new Promise<Answer | undefined>((resolve, reject) => {
      this.#open.set(question.id, resolve);
      signal?.addEventListener("abort", (giveUp = () => reject(signal.reason)));
    });
    try {
      this.#port.postMessage(question);
      const answer = await answered;
      if (!answer?.status) return undefined;
      return { status: answer.status, headers: new Headers(answer.headers), url: url.href, text: async () => answer.body };
    } finally {
      signal?.removeEventListener("abort", giveUp);
      this.#open.delete(question.id);
    }
  }

  /** The worker is gone, or nobody asks it any more. */
  lose(): void {
    this.#until = 0;
    for (const resolve of this.#open.values()) resolve();
  }

  /** Asks the worker where something waits for long, and closes the port at the end. */
  async #watch(): Promise<void> {
    for (let before: number | undefined; this.#isYoung() || this.#open.size > 0; ) {
      await sleep(PATIENCE_MS);
      const [oldest] = this.#open.keys();
      if (oldest !== undefined && oldest === before) {
        if (!(await ask<boolean>(this.#worker, { type: "crsql-sync:knows", line: this.#line }, ANSWER_MS))) this.lose();
      }
      before = oldest;
    }
    this.#port.close();
  }

  #isYoung(): boolean {
    return performance.now() < this.#until;
  }
}
