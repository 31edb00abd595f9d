/** `crsql_changes` as text: read, compared, carried to another peer. Both engines get the same SQL. */

const COLUMNS = `"table", hex(pk), cid, quote(val), typeof(val), col_version, db_version, hex(site_id), cl, seq`;

/** The changes of a peer after a local version, without those that `exclude` (hex) wrote, in the order that it gives them. */
export async function changes(peer, { since = 0, exclude } = {}) {
  const without = exclude === undefined ? "" : ` AND site_id IS NOT X'${exclude}'`;
  const rows = await peer.query(`SELECT ${COLUMNS} FROM crsql_changes WHERE db_version > ${since}${without}`);
  const list = rows.map(([table, pk, cid, quoted, type, colVersion, dbVersion, site, cl, seq]) => {
    return { table, pk, cid, val: literal(quoted, type), type, colVersion: Number(colVersion), dbVersion: Number(dbVersion), site, cl: Number(cl), seq: Number(seq) };
  });
  for (const [at, change] of list.entries()) {
    if (at > 0 && before(change, list[at - 1]) < 0) throw new Error(`${peer.constructor.name}: crsql_changes is not in the order of db_version and seq`);
  }
  // Merged changes may share both numbers: what comes first is then nobody's promise, but must not differ here.
  return list.sort((a, b) => before(a, b) || (place(a) < place(b) ? -1 : 1));
}

const before = (a, b) => a.dbVersion - b.dbVersion || a.seq - b.seq;
const place = ({ table, pk, cid }) => [table, pk, cid].join("|");

/** Releases of SQLite write the same REAL in different ways. */
function literal(quoted, type) {
  return type === "real" && !/inf|e999/i.test(quoted) ? Number(quoted).toExponential() : quoted;
}

/** The statements that merge changes. */
export function mergeStatements(list) {
  return list.map((c) => `INSERT INTO crsql_changes VALUES (${text(c.table)}, X'${c.pk}', ${text(c.cid)}, ${c.val}, ${c.colVersion}, ${c.dbVersion}, X'${c.site}', ${c.cl}, ${c.seq})`);
}

/** The statements that merge changes, as one transaction. */
export function mergeSql(list) {
  return ["BEGIN", ...mergeStatements(list), "COMMIT"].join(";\n");
}

function text(value) {
  return `'${value.replaceAll("'", "''")}'`;
}

/** The rows of a table, one line each. */
export async function contents(peer, table) {
  const columns = await peer.query(`SELECT '"' || replace(name, '"', '""') || '"' FROM pragma_table_xinfo('${table}')`);
  const values = columns.map(([name]) => `quote(${name}), typeof(${name})`).join(", ");
  const rows = await peer.query(`SELECT ${values} FROM ${table}`);
  return rows.map((row) => columns.map((_, at) => literal(row[2 * at], row[2 * at + 1])).join(" | ")).sort();
}

/** One line a change, in the order of table, key and column; site ids by the names in `names` (hex to name). */
export function describe(list, names = new Map(), leaveOut = () => []) {
  const line = (change) => {
    const shown = { ...change, site: names.get(change.site) ?? change.site };
    for (const column of leaveOut(change)) delete shown[column];
    return Object.values(shown).join(" | ");
  };
  return list.map(line).sort();
}
