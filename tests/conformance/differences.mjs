import { TRIGGERED } from "./program.mjs";

/**
 * Where this engine is meant to differ from cr-sqlite 0.16.3. Everything else that differs is a defect.
 *
 * A difference is left out of the comparison in one of three ways, and as narrowly as it can be told: single columns of
 * single rows (`columns`), by putting cr-sqlite straight (`settle` in real.mjs), or by not writing such programs.
 */
export const differences = [
  {
    name: "the cells of a moved row are restamped",
    why: "cr-sqlite moves them to the new key under their old version, so a peer that asks for what is new never gets them.",
    how: "of the row with the new key: who wrote it, when. A site with such a row tells everything, in order, instead of what is new.",
    row: "to",
    columns: ["dbVersion", "seq", "site"],
  },
  {
    name: "a merge of restamped cells takes the mover's version",
    why: "it is the version of their change. cr-sqlite, which has them under an older one, may never hear of the mover's.",
    how: "the versions of a site that a moved row was merged into",
    columns: ["dbVersion"],
  },
  {
    name: "moved cells take seqs",
    why: "they are changes of the transaction, before the tombstone.",
    how: "the seqs of the rows that the same transaction names",
    row: "named",
    columns: ["seq"],
  },
  {
    name: "an insert that is taken back leaves a gap of its cells in the seqs",
    why: "whether it also came over a row or a tombstone is found out when clocks are written, and then it is gone. Gaps mean nothing.",
    how: "the seqs of the rows that the same transaction names",
    row: "named",
    columns: ["seq"],
  },
  {
    name: "an alteration records new cells in the order of its own row numbers",
    why: "rows that stood in the table before it was replicated have other numbers in cr-sqlite. Within one version the order of rows means nothing.",
    how: "the seqs of the altered table",
    row: "altered",
    columns: ["seq"],
  },
  {
    name: "a cell of version 0 is compared with those that are there, whenever it comes",
    why: "a new incarnation leaves the cells that it does not set at version 0. In cr-sqlite such a cell wins if it comes before its sentinel, and else only if its value is larger: copies may end with different values.",
    how: "the number of winners of a merge that brings one",
  },
  {
    name: "a version is taken only by a change (B14)",
    why: "cr-sqlite advances its version in memory, and falls back when the database is opened again: versions that peers were told of un-happen.",
    how: "`settle` makes cr-sqlite read its stored version after every transaction",
  },
  {
    name: "a key moved onto a live row beats what it replaces",
    why: "cr-sqlite's copies never agree",
    how: "keys are moved by UPDATE OR IGNORE; native tests have the other",
  },
  {
    name: "a row that takes the place of another, also of a deleted one, brings every cell",
    why: "it may have no cell of a column that was added after it. Copies that still know the other row keep what that had there.",
    how: "no key is moved in a table after a column was added; native tests have it",
  },
  {
    name: "keys that are equal are one row (B7, B19)",
    why: "cr-sqlite deletes and recreates a row whose key changes from 1 to 1.0, and keeps two records of 'A' and 'a' in a NOCASE key",
    how: "no two keys of a table are equal by its collation",
  },
  {
    name: "a row inserted during an alteration over a tombstone is alive (B11)",
    why: "cr-sqlite says of a live row that it is deleted",
    how: "rows inserted during an alteration have keys of their own",
  },
  {
    name: "triggers that write to other tables during a merge are tracked (B15)",
    why: "what they wrote would never reach a peer",
    how: "the programs' trigger looks at crsql_internal_sync_bit",
  },
];

const [moved, merged, besidesMoved, takenBack, altered] = differences;

/** What differs on purpose in one program, learned from what is run. */
export class OnPurpose {
  #columns = new Map();
  /** The sites that may hold rows that were moved: `true` where they came by a merge. */
  #sites = new Map();

  /** A site ran statements as one transaction; `pack` gives the packed key of a statement's literals. */
  async ran(site, statements, pack) {
    const moves = statements.filter(({ to }) => to !== undefined);
    const columns = [...(moves.length > 0 ? besidesMoved.columns : []), ...(takesInsertBack(statements) ? takenBack.columns : [])];
    if (columns.length === 0) return;
    for (const { table, key } of statements.filter(({ table }) => table !== undefined)) {
      this.#leaveOut(table, key === undefined ? "" : await pack(key), columns);
    }
    // What a trigger of the application wrote, no statement names.
    this.#leaveOut(TRIGGERED, "", columns);
    for (const { table, to } of moves) this.#leaveOut(table, await pack(to), moved.columns);
    if (moves.length > 0 && !this.#sites.has(site)) this.#sites.set(site, false);
  }

  altered(table) {
    this.#leaveOut(table, "", altered.columns);
  }

  merged({ from, to }) {
    if (this.#sites.has(from)) this.#sites.set(to, true);
  }

  /** Whether a site may hold rows that were moved. */
  holdsMoved(site) {
    return this.#sites.has(site);
  }

  /** Whether the versions of a site are compared. */
  comparesVersions(site) {
    return this.#sites.get(site) !== true;
  }

  /** The columns of a site's change that are not compared. */
  leftOut(site, { table, pk }) {
    const versions = this.comparesVersions(site) ? [] : merged.columns;
    return [...versions, ...(this.#columns.get(`${table} ${pk}`) ?? []), ...(this.#columns.get(`${table} `) ?? [])];
  }

  #leaveOut(table, pk, columns) {
    const row = `${table} ${pk}`;
    this.#columns.set(row, new Set([...(this.#columns.get(row) ?? []), ...columns]));
  }
}

/** Whether a savepoint is rolled back to, and with it an insert. */
function takesInsertBack(statements) {
  const sqls = statements.map(({ sql }) => sql);
  return sqls.some((sql, at) => {
    const [, name] = /^ROLLBACK TO (\w+)/.exec(sql) ?? [];
    return name !== undefined && sqls.slice(sqls.indexOf(`SAVEPOINT ${name}`), at).some((earlier) => /^(INSERT|REPLACE)/.test(earlier));
  });
}
