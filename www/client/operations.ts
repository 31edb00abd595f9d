/** What the operations of the protocol take and answer, as JSON. docs/openapi.yaml has the same in full. */

import type { Clock } from "./changes.js";

/** For a call that shall be given up. */
export interface CallOptions {
  signal?: AbortSignal;
}

/** Where `getChanges` begins and ends, and whose changes it leaves out. */
export interface ChangesAfter {
  /** A cursor, `SITE.VERSION`, or the `next` of a batch; from the beginning unless given. */
  since?: string;
  /** A cursor. */
  until?: string;
  /** The most changes in one batch. */
  limit?: number;
  /** A site whose changes are not wanted. */
  exclude?: string;
  /** The schema that the caller has; where it differs, the batch brings its text. */
  schema?: string;
}

/** What is asked of `requestChanges`: by cursor, or by versions. */
export interface ChangesRequest extends ChangesAfter {
  known?: Clock;
  versions?: Clock;
  all_but?: Clock;
  pieces?: { site: string; version: number; seqs: [first: number, last: number][] }[];
}

/** What came of applying a batch. */
export interface Applied {
  /** How many of its changes won. */
  applied: number;
  /** The sender's cursor that is held now. */
  received: string;
  /** This copy's own cursor. */
  at: string;
  /** The batch is of a schema that is still to come, and waits for it. */
  waits?: true;
}

/** One step of a migration. */
export interface MigrationStep {
  /** For people. */
  step: string;
  /** What goes with its values, `table` or `table.column`. */
  loses: string[];
}

/** What came of creating a database if it was not there. */
export interface Created {
  status: "created" | "exists";
  site: string;
  schema: string;
  at: string;
}

/** What came of a migration. */
export interface Migrated {
  status: "created" | "migrated" | "unchanged";
  plan: MigrationStep[];
  site: string;
  schema: string;
  at: string;
}

/**
 * Where the link to the upstream stands. `refused`: the upstream answered, and does not want us. `unauthorized`: it wants to
 * know who asks. `principal_changed`: somebody else is signed in than the one to whom the database belongs.
 */
export type LinkState = "offline" | "connecting" | "online" | "paused" | "refused" | "unauthorized" | "principal_changed";

/** What the link to the upstream is told; what is left out stays as it is. The database remembers it. */
export interface LinkSettings {
  /** Stops the link, or lets it go on. */
  paused?: boolean;
  /** Who is signed in. */
  principal?: string;
  /** With another `principal` than before: what was unsent is never sent. */
  unsent?: "discard";
  /** Sends again what the upstream refused. */
  retry?: boolean;
  /** Gives up transactions that are held back: they are taken back when the upstream is asked next. */
  discard?: Clock;
}

/** Transactions that the upstream refused. They are held back, and the others go on. */
export interface HeldBack {
  site: string;
  versions: [first: number, last: number];
  status: number | null;
  code: string;
  detail: string;
  since: number;
  principal: string | null;
}

/**
 * Where a database is kept. `best-effort`: the browser may delete it when it needs the place; `persist()` asks it not to.
 * `memory`: nowhere, so it is gone when the worker is stopped.
 */
export type Storage = "persisted" | "best-effort" | "memory";

/** What a partial copy subscribes to, and how far it is. */
export interface SubscriptionDocument {
  id: string;
  /** Whether rows that its queries read no more leave this copy. */
  forget: boolean;
  /** Whether all rows of its queries have been here. */
  complete: boolean;
  /** How many of them are here now. */
  rows: number;
  /** Why the upstream refuses it. */
  error: { status: number | null; code: string; detail: string } | null;
}

/** What a database says about itself. */
export interface StatusDocument {
  /** This copy's site id, 32 hexadecimal digits. */
  site: string;
  /** This copy's cursor, `SITE.VERSION`. */
  at: string;
  /** Hash of the schema's structure. */
  schema: string | null;
  /** All transactions that this copy holds, where it was asked for. */
  clock?: Clock;
  /** Transactions that this copy knows of and lacks. */
  gaps: Clock;
  /** Batches that wait until this copy is migrated to their schema. */
  waiting: number;
  size: { bytes: number; free_bytes: number };
  storage: Storage;
  /** The copies that this one has exchanged changes with, and how far each has what the other had. */
  peers: { site: string; received: string; acknowledged: string }[];
  /** Own changes that the upstream has not acknowledged, and since when the oldest waits (ms since 1970). */
  unsent: { changes: number; since: number | null };
  /** How many own transactions the upstream refused, and the first of them. */
  quarantined: { count: number; transactions: HeldBack[] };
  /** Of a partial copy, what it subscribes to. */
  subscriptions?: SubscriptionDocument[];
  /** The link to the upstream, where one is configured. */
  upstream?: {
    url: string;
    state: LinkState;
    /** The last failure, until the next success. */
    error: { status: number | null; code: string; detail: string } | null;
    retry_in_ms: number | null;
    /** To whom the database belongs, where that was said. */
    principal: string | null;
    /** When both sides last were known to have the same (ms since 1970). */
    synced_at: number | null;
    /** How far it has caught up with the upstream. */
    progress: { received: number; expected: number; bytes: number; done: boolean } | null;
  };
}
