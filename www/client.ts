/**
 * The page's half: a database of this browser, behind `fetch`.
 *
 *     import { createClient } from "crsql-sync";
 *
 *     const db = await createClient({ url: "/sync", dbid: "shopping", schema, worker: "/sw.js" });
 *     await db.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [crypto.randomUUID(), "milk"]);
 *     db.liveQuery("SELECT * FROM todo ORDER BY created", [], (rows) => render(rows));
 *
 * A promise that resolves means that the write is on disk. A promise that rejects, rejects with a {@link SyncError},
 * and nothing was changed, unless its code is `answer_lost`: then the write may have happened. A write is done once,
 * however often it had to be asked for.
 *
 * @module
 */

import { type Batch, parseBatch } from "./client/batch.js";
import { SyncError } from "./client/errors.js";
import { type Call, call } from "./client/http.js";
import { LiveQuery } from "./client/live.js";
import { Worker, type WorkerOptions } from "./client/registration.js";
import { type Status, StatusWatch } from "./client/status.js";
import { EventStream } from "./client/stream.js";
import { type Input, type Row, type Value, decode, encode } from "./client/values.js";

export type { Batch, Change } from "./client/batch.js";
export { type ClientErrorCode, type Problem, SyncError, type SyncErrorDetails } from "./client/errors.js";
export type { WorkerOptions } from "./client/registration.js";
export type { LinkState, Status } from "./client/status.js";
export { type Input, Real, type Row, type Value, real } from "./client/values.js";

/** Which database, and who serves it. */
export interface ClientOptions {
  /** Where the databases are served: the worker's prefix. `/sync` unless given. */
  url?: string;
  /** The name of the database. */
  dbid: string;
  /** Its schema: CREATE statements and `SELECT crsql_as_crr(…)`. Created if it is not there. */
  schema: string;
  /** The worker's script; `/sw.js` unless given. `false` talks to the server at `url` without a worker. */
  worker?: string | WorkerOptions | false;
  /** Headers for every request, such as `Authorization`. Asked again each time. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>;
  /** Ends the start and later everything else. */
  signal?: AbortSignal;
}

/** For a call that shall be given up. */
export interface CallOptions {
  signal?: AbortSignal;
}

/** What one statement gave. */
export interface Result<R extends Row = Row> {
  columns: string[];
  rows: R[];
  /** Rows that were inserted, updated or deleted. */
  changes: number;
}

/** A statement of a {@link Client.batch}: SQL alone, or with its parameters. */
export type Statement = string | readonly [sql: string, params?: readonly Input[]];

interface ResultJson {
  columns: string[];
  rows: unknown[][];
  changes: number;
}

/** Registers the worker, waits until it serves this page, and opens the database, which is created if it is not there. */
export async function createClient(options: ClientOptions): Promise<Client> {
  const { worker = "/sw.js", signal } = options;
  const connected = worker === false ? undefined : await Worker.connect(typeof worker === "string" ? { url: worker } : worker);
  signal?.throwIfAborted();
  const client = new Client(options, connected);
  await client.create(signal ? { signal } : {});
  return client;
}

/** An open database. Made by {@link createClient}. */
export class Client {
  /** The name of the database. */
  readonly dbid: string;
  readonly #base: URL;
  readonly #schema: string;
  readonly #headers: () => Promise<Record<string, string>>;
  readonly #worker: Worker | undefined;
  readonly #closed = new AbortController();
  readonly #subscribers = new Set<(batch: Batch | null) => void>();
  readonly #status = new StatusWatch(() => this.status());
  #stream: EventStream | undefined;
  /** This copy's cursor when the database was opened. */
  #at = "0";

  /** @internal */
  constructor(options: ClientOptions, worker: Worker | undefined) {
    const { url = "/sync", dbid, schema, headers } = options;
    this.dbid = dbid;
    this.#base = new URL(`${url.replace(/\/+$/, "")}/${encodeURIComponent(dbid)}`, location.href);
    this.#schema = schema;
    this.#headers = async () => (await headers?.()) ?? {};
    this.#worker = worker;
    const { signal } = this.#closed;
    addEventListener("online", () => this.wake(), { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.wake(), { signal });
    options.signal?.addEventListener("abort", () => this.close(), { signal });
  }

  /** Creates the database if it is not there. {@link createClient} has done so. */
  async create(options: CallOptions = {}): Promise<void> {
    const { at } = await this.#call<{ at: string }>("PUT", "", { body: { schema: this.#schema }, idempotent: true, ...options });
    this.#at = at;
  }

  /** Runs one statement that writes. Resolves when it is on disk. */
  async exec(sql: string, params: readonly Input[] = [], options: CallOptions = {}): Promise<Result> {
    return first(await this.batch([[sql, params]], options));
  }

  /** Runs one statement and returns its rows, by the names of the columns. */
  async query<R extends Row = Row>(sql: string, params: readonly Input[] = [], options: CallOptions = {}): Promise<R[]> {
    return first(await this.batch<R>([[sql, params]], options)).rows;
  }

  /** Runs statements as one transaction: all of them, or none. */
  async batch<R extends Row = Row>(statements: readonly Statement[], options: CallOptions = {}): Promise<Result<R>[]> {
    const list = statements.map((statement) => (typeof statement === "string" ? [statement] as const : statement));
    const body = list.map(([sql, params = []]) => ({ sql, params: params.map(encode) }));
    const writes = !list.every(([sql]) => isRead(sql));
    // Under its key a write is done once, however often it is asked for: by us when an answer broke off, or by the
    // browser, which sends a request again when the worker dies that was answering it.
    const key = writes ? globalThis.crypto?.randomUUID?.() : undefined;
    const headers = key ? { "idempotency-key": key } : undefined;
    const call_ = { body, headers, idempotent: !writes || key !== undefined, writes };
    const { results } = await this.#call<{ results: ResultJson[] }>("POST", "/sql", { ...call_, ...options });
    if (writes) this.#status.refresh();
    return results.map(toResult<R>);
  }

  /**
   * Runs a query, and again after every change; `callback` gets the rows when they are others than before. The query may
   * only read. Returns a function that ends it.
   */
  liveQuery<R extends Row = Row>(
    sql: string,
    params: readonly Input[],
    callback: (rows: R[]) => void,
    options: CallOptions & { onError?: (error: unknown) => void } = {},
  ): () => void {
    const body = { sql, params: params.map(encode) };
    const stopped = new AbortController();
    const signal = AbortSignal.any([stopped.signal, this.#closed.signal, ...(options.signal ? [options.signal] : [])]);
    const query = new LiveQuery<ResultJson>(signal, {
      run: async (signal) => {
        const { results } = await this.#call<{ results: ResultJson[] }>("POST", "/sql", { body, idempotent: true, signal });
        return first(results);
      },
      show: (result) => callback(toResult<R>(result).rows),
      failed: options.onError ?? reportError,
    });
    signal.addEventListener("abort", this.#subscribe(() => query.refresh()), { once: true });
    return () => stopped.abort();
  }

  /** Tells of every batch of changes, whoever wrote them, from the opening of the database on. Returns a function that ends it. */
  subscribe(callback: (batch: Batch) => void, options: CallOptions = {}): () => void {
    const stop = this.#subscribe((batch) => batch && callback(batch));
    options.signal?.addEventListener("abort", stop, { once: true });
    return stop;
  }

  /** What the database says about itself. */
  status(options: CallOptions = {}): Promise<Status> {
    return this.#call<Status>("GET", "/status", { idempotent: true, ...options });
  }

  /** Tells the status now and when it changes: link to the upstream, unsent changes. Returns a function that ends it. */
  onStatus(callback: (status: Status) => void): () => void {
    return this.#status.add(callback);
  }

  /** Cuts the link to the upstream until {@link resume}; remembered by the database. */
  pause(options: CallOptions = {}): Promise<Status> {
    return this.#setPaused(true, options);
  }

  /** Opens the link to the upstream again. */
  resume(options: CallOptions = {}): Promise<Status> {
    return this.#setPaused(false, options);
  }

  /** Makes the worker try its upstream now. */
  wake(): void {
    this.#worker?.wake();
    this.#status.refresh();
  }

  /** Tells when a newer worker waits for {@link applyUpdate}. */
  onUpdate(callback: () => void): void {
    this.#worker?.onUpdate(callback, this.#closed.signal);
  }

  /** Lets a waiting worker take over; streams move to it. False when none waits. */
  async applyUpdate(): Promise<boolean> {
    return (await this.#worker?.applyUpdate()) ?? false;
  }

  /** The worker's release and wasm file; undefined without a worker. */
  get worker(): { version: string; wasm: string } | undefined {
    return this.#worker?.hello;
  }

  /** Asks the browser not to delete the data when disk space runs short. Best asked when the user has made something. */
  async persist(): Promise<boolean> {
    return (await navigator.storage?.persist?.()) ?? false;
  }

  /** Ends streams, live queries and running calls. The database and the worker stay. */
  close(): void {
    this.#closed.abort(new SyncError("closed", "The client was closed."));
    this.#stream?.close();
    this.#stream = undefined;
    this.#subscribers.clear();
    this.#status.close();
  }

  /** @internal `using db = …` closes it. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** One stream serves all subscribers. `null` means that anything may have changed. */
  #subscribe(subscriber: (batch: Batch | null) => void): () => void {
    this.#closed.signal.throwIfAborted();
    this.#subscribers.add(subscriber);
    this.#stream ??= new EventStream(this.#at, (cursor) => this.#url("/events", { since: cursor }), this.#headers, {
      batch: (json) => {
        const batch = parseBatch(json);
        // One without changes tells copies what they may claim.
        if (batch.changes.length > 0) this.#publish(batch);
      },
      reset: async () => {
        await this.create();
        this.#publish(null);
        return this.#at;
      },
    });
    return () => {
      this.#subscribers.delete(subscriber);
      if (this.#subscribers.size > 0) return;
      this.#stream?.close();
      this.#stream = undefined;
    };
  }

  #publish(batch: Batch | null): void {
    this.#status.refresh();
    for (const subscriber of this.#subscribers) {
      try {
        subscriber(batch);
      } catch (error) {
        // One subscriber's mistake is not the others'.
        reportError(error);
      }
    }
  }

  async #setPaused(paused: boolean, options: CallOptions): Promise<Status> {
    const status = await this.#call<Status>("PUT", "/upstream", { body: { paused }, idempotent: true, ...options });
    this.#status.take(status);
    return status;
  }

  async #call<T>(method: Call["method"], path: string, call_: Pick<Call, "body" | "headers" | "idempotent" | "writes"> & CallOptions): Promise<T> {
    const signal = call_.signal ? AbortSignal.any([call_.signal, this.#closed.signal]) : this.#closed.signal;
    signal.throwIfAborted();
    return call<T>({ ...call_, method, url: this.#url(path), headers: { ...(await this.#headers()), ...call_.headers }, signal });
  }

  #url(path: string, query: Record<string, string> = {}): URL {
    const url = new URL(this.#base);
    url.pathname += path;
    url.search = new URLSearchParams(query).toString();
    return url;
  }
}

/** Only what cannot write may be repeated without a thought. `WITH` can write, so it does not count. */
function isRead(sql: string): boolean {
  return /^\s*(SELECT|VALUES)\b/i.test(sql);
}

function toResult<R extends Row>({ columns, rows, changes }: ResultJson): Result<R> {
  const toRow = (row: unknown[]) => Object.fromEntries(columns.map((name, at): [string, Value] => [name, decode(row[at])])) as R;
  return { columns, rows: rows.map(toRow), changes };
}

function first<T>(results: T[]): T {
  const [result] = results;
  if (result === undefined) throw new SyncError("unexpected_answer", "The answer holds no result. Are page and worker of one release?");
  return result;
}
