/** Batches of changes, as they travel. Integers beyond 2^53 do not occur in them, other values are in their JSON form. */

import { type JsonValue, type Value, decode } from "./values.js";

/**
 * One change of one cell: table, packed primary key in hexadecimal digits, column, value, column version, the author's
 * version, the author's site, causal length, position in the transaction.
 */
export type ChangeTuple = [table: string, pk: string, cid: string, val: JsonValue, colVersion: number, version: number, site: string, cl: number, seq: number];

/** For each site ranges of its versions, first and last. */
export type Clock = Record<string, [first: number, last: number][]>;

/** A piece of a transaction that was too large for one batch. */
export interface Piece {
  site: string;
  version: number;
  /** Ranges of positions, first and last. */
  seqs: [first: number, last: number][];
  last_seq: number;
}

/** Changes of one or more transactions, and what having them all means. See docs/protocol.md. */
export interface Batch {
  protocol: 1;
  /** The site that sends it. */
  from: string;
  /** Hash of the schema that the rows fit. */
  schema?: string;
  schema_text?: string;
  since?: string;
  start?: number;
  end?: number;
  covers?: Clock;
  partial?: Piece[];
  /** The sender stopped at a limit; go on from `next`. */
  more?: boolean;
  next?: string;
  have?: string;
  changes?: ChangeTuple[];
}

/** One change of one cell, by names. A `cid` of `"-1"` speaks of the row itself: it is there when `cl` is odd. */
export interface Change {
  table: string;
  pk: string;
  cid: string;
  val: Value;
  colVersion: number;
  version: number;
  site: string;
  cl: number;
  seq: number;
}

/** The changes of a batch, by names and with JavaScript's values. */
export function readChanges(batch: Batch): Change[] {
  return (batch.changes ?? []).map(([table, pk, cid, val, colVersion, version, site, cl, seq]) => {
    return { table, pk, cid, val: decode(val), colVersion, version, site, cl, seq };
  });
}
