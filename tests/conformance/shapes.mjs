/**
 * Random tables: every kind that cr-sqlite replicates. Keys stand in the form in which SQLite stores them, and no two of
 * a table are equal by `=`, since cr-sqlite takes those for two rows (see differences.mjs).
 */

/** Keys by declared type. An INTEGER column also holds what is no integer, when nothing forbids it. */
const KEYS = {
  INTEGER: ["1", "2", "-3", "300", "0", "9007199254740993"],
  INT: ["1", "2", "-3", "300", "128", "1.5", "'x'"],
  TEXT: ["'a'", "'b'", "''", "'é'", "'10'", "'it''s'"],
  REAL: ["1.5", "-2.25", "1e300", "0.5", "3.5"],
  BLOB: ["X''", "X'00'", "X'00FF'", "X'61'", "'a'", "7"],
  NUMERIC: ["1", "2.5", "-7", "'n'", "X'01'"],
  ANY: ["1", "'1'", "X'31'", "2.5", "-1"],
  "": ["1", "'1'", "X'31'", "2.5", "-1", "'z'"],
};

/** Values on which two sites may well agree, by declared type; STRICT tables take only their own. */
const VALUES = {
  INTEGER: ["0", "1", "-1", "2", "9007199254740993"],
  TEXT: ["''", "'a'", "'b'", "'10'"],
  REAL: ["0.5", "1.5", "-1e300"],
  BLOB: ["X''", "X'61'", "X'62'"],
};
VALUES.INT = VALUES.INTEGER;
VALUES.ANY = Object.values(VALUES).flat();

/** New values, each written once. */
const FRESH = {
  INTEGER: (n) => `${1000 + n}`,
  TEXT: (n) => `'v${n}'`,
  REAL: (n) => `${n}.25`,
  BLOB: (n) => `X'${(0x10000 + n).toString(16).padStart(6, "0")}'`,
};
FRESH.INT = FRESH.INTEGER;

const DEFAULTS = { INTEGER: "7", INT: "(1 + 1)", TEXT: "'none'", REAL: "0.5", BLOB: "X'00'" };
const NAMES = ["b", "c", "d", `"select"`, `"two words"`, `"é"`, "Mixed", `"a-b"`];
const KEY_NAMES = ["id", `"group"`, `"the key"`];

/** A table by chance: `{ name, create, pks, columns, keys, strict }`, names quoted where they must be. */
export function shape(random, index, features) {
  const strict = random.chance(0.2);
  const types = strict ? ["INTEGER", "INT", "TEXT", "REAL", "BLOB", "ANY"] : ["INTEGER", "INT", "TEXT", "REAL", "BLOB", "", "NUMERIC"];
  const withoutRowid = features.withoutRowid && random.chance(0.3);
  const pks = KEY_NAMES.slice(0, random.pick([1, 1, 1, 2, 3])).map((name) => key(random, name, types));
  // By itself it is the rowid, and takes nothing but integers; so does STRICT with every type.
  const typed = (type) => strict || (pks.length === 1 && type === "INTEGER");
  const columns = columnsOf(random, types);
  const name = random.pick([`t${index}`, `T_${index}`, `tablé${index}`]);
  const keys = keysOf(random, pks.map(({ type }) => KEYS[type].filter((literal) => !typed(type) || fits(type, literal))));
  const definitions = [...pks.map(({ sql }) => sql), ...columns.map(({ sql }) => sql)];
  if (columns.length > 0 && random.chance(0.2)) {
    const storage = random.pick(["VIRTUAL", "STORED"]);
    definitions.push(`made ${strict ? "TEXT" : ""} GENERATED ALWAYS AS (typeof(${columns[0].name})) ${storage}`);
  }
  const order = random.chance(0.3) ? [...pks].reverse() : pks;
  definitions.push(`PRIMARY KEY (${order.map((pk) => pk.name).join(", ")})`);
  const options = [strict && "STRICT", withoutRowid && "WITHOUT ROWID"].filter(Boolean).join(", ");
  const create = [`CREATE TABLE ${name} (${definitions.join(", ")}) ${options}`.trim()];
  if (columns.length > 0 && random.chance(0.2)) {
    const indexed = random.pick(columns);
    indexed.pinned = true;
    create.push(`CREATE INDEX ${name}_index ON ${name} (${indexed.name})`);
  }
  return { name, create, pks: order, columns, keys: keys.map((values) => order.map((pk) => values[pks.indexOf(pk)])), strict };
}

function key(random, name, types) {
  const type = random.pick(types);
  const collation = type === "TEXT" ? random.pick(["", "", " COLLATE NOCASE", " COLLATE RTRIM"]) : "";
  return { name, type, sql: `${name} ${type} NOT NULL${collation}` };
}

/** Mostly a few columns, sometimes none, now and then as many as cr-sqlite's triggers can hand to a function. */
function columnsOf(random, types) {
  const count = random.chance(0.03) ? 36 + random.below(10) : random.pick([0, 1, 2, 2, 3, 3, 4, 5]);
  return Array.from({ length: count }, (_, at) => column(random, NAMES[at] ?? `column${at}`, random.pick(types)));
}

/** A column: its definition, the values to write to it, and how to make new ones. */
export function column(random, name, type) {
  const notNull = random.chance(0.2);
  const hasDefault = notNull || random.chance(0.3);
  const values = [...(VALUES[type] ?? VALUES.ANY), ...(notNull ? [] : ["NULL"])];
  const kind = FRESH[type] ? type : random.pick(["INTEGER", "TEXT", "REAL", "BLOB"]);
  // A value that only statements with OR IGNORE try to write.
  const forbidden = type === "TEXT" && random.chance(0.2) ? "'no'" : undefined;
  const parts = [name, type, notNull && "NOT NULL", hasDefault && `DEFAULT ${DEFAULTS[type] ?? "7"}`, forbidden && `CHECK (${name} IS NOT ${forbidden})`];
  return { name, values, fresh: FRESH[kind], forbidden, sql: parts.filter(Boolean).join(" ") };
}

function fits(type, literal) {
  switch (type) {
    case "INTEGER":
    case "INT":
      return /^-?\d+$/.test(literal);
    case "REAL":
      return /^-?[\d.e]+$/.test(literal);
    case "TEXT":
      return literal.startsWith("'");
    case "BLOB":
      return literal.startsWith("X'");
    default:
      return true;
  }
}

/** A handful of keys that differ from each other. */
function keysOf(random, pools) {
  const keys = new Map();
  for (let tries = 0; tries < 12 && keys.size < 5; tries++) {
    const values = pools.map((pool) => random.pick(pool));
    keys.set(values.join(", "), values);
  }
  return [...keys.values()];
}
