/** Batches of changes, as subscribers get them. */

import { type Value, decode } from "./values.js";

/** One change of one cell. A `cid` of `"-1"` speaks of the row itself: it is there when `cl` is odd. */
export interface Change {
  table: string;
  /** The packed primary key in hexadecimal digits. */
  pk: string;
  cid: string;
  val: Value;
  colVersion: number;
  version: number;
  site: string;
  cl: number;
  seq: number;
}

/** The changes of one or more transactions. */
export interface Batch {
  /** The site that sends it. */
  from: string;
  changes: Change[];
}

type ChangeJson = [string, string, string, unknown, number, number, string, number, number];

export function parseBatch(json: string): Batch {
  const { from, changes } = JSON.parse(json) as { from: string; changes: ChangeJson[] };
  return {
    from,
    changes: changes.map(([table, pk, cid, val, colVersion, version, site, cl, seq]) => {
      return { table, pk, cid, val: decode(val), colVersion, version, site, cl, seq };
    }),
  };
}
