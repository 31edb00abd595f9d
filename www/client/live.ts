/** A query that is run again after every change. Changes that come while it runs are answered by one more run. */

import { SyncError } from "./errors.js";
import { sleep } from "./http.js";

/** How long after a failure it is run again. */
const RETRY_MS = 2_000;

export interface LiveQueryHandlers<T> {
  /** Runs the query. */
  run(signal: AbortSignal): Promise<T>;
  /** Takes what is another result than the one before. */
  show(result: T): void;
  failed(error: unknown): void;
}

export class LiveQuery<T> {
  readonly #handlers: LiveQueryHandlers<T>;
  readonly #signal: AbortSignal;
  #shown: string | undefined;
  #isRunning = false;
  #isStale = false;

  constructor(signal: AbortSignal, handlers: LiveQueryHandlers<T>) {
    this.#signal = signal;
    this.#handlers = handlers;
    this.refresh();
  }

  /** Runs it as soon as possible. */
  refresh(): void {
    this.#isStale = true;
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#isStale && !this.#signal.aborted) {
      this.#isStale = false;
      try {
        this.#take(await this.#handlers.run(this.#signal));
      } catch (error) {
        if (this.#signal.aborted) break;
        this.#handlers.failed(error);
        // What is wrong with the query stays wrong. All else may pass, and no change need come to say so.
        if (error instanceof SyncError && error.status !== undefined && error.status < 500) break;
        this.#isStale = true;
        await sleep(RETRY_MS, this.#signal).catch(() => {});
      }
    }
    this.#isRunning = false;
  }

  #take(result: T): void {
    const text = JSON.stringify(result);
    if (text === this.#shown || this.#signal.aborted) return;
    this.#shown = text;
    try {
      this.#handlers.show(result);
    } catch (error) {
      // The page's mistake is not the query's.
      reportError(error);
    }
  }
}
