/**
 * The page's half: a database of this browser, behind `fetch`.
 *
 *     import { connect } from "crsql-sync";
 *
 *     const db = await connect({ dbid: "shopping", schema, worker: "/crsql-sync-sw.js?upstream=/sync" });
 *     await db.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [crypto.randomUUID(), "milk"]);
 *     db.watch("SELECT * FROM todo ORDER BY created", [], (rows) => render(rows));
 *
 * A promise that resolves means that the write is on disk. A promise that rejects, rejects with a {@link SyncError},
 * and nothing was changed, unless its code is `answer_lost`: then the write may have happened. A write is done once,
 * however often it had to be asked for.
 *
 * @module
 */

import { Database } from "./client/database.js";
import { SyncError } from "./client/errors.js";
import { type Host, type Mode, ServerHost } from "./client/host.js";
import type { FileOptions } from "./client/file.js";
import { type Auth, Http } from "./client/http.js";
import type { Created } from "./client/operations.js";
import { WorkerHost, type WorkerOptions } from "./client/worker.js";
import type { PageOptions } from "./page.js";

export { type Batch, type Change, type ChangeTuple, type Clock, type Piece, readChanges } from "./client/changes.js";
export type { Database, Result, Statement } from "./client/database.js";
export { type ClientErrorCode, type Problem, SyncError, type SyncErrorDetails } from "./client/errors.js";
export type { FileOptions } from "./client/file.js";
export type { Mode } from "./client/host.js";
export type { Auth } from "./client/http.js";
export type { Credentials } from "./messages.js";
export type { LiveState, LiveStore } from "./client/live.js";
export type * from "./client/operations.js";
export type { SyncState, SyncStatus } from "./client/status.js";
export type { Stop, Store } from "./client/store.js";
export type { SubscribeOptions, Subscription, SubscriptionStatus } from "./client/subscription.js";
export { type Input, type JsonValue, Real, type Row, type Value, real } from "./client/values.js";
export { wipe } from "./client/wipe.js";
export { type WorkerOptions, unregister } from "./client/worker.js";
export type { PageOptions } from "./page.js";

/** Which database, and who answers for it. */
export interface ConnectOptions {
  /** Where the databases are served: the worker's prefix. `/sync` unless given. */
  url?: string;
  /** The name of the database. */
  dbid: string;
  /** Its schema: CREATE statements and `SELECT crsql_as_crr(…)`. Created if it is not there. */
  schema: string;
  /**
   * Whether this copy holds the rows only that it subscribes to, and not everything that its upstream has. Decided when it is
   * created; one that is there already stays what it is.
   */
  partial?: boolean;
  /**
   * Says who the user is, by headers for every request; of a worker that asks pages, also for those to the upstream. Asked
   * again, with `refresh`, after an answer of 401.
   */
  auth?: Auth;
  /**
   * Who answers; `worker` unless given. With `page` set and no mode, the page itself does so in windows without service
   * workers.
   */
  mode?: Mode;
  /** The worker's script; `/crsql-sync-sw.js` unless given. */
  worker?: string | WorkerOptions;
  /** Settings of the core in this page. */
  page?: PageOptions;
  /** Ends the start and later everything else. */
  signal?: AbortSignal;
}

/** Reasons for which the page has to do without a worker. */
const WITHOUT_WORKER = ["no_service_worker", "not_controlled"];

/** Gets hold of whoever answers, and opens the database, which is created if it is not there. */
export async function connect(options: ConnectOptions): Promise<Database> {
  const { dbid, schema, auth, partial, signal } = options;
  const host = await findHost(options);
  const database = new Database(dbid, schema, host, baseOf(options), auth, partial);
  try {
    signal?.throwIfAborted();
    await database.create(signal ? { signal } : {});
    // The link may have waited for somebody who says who asks.
    if (auth) database.wake();
  } catch (error) {
    database.close();
    throw error;
  }
  signal?.addEventListener("abort", () => database.close());
  return database;
}

/**
 * Makes a database of a file, such as `exportFile` gave: all of it, or nothing. It goes on as a copy of its own. Fails with the
 * code `database_exists` where there is a database of that name. Needs the worker's setting `files`.
 */
export async function importFile(content: Blob, options: Omit<ConnectOptions, "schema" | "partial"> & FileOptions): Promise<Created> {
  const { auth, signal } = options;
  const host = await findHost(options);
  try {
    const file = { content, options };
    return await new Http(host, baseOf(options), auth).call<Created>({ method: "PUT", path: "/file", file, signal, writes: true, once: true });
  } finally {
    host.close();
  }
}

function baseOf({ url = "/sync", dbid }: Pick<ConnectOptions, "url" | "dbid">): URL {
  return new URL(`${url.replace(/\/+$/, "")}/${encodeURIComponent(dbid)}`, location.href);
}

async function findHost(options: Omit<ConnectOptions, "schema">): Promise<Host> {
  const { mode, worker = "/crsql-sync-sw.js" } = options;
  if (mode === "server") return new ServerHost();
  if (mode === "page") return openInPage(options);
  try {
    return await WorkerHost.connect(typeof worker === "string" ? { url: worker } : worker);
  } catch (error) {
    const isFallback = mode === undefined && options.page && error instanceof SyncError && WITHOUT_WORKER.includes(error.code);
    if (!isFallback) throw error;
    console.warn(`crsql-sync: the core runs in this page. ${error.message}`);
    return openInPage(options);
  }
}

async function openInPage({ url = "/sync", page = {}, signal }: Omit<ConnectOptions, "schema">): Promise<Host> {
  // Most pages never need it.
  const { openPage } = await import("./page.js");
  return openPage(new URL(url, location.href).pathname, page, signal);
}
