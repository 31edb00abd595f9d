/** How the database is doing, for people: read while somebody wants to know, told when it changed. */

import { SyncError } from "./errors.js";
import type { Mode } from "./host.js";
import type { LinkState, StatusDocument, Storage } from "./operations.js";
import { Listeners, type Stop, type Store } from "./store.js";

/**
 * `starting`: not known yet. `unavailable`: whoever answers for the database does not; see `error`. `local`: it answers,
 * and there is no upstream. All others are those of the link to the upstream.
 */
export type SyncState = "starting" | "unavailable" | "local" | LinkState;

/** What there is to show. */
export interface SyncStatus {
  readonly state: SyncState;
  /** Own changes that the upstream has not acknowledged, and since when the oldest waits (ms since 1970). */
  readonly unsent: { readonly changes: number; readonly since: number | null };
  /** Own transactions that the upstream refused and that are held back. */
  readonly quarantined: number;
  /** When both sides last were known to have the same (ms since 1970). Being in step for longer is not told. */
  readonly lastSynced: number | null;
  /** What goes wrong: with the link, or with the database itself. The code says which error it is. */
  readonly error: { readonly code: string; readonly message: string; readonly status: number | null } | null;
  /** Who answers. */
  readonly mode: Mode;
  /** Where the data is kept; null until the database said so. */
  readonly storage: Storage | null;
  /** A newer worker waits for `applyUpdate`. */
  readonly updateAvailable: boolean;
  /** All that the database says about itself; null until it did. */
  readonly document: StatusDocument | null;
}

/** How often the status is read while the page is visible: nothing tells of a link that went up or down. */
const POLL_MS = 1_000;

export class StatusStore implements Store<SyncStatus> {
  readonly #read: () => Promise<StatusDocument>;
  readonly #listeners = new Listeners<SyncStatus>();
  #current: SyncStatus;
  #timer: ReturnType<typeof setInterval> | undefined;
  #reading: Promise<void> | undefined;
  /** A change happened while the status was being read, which may have missed it. */
  #again = false;
  /** How often a status came from elsewhere; what was being read meanwhile is older. */
  #taken = 0;

  constructor(mode: Mode, read: () => Promise<StatusDocument>) {
    this.#read = read;
    const unsent = { changes: 0, since: null };
    this.#current = { state: "starting", unsent, quarantined: 0, lastSynced: null, error: null, mode, storage: null, updateAvailable: false, document: null };
  }

  get current(): SyncStatus {
    return this.#current;
  }

  readonly subscribe = (callback: (status: SyncStatus) => void): Stop => {
    const stop = this.#listeners.add(callback, () => this.#listeners.size === 0 && this.close());
    this.#timer ??= setInterval(() => document.visibilityState === "visible" && this.refresh(), POLL_MS);
    callback(this.#current);
    this.refresh();
    return stop;
  };

  /** Reads now, if anybody wants to know. */
  refresh(): void {
    if (this.#timer === undefined) return;
    if (this.#reading) this.#again = true;
    else {
      this.#again = false;
      this.#reading = this.#update().finally(() => {
        this.#reading = undefined;
        if (this.#again) this.refresh();
      });
    }
  }

  /** Takes a document that was answered to something else. */
  take(document: StatusDocument): void {
    this.#taken += 1;
    const { unsent, quarantined, storage, upstream } = document;
    const error = upstream?.error ?? null;
    this.set({
      state: upstream?.state ?? (this.#current.mode === "server" ? "online" : "local"),
      unsent,
      storage,
      quarantined: quarantined.count,
      lastSynced: upstream?.synced_at ?? null,
      error: error && { code: error.code, message: error.detail, status: error.status },
      document,
    });
  }

  /** Takes what is known by other ways. */
  set(change: Partial<SyncStatus>): void {
    const next = { ...this.#current, ...change };
    // Being in step with the upstream for longer is no news.
    const news = (status: SyncStatus) => JSON.stringify(status, (name, value) => (["lastSynced", "synced_at"].includes(name) ? value !== null : value));
    if (news(next) === news(this.#current)) return;
    this.#current = next;
    this.#listeners.tell(next);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #update(): Promise<void> {
    const taken = this.#taken;
    try {
      const document = await this.#read();
      if (taken === this.#taken) this.take(document);
    } catch (error) {
      const known = error instanceof SyncError;
      if (!known || error.code === "closed") return;
      this.set({ state: "unavailable", error: { code: error.code, message: error.message, status: error.status ?? null } });
    }
  }
}
