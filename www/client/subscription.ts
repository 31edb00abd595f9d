/**
 * What a partial copy subscribes to at its upstream. The copy remembers it and follows it whoever is there, until somebody
 * unsubscribes. Tabs share a subscription by its id: each holds a lock of that name, and who ends it while others hold it only
 * lets go.
 */

import { sleep } from "../time.js";
import { SyncError } from "./errors.js";
import type { Call } from "./http.js";
import type { CallOptions, SubscriptionDocument } from "./operations.js";
import type { SyncStatus } from "./status.js";
import { Listeners, type Stop, type Store, safely } from "./store.js";

/** How to subscribe. */
export interface SubscribeOptions extends CallOptions {
  /** Its name. Tabs that use the same share it; with other queries it is changed. Made of the queries unless given. */
  id?: string;
  /** Whether rows that the queries read no more leave this copy, where they have no unsent changes; true unless given. */
  forget?: boolean;
}

/** How far a subscription is. */
export interface SubscriptionStatus {
  /** `complete`: all rows of its queries have been here, and changes follow. `error`: the upstream refuses it; it is asked again. */
  readonly state: "pending" | "complete" | "error";
  /** Rows that are here. */
  readonly rows: number;
  readonly error: SyncStatus["error"];
}

const FIRST_DELAY_MS = 20;
const LONGEST_DELAY_MS = 1_000;

/** Rows of the upstream that are to be in this copy, and to stay up to date. Made by `subscribe`. */
export class Subscription {
  readonly id: string;
  /** Resolves when all rows of its queries are here, at once where they were before; rejects when the upstream refuses it. */
  readonly ready: Promise<void>;
  /** How far it is. Read while somebody has subscribed, and until it is ready. */
  readonly status: Store<SubscriptionStatus>;
  readonly #call: <T>(call: Call) => Promise<T>;
  readonly #lock: string;
  readonly #ended = new AbortController();
  readonly #listeners = new Listeners<SubscriptionStatus>();
  /** Resolves when the lock is let go of. */
  #held: Promise<unknown> | undefined;
  #current: SubscriptionStatus = { state: "pending", rows: 0, error: null };

  /** @internal */
  constructor(id: string, body: unknown, url: URL, call: <T>(call: Call) => Promise<T>, database: Store<SyncStatus>, closed: AbortSignal) {
    this.id = id;
    this.#call = call;
    this.#lock = `crsql-sync:subscription ${url.href} ${id}`;
    this.status = this.#store(database);
    this.ready = this.#start(body);
    // Whoever does not ask is not told.
    this.ready.catch(() => {});
    // The copy goes on with it.
    closed.addEventListener("abort", () => this.#ended.abort(closed.reason));
  }

  /** Ends it, unless another tab uses it. Its rows leave this copy, unless it was not to forget them, or another one has them. */
  async unsubscribe(): Promise<void> {
    if (this.#ended.signal.aborted) return;
    this.#ended.abort(new SyncError("closed", "The subscription was ended. Subscribe again."));
    await this.#held;
    // Whoever subscribes meanwhile waits for the lock.
    const end = (lock: Lock | null) => lock && this.#call({ method: "DELETE", path: this.#path });
    await navigator.locks?.request(this.#lock, { ifAvailable: true }, end);
  }

  [Symbol.dispose](): void {
    void this.unsubscribe().catch(() => {});
  }

  get #path(): string {
    return `/upstream/subscriptions/${this.id}`;
  }

  #store(database: Store<SyncStatus>): Store<SubscriptionStatus> {
    const current = () => this.#current;
    let stop: Stop | undefined;
    const subscribe = (callback: (status: SubscriptionStatus) => void): Stop => {
      const removed = () => {
        if (this.#listeners.size > 0) return;
        stop?.();
        stop = undefined;
      };
      const added = this.#listeners.add(callback, removed);
      stop ??= database.subscribe(({ document }) => {
        const mine = document?.subscriptions?.find(({ id }) => id === this.id);
        if (mine) this.#take(mine);
      });
      safely(() => callback(this.#current));
      return added;
    };
    return {
      get current() {
        return current();
      },
      subscribe,
    };
  }

  async #start(body: unknown): Promise<void> {
    // A server has all rows.
    if (body === undefined) return void this.#take({ id: this.id, forget: false, complete: true, rows: 0, error: null });
    const { signal } = this.#ended;
    await new Promise<void>((resolve, reject) => {
      const hold = () => {
        resolve();
        if (!signal.aborted) return new Promise<void>((release) => signal.addEventListener("abort", () => release()));
      };
      this.#held = navigator.locks.request(this.#lock, { mode: "shared" }, hold).catch(reject);
    });
    signal.throwIfAborted();
    let document = await this.#call<SubscriptionDocument>({ method: "PUT", path: this.#path, body });
    for (let delay = FIRST_DELAY_MS; !this.#take(document); delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
      const { error } = document;
      if (error) throw new SyncError(error.code, error.detail, { status: error.status ?? undefined });
      await sleep(delay, signal);
      document = await this.#call<SubscriptionDocument>({ path: this.#path });
    }
  }

  /** Says whether everything has been here. */
  #take({ complete, rows, error }: SubscriptionDocument): boolean {
    const state = error ? "error" : complete ? "complete" : "pending";
    const next: SubscriptionStatus = { state, rows, error: error && { code: error.code, message: error.detail, status: error.status } };
    if (JSON.stringify(next) !== JSON.stringify(this.#current)) {
      this.#current = next;
      this.#listeners.tell(next);
    }
    return complete;
  }
}

/** The id of a subscription that is given none: queries that are the same have the same (64-bit FNV-1a). */
export function idOf(queries: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(queries)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(36);
}
