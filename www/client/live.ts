/**
 * A query that is run again when a table changes that it reads, or of those that it finds by their keys a row. All who watch
 * the same query share one run. Changes that come while it runs are answered by one more run.
 */

import { sleep } from "../time.js";
import type { ChangeTuple } from "./changes.js";
import { SyncError } from "./errors.js";
import { Listeners, type Stop, type Store } from "./store.js";
import type { Row } from "./values.js";

/** What is known of a live query. */
export interface LiveState<R extends Row = Row> {
  /** The last result; a row that did not change is the same object as before. Undefined until there is one. */
  readonly rows: readonly R[] | undefined;
  /** Why the last run failed, until one succeeds. */
  readonly error: unknown;
}

/** A live query as whoever watches it sees it. */
export interface LiveStore<R extends Row = Row> extends Store<LiveState<R>> {
  /** The same for queries that are the same. */
  readonly key: string;
}

/** What a run gives. */
export interface Run {
  columns: string[];
  rows: unknown[][];
  /** The tables that were read; nothing where changes do not tell. */
  tables?: string[] | null | undefined;
  /** The packed keys of the only rows of these tables that matter; nothing where others may, too. */
  keys?: Record<string, string[]> | undefined;
}

/** How long after a failure it is run again. */
const RETRY_MS = 2_000;
/** How long it lives on after the last one who watched: components come and go in the same moment. */
const LINGER_MS = 500;

/** Nothing is known yet. */
export const UNKNOWN: LiveState<never> = { rows: undefined, error: undefined };

export class LiveQuery {
  readonly #run: (signal: AbortSignal) => Promise<Run>;
  readonly #toRow: (columns: string[], row: unknown[]) => Row;
  readonly #listeners = new Listeners<LiveState>();
  readonly #ended: AbortController;
  readonly #signal: AbortSignal;
  #state: LiveState = UNKNOWN;
  /** The last result: its rows by their JSON. */
  #text: string | undefined;
  #known = new Map<string, Row>();
  /** Nothing until the first answer, and where changes do not tell. */
  #tables: readonly string[] | undefined;
  #keys: Run["keys"];
  #isRunning = false;
  #isStale = false;

  /** `ended` is aborted when nobody watches any more, and stops with `signal`. */
  constructor(ended: AbortController, signal: AbortSignal, run: (signal: AbortSignal) => Promise<Run>, toRow: (columns: string[], row: unknown[]) => Row) {
    this.#ended = ended;
    this.#signal = signal;
    this.#run = run;
    this.#toRow = toRow;
    this.refresh();
  }

  get state(): LiveState {
    return this.#state;
  }

  add(callback: (state: LiveState) => void): Stop {
    return this.#listeners.add(callback, () => {
      setTimeout(() => this.#listeners.size === 0 && this.#ended.abort(), LINGER_MS);
    });
  }

  /** Whether these changes may concern the result; without any, whether some may that nobody tells of. */
  reads(changes: readonly ChangeTuple[] = []): boolean {
    const [tables, keys] = [this.#tables, this.#keys];
    return !tables || changes.some(([table, pk]) => (keys ? keys[table]?.includes(pk) : tables.includes(table)));
  }

  /** Runs it as soon as possible. */
  refresh(): void {
    this.#isStale = true;
    if (!this.#isRunning) void this.#loop();
  }

  async #loop(): Promise<void> {
    const signal = this.#signal;
    this.#isRunning = true;
    while (this.#isStale && !signal.aborted) {
      this.#isStale = false;
      // This run may look at other rows than the last one did.
      this.#keys = undefined;
      try {
        const run = await this.#run(signal);
        if (!signal.aborted) this.#take(run);
      } catch (error) {
        if (signal.aborted) break;
        this.#publish({ rows: this.#state.rows, error });
        // What is wrong with the query stays wrong. All else may pass, and no change need come to say so.
        if (error instanceof SyncError && error.status !== undefined && error.status < 500) break;
        this.#isStale = true;
        await sleep(RETRY_MS, signal).catch(() => {});
      }
    }
    this.#isRunning = false;
  }

  #take({ columns, rows, tables, keys }: Run): void {
    this.#tables = tables ?? undefined;
    this.#keys = keys;
    const texts = rows.map((row) => JSON.stringify(row));
    const text = JSON.stringify(columns) + texts.join();
    if (text === this.#text && this.#state.error === undefined) return;
    this.#text = text;
    const head = columns.join();
    const known = new Map<string, Row>();
    const objects = rows.map((row, at) => {
      const key = head + texts[at];
      const object = this.#known.get(key) ?? this.#toRow(columns, row);
      known.set(key, object);
      return object;
    });
    this.#known = known;
    this.#publish({ rows: objects, error: undefined });
  }

  #publish(state: LiveState): void {
    this.#state = state;
    this.#listeners.tell(state);
  }
}

