import type { Batch } from "./changes.js";
import { SyncError } from "./errors.js";
import { type FileOptions, SQLITE, counted } from "./file.js";
import type { Host, Mode } from "./host.js";
import { type Auth, type Call, Http } from "./http.js";
import { type LiveState, type LiveStore, LiveQuery, type Run, UNKNOWN } from "./live.js";
import type { Applied, CallOptions, ChangesAfter, ChangesRequest, Created, LinkSettings, Migrated, StatusDocument } from "./operations.js";
import { StatusStore, type SyncStatus } from "./status.js";
import { Listeners, type Stop, type Store, safely } from "./store.js";
import { EventStream } from "./stream.js";
import { type SubscribeOptions, Subscription, idOf } from "./subscription.js";
import { type Input, type Row, type Value, decode, encode } from "./values.js";

/** What one statement gave. */
export interface Result<R extends Row = Row> {
  columns: string[];
  rows: R[];
  /** Rows that were inserted, updated or deleted. */
  changes: number;
}

/** A statement of a {@link Database.batch}: SQL alone, or with its parameters. */
export type Statement = string | readonly [sql: string, params?: readonly Input[]];

interface ResultJson {
  columns: string[];
  rows: unknown[][];
  changes: number;
}

interface SqlAnswer {
  results: ResultJson[];
  at: string;
  tables?: string[] | null;
  rows?: Record<string, string[]>;
}

/** An open database. Made by {@link connect}. */
export class Database {
  /** The name of the database. */
  readonly dbid: string;
  /** How it is doing: link, unsent changes, errors. Read while somebody has subscribed. */
  readonly status: Store<SyncStatus>;
  readonly #host: Host;
  readonly #http: Http;
  readonly #base: URL;
  readonly #isPartial: boolean;
  readonly #status: StatusStore;
  readonly #closed = new AbortController();
  readonly #batches = new Listeners<Batch>();
  readonly #live = new Map<string, LiveQuery>();
  #stream: EventStream | undefined;
  #schema: string;
  /** Hash of the schema, as batches name it. */
  #schemaHash: string | undefined;
  /** This copy's cursor when the database was opened, and later the last one of the stream. */
  #at = "0";

  /** @internal */
  constructor(dbid: string, schema: string, host: Host, base: URL, auth: Auth | undefined, partial = false) {
    this.dbid = dbid;
    this.#schema = schema;
    this.#host = host;
    this.#base = base;
    // A server has everything.
    this.#isPartial = partial && host.mode !== "server";
    this.#http = new Http(host, base, auth);
    this.status = this.#status = new StatusStore(host.mode, () => this.getStatus());
    const { signal } = this.#closed;
    addEventListener("online", () => this.wake(), { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.wake(), { signal });
    if (auth) host.identify(dbid, auth, signal);
    host.onUpdate((updateAvailable) => this.#status.set({ updateAvailable }), signal);
  }

  /** Who answers: the service worker, this page, or a server. */
  get mode(): Mode {
    return this.#host.mode;
  }

  // SQL.

  /** Runs one statement that writes. Resolves when it is on disk. */
  async exec<R extends Row = Row>(sql: string, params: readonly Input[] = [], options: CallOptions = {}): Promise<Result<R>> {
    return first(await this.batch<R>([[sql, params]], options));
  }

  /** Runs one statement and returns its rows, by the names of the columns. */
  async query<R extends Row = Row>(sql: string, params: readonly Input[] = [], options: CallOptions = {}): Promise<R[]> {
    return (await this.exec<R>(sql, params, options)).rows;
  }

  /** `query` as a template: each `${value}` is a parameter. */
  sql<R extends Row = Row>(text: TemplateStringsArray, ...params: readonly Input[]): Promise<R[]> {
    return this.query<R>(text.join("?"), params);
  }

  /** Runs statements as one transaction: all of them, or none. */
  async batch<R extends Row = Row>(statements: readonly Statement[], options: CallOptions = {}): Promise<Result<R>[]> {
    const body = toJson(statements);
    const writes = !body.every(({ sql }) => isRead(sql));
    // Under its key a write is done once, however often it is asked for: by us when an answer broke off, or by the
    // browser, which sends a request again when the worker dies that was answering it.
    const key = writes ? globalThis.crypto?.randomUUID?.() : undefined;
    const headers = key ? { "idempotency-key": key } : undefined;
    const { results } = await this.#call<SqlAnswer>({ method: "POST", path: "/sql", body, headers, writes, once: writes && !key }, options);
    if (writes) {
      this.#status.refresh();
      // No change tells of tables that are not replicated.
      this.#refresh((live) => live.reads());
    }
    return results.map(toResult<R>);
  }

  /**
   * The result of a query that only reads, as a store: kept up to date while somebody has subscribed. All who ask for the
   * same query share one. It is run again when a table changed that it reads; one that finds all its rows by their primary
   * keys, when one of these rows did.
   */
  live<R extends Row = Row>(sql: string, params: readonly Input[] = []): LiveStore<R> {
    const body = { sql, params: params.map(encode) };
    const key = JSON.stringify(body);
    const find = () => this.#live.get(key);
    const store: LiveStore = {
      key,
      get current() {
        return find()?.state ?? UNKNOWN;
      },
      subscribe: (callback) => {
        const query = find() ?? this.#start(key, body);
        const stop = query.add(callback);
        safely(() => callback(query.state));
        return stop;
      },
    };
    // Which columns there are, only the caller knows.
    return store as unknown as LiveStore<R>;
  }

  /**
   * Calls back with the rows of a query that only reads, and again when they are others than before, whoever wrote: this
   * tab, another one or another person. A failing run goes to `onError`, and the query is run again.
   */
  watch<R extends Row = Row>(
    sql: string,
    params: readonly Input[],
    callback: (rows: readonly R[]) => void,
    options: CallOptions & { onError?: (error: unknown) => void } = {},
  ): Stop {
    const { signal, onError = reportError } = options;
    let before: LiveState<R> = UNKNOWN;
    const stop = this.live<R>(sql, params).subscribe((state) => {
      const { rows, error } = state;
      const [hasRows, hasError] = [rows !== before.rows, error !== before.error];
      before = state;
      if (hasError && error !== undefined) onError(error);
      if (hasRows && rows) callback(rows);
    });
    signal?.addEventListener("abort", stop, { once: true });
    if (signal?.aborted) stop();
    return stop;
  }

  /** Tells of every batch of changes from now on, whoever wrote them. {@link readChanges} reads it. */
  subscribe(callback: (batch: Batch) => void, options?: CallOptions): Stop;
  /**
   * Has a copy that was connected to with `partial` hold the rows that these queries read, and keeps them up to date: `watch`
   * shows them. The copy remembers it until {@link Subscription.unsubscribe}, or until `signal` is aborted.
   */
  subscribe(queries: string | readonly Statement[], options?: SubscribeOptions): Subscription;
  subscribe(what: ((batch: Batch) => void) | string | readonly Statement[], options: SubscribeOptions = {}): Stop | Subscription {
    const { signal } = options;
    const started = typeof what === "function" ? this.#listen(what) : this.#subscribe(what, options);
    const end = () => started[Symbol.dispose]();
    signal?.addEventListener("abort", end, { once: true });
    if (signal?.aborted) end();
    return started;
  }

  /** The id that {@link subscribe} gives to these queries. */
  subscriptionId(queries: string | readonly Statement[]): string {
    return idOf(JSON.stringify(toJson(queries)));
  }

  // The operations of the protocol.

  /** Creates the database if it is not there. {@link connect} has done so. */
  async create(options: CallOptions = {}): Promise<Created> {
    const created = await this.#call<Created>({ method: "PUT", path: "", body: { schema: this.#schema, ...(this.#isPartial ? { partial: true } : {}) } }, options);
    this.#at = created.at;
    this.#schemaHash = created.schema;
    return created;
  }

  /** Migrates the database to another schema, creating it if it is not there. What would be lost has to be named. */
  async migrate(schema: string, { allowDestructive, ...options }: CallOptions & { allowDestructive?: readonly string[] } = {}): Promise<Migrated> {
    const body = { schema, ...(allowDestructive ? { allow_destructive: allowDestructive } : {}) };
    const migrated = await this.#call<Migrated>({ method: "POST", path: "/migrate", body }, options);
    this.#schema = schema;
    this.#schemaHash = migrated.schema;
    this.#refresh(() => true);
    return migrated;
  }

  /** The changes after a cursor. */
  getChanges(after: ChangesAfter = {}, options: CallOptions = {}): Promise<Batch> {
    return this.#call<Batch>({ path: "/changes", query: after }, options);
  }

  /** The changes that are asked for by a cursor, by versions or by pieces. */
  requestChanges(request: ChangesRequest, options: CallOptions = {}): Promise<Batch> {
    return this.#call<Batch>({ method: "POST", path: "/changes/request", body: request }, options);
  }

  /**
   * The rows that queries read, with whatever else of replicated tables a copy needs to come to the same result: whole, as changes.
   * `schema` as for {@link getChanges}.
   */
  getChangesForQueries(queries: string | readonly Statement[], { schema, ...options }: CallOptions & { schema?: string } = {}): Promise<Batch> {
    return this.#call<Batch>({ method: "POST", path: "/changes/query", body: { queries: toJson(queries), schema } }, options);
  }

  /** Merges a batch. Doing it again changes nothing. */
  applyChanges(batch: Batch, options: CallOptions = {}): Promise<Applied> {
    return this.#call<Applied>({ method: "POST", path: "/changes", body: batch, writes: true }, options);
  }

  /** What the database says about itself; with `clock` also all the transactions that it holds. */
  getStatus({ clock, ...options }: CallOptions & { clock?: boolean } = {}): Promise<StatusDocument> {
    return this.#call<StatusDocument>({ path: "/status", query: { clock } }, options);
  }

  /** The database as a file, as it is now, which any SQLite reads. Needs the worker's setting `files`. */
  async exportFile(options: FileOptions = {}): Promise<Blob> {
    const { body, length } = await this.#http.open({ path: "/file", signal: this.#signal(options) }, SQLITE);
    return new Response(counted(body, length, options), { headers: { "content-type": SQLITE } }).blob();
  }

  // The link to the upstream.

  /** Tells the link to the upstream what to do. */
  async setLink(settings: LinkSettings, options: CallOptions = {}): Promise<StatusDocument> {
    const status = await this.#call<StatusDocument>({ method: "PUT", path: "/upstream", body: settings }, options);
    this.#status.take(status);
    return status;
  }

  /** Cuts the link to the upstream until {@link resume}; remembered by the database. */
  pause(options: CallOptions = {}): Promise<StatusDocument> {
    return this.setLink({ paused: true }, options);
  }

  /** Opens the link to the upstream again. */
  resume(options: CallOptions = {}): Promise<StatusDocument> {
    return this.setLink({ paused: false }, options);
  }

  /** Makes whoever answers try the upstream now. */
  wake(): void {
    this.#host.wake();
    this.#status.refresh();
  }

  // Its life.

  /** Calls back when a newer worker waits for {@link applyUpdate}. */
  onUpdate(callback: () => void): void {
    this.#host.onUpdate((isWaiting) => isWaiting && callback(), this.#closed.signal);
  }

  /** Lets a waiting worker take over; streams move to it. False when none waits. */
  applyUpdate(): Promise<boolean> {
    return this.#host.applyUpdate();
  }

  /** Asks the browser not to delete the data when disk space runs short. Best asked when the user has made something. */
  async persist(): Promise<boolean> {
    const isPersistent = (await navigator.storage?.persist?.()) ?? false;
    this.#status.refresh();
    return isPersistent;
  }

  /** Ends streams, live queries and running calls. The database and the worker stay. */
  close(): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(new SyncError("closed", "The database was closed. Connect again."));
    this.#stream?.close();
    this.#stream = undefined;
    this.#live.clear();
    this.#status.close();
    this.#host.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #listen(callback: (batch: Batch) => void): Stop {
    const stop = this.#batches.add(callback, () => this.#rest());
    this.#follow();
    return stop;
  }

  #subscribe(what: string | readonly Statement[], { id, forget }: SubscribeOptions): Subscription {
    const queries = toJson(what);
    const body = this.mode === "server" ? undefined : { queries, forget };
    return new Subscription(id ?? this.subscriptionId(what), body, this.#base, (call) => this.#call(call, {}), this.status, this.#closed.signal);
  }

  #start(key: string, body: object): LiveQuery {
    const ended = new AbortController();
    const signal = AbortSignal.any([ended.signal, this.#closed.signal]);
    signal.throwIfAborted();
    // Before the query: what changes after it was run must not be missed.
    const run = async (signal: AbortSignal): Promise<Run> => {
      const { results, tables, rows: keys } = await this.#call<SqlAnswer>({ method: "POST", path: "/sql", query: { tables: true }, body }, { signal });
      return { ...first(results), tables, keys };
    };
    const query = new LiveQuery(ended, signal, run, toRow);
    this.#live.set(key, query);
    this.#follow();
    ended.signal.addEventListener("abort", () => {
      this.#live.delete(key);
      this.#rest();
    });
    return query;
  }

  #refresh(which: (live: LiveQuery) => boolean): void {
    for (const live of this.#live.values()) if (which(live)) live.refresh();
  }

  /** One stream serves all who listen. */
  #follow(): void {
    this.#closed.signal.throwIfAborted();
    this.#stream ??= new EventStream(this.#at, this.#http, this.#host, {
      batch: (json) => this.#take(JSON.parse(json) as Batch),
      // Nobody tells of rows that left while there was no stream.
      opened: () => this.#isPartial && this.#refresh(() => true),
      forgotten: () => {
        this.#status.refresh();
        this.#refresh(() => true);
      },
      reset: async () => {
        await this.create();
        this.#status.refresh();
        this.#refresh(() => true);
        return this.#at;
      },
    });
  }

  /** Ends the stream when nobody listens. */
  #rest(): void {
    if (this.#batches.size > 0 || this.#live.size > 0 || !this.#stream) return;
    this.#at = this.#stream.cursor;
    this.#stream.close();
    this.#stream = undefined;
  }

  #take(batch: Batch): void {
    const { schema, changes = [] } = batch;
    const isMigrated = schema !== undefined && schema !== this.#schemaHash;
    this.#schemaHash = schema ?? this.#schemaHash;
    // One without changes tells copies what they may claim.
    if (changes.length === 0 && !isMigrated) return;
    this.#status.refresh();
    this.#refresh((live) => isMigrated || live.reads(changes));
    if (changes.length > 0) this.#batches.tell(batch);
  }

  async #call<T>(call: Call, options: CallOptions): Promise<T> {
    return this.#http.call<T>({ ...call, signal: this.#signal(options) });
  }

  /** Aborted with the call or with the database; throws where either is over. */
  #signal({ signal }: CallOptions): AbortSignal {
    const either = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    either.throwIfAborted();
    return either;
  }
}

/** Only what cannot write may be repeated without a thought. `WITH` can write, so it does not count. */
function isRead(sql: string): boolean {
  return /^\s*(SELECT|VALUES)\b/i.test(sql);
}

function toJson(statements: string | readonly Statement[]): { sql: string; params: unknown[] }[] {
  const list = typeof statements === "string" ? [statements] : statements;
  const pairs = list.map((statement) => (typeof statement === "string" ? ([statement] as const) : statement));
  return pairs.map(([sql, params = []]) => ({ sql, params: params.map(encode) }));
}

function toRow<R extends Row>(columns: string[], row: unknown[]): R {
  return Object.fromEntries(columns.map((name, at): [string, Value] => [name, decode(row[at])])) as R;
}

function toResult<R extends Row>({ columns, rows, changes }: ResultJson): Result<R> {
  return { columns, rows: rows.map((row) => toRow<R>(columns, row)), changes };
}

function first<T>(results: T[]): T {
  const [result] = results;
  if (result === undefined) throw new SyncError("unexpected_answer", "The answer holds no result. Are page and worker of one release?");
  return result;
}
