
/** Settings of a {@link SyncWorker}. All have defaults. */
export interface SyncWorkerConfig {
  /** The path under which requests are answered; `/sync` unless given. */
  prefix?: string;
  /** The same routes on a server: an absolute URL, ending with its prefix. Without it the data stays in this browser. */
  upstream?: string | null;
  /** Headers for every request to the upstream that never change. Those of `upstreamHeaders` come over them. */
  headers?: Record<string, string>;
  /** Says who asks the upstream. */
  upstreamHeaders?: UpstreamHeaders;
  /** Other names for routes, by the operation's name in the protocol, such as `getChanges`, or its default route, such as `changes`. */
  routes?: Record<string, string>;
  /** Other limits than the default ones. */
  limits?: Limits;
  /** Whether pages may run SQL; true unless given. */
  sql?: boolean;
  /** Whether pages may read databases as files, and make databases of files; false unless given. */
  files?: boolean;
  /** A name under which the databases are stored apart from those of other workers of this site. */
  storage?: string;
}

/**
 * Called before each request to the upstream; once more, with `refresh`, after the upstream answered 401.
 *
 * Failing, or taking longer than ten seconds, is as if the upstream had answered 401: the link shows
 * `unauthorized`, sends nothing, and asks again when it is woken, or within a minute.
 */
export type UpstreamHeaders = (request: UpstreamRequest) => Promise<Credentials> | Credentials;

/** For what credentials are asked. */
export interface UpstreamRequest {
  /** Of which database. */
  dbid: string;
  /** To whom its changes belong, where it was said: credentials of anyone else are not used for them. */
  principal: string | null;
  /** Whether the credentials of before were not taken. */
  refresh: boolean;
}

/**
 * Headers alone, such as `{ authorization: "Bearer …" }`; or with whose they are. Where users can change, say whose: then
 * no change ever leaves under the name of another. The principal is any text up to 256 characters that is the same for
 * the same user, such as a user's id or a hash of it.
 */
export type Credentials = Record<string, string> | { headers: Record<string, string>; principal: string };

/** How much one request may ask for. */
export interface Limits {
  /** The largest request body, in bytes. */
  body?: number;
  /** The largest batch in the binary form, in bytes. */
  binaryBody?: number;
  /** How long a request body may take to come. */
  bodyTimeMs?: number;
  /** How many event streams are open at a time. */
  streams?: number;
  /** The largest file that may become a database, in bytes. */
  file?: number;
  /** The changes of one batch. */
  pageChanges?: number;
  /** The bytes of one batch. */
  pageBytes?: number;
  /** The rows of one `sql` request's results, together. */
  sqlRows?: number;
  /** The bytes of one `sql` request's results, together. */
  sqlBytes?: number;
  /** How long one `sql` request may run. */
  sqlTimeMs?: number;
  /** How long merging a batch may take. */
  applyTimeMs?: number;
  /** How long `authorize` may take. */
  authorizeMs?: number;
  /** How long a ticket for an event stream is good. */
  ticketMs?: number;
  /** How often a silent event stream shows that it is alive. */
  heartbeatMs?: number;
  /** How long a page may take nothing of what it is sent. A stream on which it does not read on breaks then. */
  stallMs?: number;
}

/** What is asked of {@link Authorize}. */
export interface Operation {
  /** The operation's name in the protocol, such as `applyChanges`. */
  operation: string;
  /** Of which database. It need not exist. */
  dbid: string;
  /** The site that the caller says it is. */
  site: string | null;
  method: string;
  headers: Record<string, string>;
  /** The SQL texts that would be run. */
  sql: string[];
}

/** `true` allows, `false` denies. */
export type Verdict = boolean | ({ allow: boolean; status?: 401 | 403; message?: string } & Bounds);

/** The bounds of an allowance. */
export interface Bounds {
  /** Nothing may be written. */
  readOnly?: boolean;
  /** The site ids that the caller may speak for; all unless given. */
  sites?: string[];
  /** The tables that the caller may read and write; all unless given. */
  tables?: string[];
  /**
   * The rows of tables that the caller may use, and write by batches, by the tables' names; all of a table that is not named.
   * Such a caller asks by queries, and `sql` only reads for it.
   */
  rows?: Record<string, RowFilter>;
  /** When the allowance ends, as `Date.now()` counts. An event stream ends with it. */
  expires?: number;
  /** Who the caller is: the keys of its requests are its own. */
  principal?: string;
  /** What `sql` runs in place of the caller's statements. */
  queries?: { sql: string; params?: unknown[] }[];
}

/** The condition that the rows of a table meet. One that cannot be used denies. */
export interface RowFilter {
  /** An SQL expression over a row, as in `owner = :user`. */
  sql: string;
  /** The values of `?1`, `?2`, …, or of `:name` by names. */
  params?: unknown[] | Record<string, unknown>;
  /** Nothing may be written to the table. */
  readOnly?: boolean;
}

/** Called before every operation. Failing, or taking too long, denies. */
export type Authorize = (operation: Operation) => Promise<Verdict> | Verdict;

/** A request as `fetch` would make it, for {@link SyncWorker.ask}. */
export interface Question {
  method: string;
  url: string;
  headers: [name: string, value: string][];
  body?: string;
}

/** The whole answer to a {@link Question}. */
export interface Answer {
  status: number;
  headers: [name: string, value: string][];
  body: string;
}
