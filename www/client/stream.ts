/**
 * The event stream, for as long as somebody wants it. A stream may break at any time, by the browser's will or by the
 * network's. So it always goes on from its cursor, which is in the URL: a worker does not see `Last-Event-ID`.
 */

import { before, sleep } from "../time.js";
import { SyncError } from "./errors.js";
import type { Host } from "./host.js";
import type { Http } from "./http.js";
import { EventParser, type ServerEvent } from "./sse.js";

/** The other side sends a comment every 15 s; two in a row may be late. */
const SILENCE_MS = 40_000;
const FIRST_DELAY_MS = 100;
const LONGEST_DELAY_MS = 10_000;
/** What is answered when the cursor speaks of a database that is not there any more. */
const GONE = ["cursor_ahead", "cursor_unknown", "not_found"];
/** How long a worker that closed its streams has to be replaced. */
const TAKEOVER_MS = 1_000;

export interface StreamHandlers {
  /** A batch of changes, as JSON. */
  batch(json: string): void;
  /** The stream stands. */
  opened(): void;
  /** Rows left the copy, of which no change tells. */
  forgotten(): void;
  /** What came before is void: the database is another one than the cursor spoke of. Returns where to begin. */
  reset(): Promise<string>;
}

export class EventStream {
  readonly #http: Http;
  readonly #handlers: StreamHandlers;
  readonly #closed = new AbortController();
  #cursor: string;
  /** Ends the current connection or wait. */
  #interrupt = new AbortController();

  constructor(cursor: string, http: Http, host: Host, handlers: StreamHandlers) {
    this.#cursor = cursor;
    this.#http = http;
    this.#handlers = handlers;
    const { signal } = this.#closed;
    const again = () => this.#interrupt.abort();
    addEventListener("online", again, { signal });
    host.onRestart(again, signal);
    void this.#run();
  }

  /** Where it stands. */
  get cursor(): string {
    return this.#cursor;
  }

  close(): void {
    this.#closed.abort();
    this.#interrupt.abort();
  }

  async #run(): Promise<void> {
    for (let delay = FIRST_DELAY_MS; !this.#closed.signal.aborted; ) {
      this.#interrupt = new AbortController();
      try {
        const end = await this.#follow(() => (delay = FIRST_DELAY_MS));
        if (end === "drained") await sleep(TAKEOVER_MS, this.#interrupt.signal);
      } catch (error) {
        // Interrupted: there is news, so no wait.
        if (this.#interrupt.signal.aborted) continue;
        if (error instanceof SyncError && GONE.includes(error.code)) {
          this.#cursor = await this.#handlers.reset().catch(() => this.#cursor);
        }
      }
      // All tabs are thrown off at once; they shall not all come back at once.
      await sleep(delay * (0.5 + Math.random() / 2), this.#interrupt.signal).catch(() => {});
      delay = Math.min(delay * 2, LONGEST_DELAY_MS);
    }
  }

  /** One connection, until it ends. Throws when it breaks. */
  async #follow(lives: () => void): Promise<"ended" | "drained"> {
    const { signal } = this.#interrupt;
    const { body } = await this.#http.open({ path: "/events", query: { since: this.#cursor }, signal }, "text/event-stream");
    const reader = body.getReader();
    this.#handlers.opened();
    const parser = new EventParser();
    // A stream of this very page does not end with the request.
    const cancel = () => void reader.cancel().catch(() => {});
    signal.addEventListener("abort", cancel);
    try {
      for (;;) {
        // A stream that breaks without a word would be waited for for ever.
        const read = await before(SILENCE_MS, reader.read());
        if (!read) throw new SyncError("unreachable", "The event stream fell silent.");
        if (read.done) return "ended";
        lives();
        for (const event of parser.push(read.value)) {
          if (event.event === "drain") return "drained";
          this.#take(event);
        }
      }
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }

  #take({ event, data, id }: ServerEvent): void {
    if (event === "batch") {
      this.#handlers.batch(data);
      // Only after the batch was taken: a cursor must not run ahead of what was seen.
      if (id) this.#cursor = id;
    } else if (event === "forgotten") {
      this.#handlers.forgotten();
    } else if (event === "problem") {
      const problem = JSON.parse(data) as { code?: string; detail?: string; title?: string };
      throw new SyncError(problem.code ?? "internal", problem.detail ?? problem.title ?? "The stream failed.", { problem });
    }
  }
}
