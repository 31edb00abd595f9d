/**
 * Random programs for three sites over three fixed tables: small histories, for tests of what comes after them. See
 * program.mjs for programs over tables of all shapes.
 */

export const SITES = ["A", "B", "C"];

/** Three shapes of table: untyped columns, a composite key with typed columns, nothing but a key. */
export const SCHEMA = `
  CREATE TABLE plain (id INTEGER PRIMARY KEY NOT NULL, b, c TEXT, d DEFAULT 7);
  CREATE TABLE pair (k TEXT NOT NULL, n INTEGER NOT NULL, x REAL, y BLOB, PRIMARY KEY (k, n));
  CREATE TABLE bare (id BLOB PRIMARY KEY NOT NULL);
  SELECT crsql_as_crr('plain');
  SELECT crsql_as_crr('pair');
  SELECT crsql_as_crr('bare');
`;

const TABLES = [
  {
    name: "plain",
    keys: ["1", "2", "-3", "300", "9007199254740993"].map((id) => [["id", id]]),
    columns: ["b", "c", "d"],
  },
  {
    name: "pair",
    keys: ["'a', 1", "'a', 2", "'', 1", "'é', -1"].map((key) => key.split(", ").map((value, at) => [["k", "n"][at], value])),
    columns: ["x", "y"],
  },
  { name: "bare", keys: ["X''", "X'00'", "X'00FF'"].map((id) => [["id", id]]), columns: [] },
];

/** Values on which two sites may well agree. */
const COMMON = ["NULL", "0", "1", "-1", "2", "9007199254740993", "0.5", "1.5", "-1e300", "''", "'a'", "'b'", "'10'", "X''", "X'61'", "X'62'"];

/** mulberry32: small, good enough, the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A program: a list of `{ site, sql }` and `{ from, to, delta, shuffle }`, where `shuffle` is a seed of its own. */
export function program(seed) {
  const next = random(seed);
  const pick = (list) => list[Math.floor(next() * list.length)];
  let count = 0;
  // No two are alike, so that an UPDATE always changes something: see differences.mjs for why.
  const fresh = () => {
    count += 1;
    return pick([`${1000 + count}`, `'v${count}'`, `${count}.25`, `X'${(0x10000 + count).toString(16).padStart(6, "0")}'`]);
  };
  const statement = () => {
    const { name, keys, columns } = pick(TABLES);
    const key = pick(keys);
    const keyNames = key.map(([column]) => column).join(", ");
    const keyValues = key.map(([, value]) => value).join(", ");
    const where = key.map(([column, value]) => `${column} = ${value}`).join(" AND ");
    const some = columns.filter(() => next() < 0.7);
    const names = [keyNames, ...some].join(", ");
    const values = [keyValues, ...some.map(() => pick(COMMON))].join(", ");
    const kind = pick(columns.length > 0 ? ["insert", "insert", "replace", "upsert", "update", "update", "delete"] : ["insert", "replace", "delete"]);
    switch (kind) {
      case "insert":
        return `INSERT OR IGNORE INTO ${name} (${names}) VALUES (${values})`;
      case "replace":
        return `INSERT OR REPLACE INTO ${name} (${names}) VALUES (${values})`;
      case "upsert":
        return `INSERT INTO ${name} (${names}) VALUES (${values}) ON CONFLICT DO UPDATE SET ${pick(columns)} = ${fresh()}`;
      case "update":
        return `UPDATE ${name} SET ${(some.length > 0 ? some : columns).map((column) => `${column} = ${fresh()}`).join(", ")} WHERE ${where}`;
      case "delete":
        return `DELETE FROM ${name} WHERE ${where}`;
    }
  };
  const steps = [];
  for (let left = 8 + Math.floor(next() * 20); left > 0; left--) {
    const site = pick(SITES);
    if (next() < 0.65) {
      const statements = Array.from({ length: pick([1, 1, 1, 2, 4]) }, statement);
      steps.push({ site, sql: statements.length > 1 ? ["BEGIN", ...statements, "COMMIT"].join(";\n") : statements[0] });
    } else {
      const to = pick(SITES.filter((other) => other !== site));
      steps.push({ from: site, to, delta: next() < 0.5, shuffle: next() < 0.5 ? Math.floor(next() * 2 ** 32) : undefined });
    }
  }
  return steps;
}

/** The list in an order that the seed decides. */
export function shuffled(list, seed) {
  if (seed === undefined) return list;
  const next = random(seed);
  return list
    .map((item) => [next(), item])
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item);
}

/** A program as text, to be read by people. */
export function listing(steps) {
  return steps
    .map((step) => ("sql" in step ? `${step.site}: ${step.sql.replaceAll("\n", " ")}` : `${step.from} -> ${step.to}: ${step.delta ? "what is new" : "everything"}${step.shuffle === undefined ? "" : ", shuffled"}`))
    .join("\n");
}
