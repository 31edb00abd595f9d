/** `crsql_changes` as text: read, compared, carried to another peer. Both engines get the same SQL. */

const COLUMNS = `"table", hex(pk), cid, quote(val), typeof(val), col_version, db_version, hex(site_id), cl, seq`;

/** The changes of a peer after a local version, without those that `exclude` (hex) wrote. */
export async function changes(peer, { since = 0, exclude } = {}) {
  const without = exclude === undefined ? "" : ` AND site_id IS NOT X'${exclude}'`;
  const rows = await peer.query(`SELECT ${COLUMNS} FROM crsql_changes WHERE db_version > ${since}${without} ORDER BY db_version, seq`);
  const list = rows.map(([table, pk, cid, quoted, type, colVersion, dbVersion, site, cl, seq]) => {
    // Releases of SQLite write the same REAL in different ways.
    const val = type === "real" ? Number(quoted).toExponential() : quoted;
    return { table, pk, cid, val, type, colVersion, dbVersion, site, cl, seq };
  });
  // Merged changes may share both numbers: what comes first is then nobody's promise, but must not differ here.
  const place = ({ dbVersion, seq, table, pk, cid }) => [dbVersion.padStart(9, "0"), seq.padStart(9, "0"), table, pk, cid].join("|");
  return list.sort((a, b) => (place(a) < place(b) ? -1 : 1));
}

/** The statements that merge changes, as one transaction. */
export function mergeSql(list) {
  const insert = (c) =>
    `INSERT INTO crsql_changes VALUES ('${c.table}', X'${c.pk}', '${c.cid}', ${c.val}, ${c.colVersion}, ${c.dbVersion}, X'${c.site}', ${c.cl}, ${c.seq})`;
  return ["BEGIN", ...list.map(insert), "COMMIT"].join(";\n");
}

/** One line a change, in the order of table, key and column; site ids by the names in `names` (hex to name). */
export function describe(list, names = new Map(), leaveOut = []) {
  const line = (change) => {
    const shown = { ...change, site: names.get(change.site) ?? change.site };
    for (const column of leaveOut) delete shown[column];
    return Object.values(shown).join(" | ");
  };
  return list.map(line).sort();
}
