/**
 * Where this engine is meant to differ from cr-sqlite 0.16.3. Everything else that differs is a defect. The tests leave
 * out of the comparison what `columns` names, and only where `applies` says so.
 */
export const differences = [
  {
    name: "a no-op UPDATE takes no version",
    why: "cr-sqlite advances its version in memory, and falls back when the database is opened again: versions that peers were told of un-happen.",
    applies: (sql) => /^UPDATE/.test(sql) && sql.includes("/* changes nothing */"),
    columns: ["dbVersion"],
  },
  {
    name: "the cells of a moved row are restamped",
    why: "cr-sqlite moves them to the new key under their old version, so a peer that asks for what is new never gets them.",
    applies: (sql) => /^UPDATE/.test(sql) && sql.includes("/* moves the key */"),
    columns: ["dbVersion", "seq", "colVersion", "site"],
  },
];

/** The columns that differ on purpose after these statements. */
export function columnsLeftOut(statements) {
  const applying = differences.filter(({ applies }) => statements.some((sql) => applies(sql)));
  return [...new Set(applying.flatMap(({ columns }) => columns))];
}
