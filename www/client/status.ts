/** What the database says about itself. */

/** Where the link to the upstream stands. `refused`: the upstream answered, and does not want us; see `error`. */
export type LinkState = "offline" | "connecting" | "online" | "paused" | "refused";

/** The status document. */
export interface Status {
  /** This copy's site id, 32 hexadecimal digits. */
  site: string;
  /** This copy's cursor, `SITE.VERSION`. */
  at: string;
  /** Hash of the schema's structure. */
  schema: string | null;
  /** Transactions that this copy knows of and lacks: ranges of versions by site. */
  gaps: Record<string, [number, number][]>;
  /** Batches that wait until this copy is migrated to their schema. */
  waiting: number;
  size: { bytes: number; free_bytes: number };
  /** Where the database is kept. `best-effort`: the browser may delete it when it needs the place; see `navigator.storage.persist()`. `memory`: nowhere. */
  storage: "persisted" | "best-effort" | "memory";
  /** The copies that this one has exchanged changes with, and how far each has what the other had. */
  peers: { site: string; received: string; acknowledged: string }[];
  /** Own changes that the upstream has not acknowledged, and since when the oldest waits (ms since 1970). */
  unsent: { changes: number; since: number | null };
  /** The link to the upstream, where one is configured. */
  upstream?: {
    url: string;
    state: LinkState;
    /** The last failure, until the next success. */
    error: { status: number | null; code: string; detail: string } | null;
    retry_in_ms: number | null;
  };
}

/** How often the status is read while the page is visible: nothing tells of a link that went up or down. */
const POLL_MS = 1_000;

/** Reads the status while somebody wants it, and tells when it changed. */
export class StatusWatch {
  readonly #read: () => Promise<Status>;
  readonly #callbacks = new Set<(status: Status) => void>();
  #timer: ReturnType<typeof setInterval> | undefined;
  #reading: Promise<void> | undefined;
  #last: { status: Status; json: string } | undefined;
  /** A change happened while the status was being read, which may have missed it. */
  #again = false;
  /** How often a status came from elsewhere; what was being read meanwhile is older. */
  #taken = 0;

  constructor(read: () => Promise<Status>) {
    this.#read = read;
  }

  add(callback: (status: Status) => void): () => void {
    this.#callbacks.add(callback);
    if (this.#last) callback(this.#last.status);
    this.#timer ??= setInterval(() => document.visibilityState === "visible" && this.refresh(), POLL_MS);
    this.refresh();
    return () => {
      this.#callbacks.delete(callback);
      if (this.#callbacks.size === 0) this.close();
    };
  }

  /** Reads now. */
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

  /** Takes a status that was answered to something else. */
  take(status: Status): void {
    this.#taken += 1;
    this.#publish(status);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async #update(): Promise<void> {
    const taken = this.#taken;
    try {
      const status = await this.#read();
      if (taken === this.#taken) this.#publish(status);
    } catch {
      // Read again at the next turn.
    }
  }

  #publish(status: Status): void {
    const json = JSON.stringify(status);
    if (json === this.#last?.json) return;
    this.#last = { status, json };
    for (const callback of this.#callbacks) {
      try {
        callback(status);
      } catch (error) {
        // The page's mistake is not ours.
        reportError(error);
      }
    }
  }
}
