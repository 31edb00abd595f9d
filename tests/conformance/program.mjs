/**
 * Random programs for three sites: writes of every kind, alterations, and merges in any order, repeated and incomplete.
 * A program is data, decided by its seed alone, so that both engines run the same one, a failing one can be made
 * smaller, and the smallest be kept.
 *
 *     program: { tables: [{ name, create: [sql] }], steps }
 *     steps:   { site, run: [statement] }                          statements by themselves, or one transaction
 *              { from, to, delta, shuffle, before, after }         a merge, perhaps between local writes of its transaction
 *              { alter: table, run: [sql], rows: { site: [sql] } } on every site, with rows written in the meantime
 *              { crr: table }                                      on every site
 *     statement: { sql, table, key, to }                           the row that it names; `to` where it moves the key
 */

import { Random } from "./random.mjs";
import { column, shape } from "./shapes.mjs";
import { statement, valuesFor } from "./statements.mjs";

export const SITES = ["A", "B", "C"];

/** The table that a trigger of the application writes to. */
export const TRIGGERED = "seen";

/** What the programs make use of. */
export const FEATURES = { withoutRowid: true, alter: true };

/** The program of a seed. */
export function program(seed, features = FEATURES) {
  const random = new Random(seed);
  const tables = Array.from({ length: random.pick([1, 2, 2, 3]) }, (_, index) => shape(random, index, features));
  // A moved key makes more differ on purpose than anything else, so many programs have none.
  if (random.chance(0.5)) for (const table of tables) table.pinned = true;
  const steps = [];
  const counter = { count: 0 };
  const one = () => statement(random, random.pick(tables), counter);
  for (const table of tables) steps.push(...backfilled(random, table, counter), { crr: table.name });
  if (random.chance(0.15)) tables.push(...withTrigger(random, tables, steps));
  for (let left = 8 + random.below(20); left > 0; left--) {
    const site = random.pick(SITES);
    if (features.alter && random.chance(0.05)) steps.push(alteration(random, random.pick(tables), counter));
    else if (random.chance(0.65)) steps.push({ site, run: transaction(random, one) });
    else steps.push(merge(random, site, one));
  }
  return { tables: tables.map(({ name, create }) => ({ name, create })), steps };
}

/** Rows that stand in the table before it is replicated, on each site others. */
function backfilled(random, table, counter) {
  if (random.chance(0.7)) return [];
  return SITES.map((site) => ({ site, run: Array.from({ length: random.below(4) }, () => statement(random, table, counter, ["insert"])) })).filter(({ run }) => run.length > 0);
}

/** A table that a trigger of the application fills, when a row of another one is written here. */
function withTrigger(random, tables, steps) {
  const watched = random.pick(tables);
  const seen = TRIGGERED;
  const event = random.pick(["INSERT", "UPDATE", "DELETE"]);
  const create = [
    `CREATE TABLE ${seen} (what TEXT PRIMARY KEY NOT NULL, times INTEGER DEFAULT 1)`,
    `CREATE TRIGGER watch ${random.pick(["BEFORE", "AFTER"])} ${event} ON ${watched.name} WHEN crsql_internal_sync_bit() = 0 BEGIN INSERT INTO ${seen} (what) VALUES ('${event}') ON CONFLICT DO UPDATE SET times = times + 1; END`,
  ];
  steps.push({ crr: seen });
  // Which rows the trigger writes is not known to `differences.mjs`, so no key moves.
  for (const table of tables) table.pinned = true;
  const times = { name: "times", values: ["1"], fresh: (n) => `${1000 + n}` };
  return [{ name: seen, create, pks: [{ name: "what" }], columns: [times], keys: [["'INSERT'"], ["'UPDATE'"], ["'DELETE'"]], pinned: true }];
}

/** Statements, often several in one transaction, sometimes with savepoints, sometimes taken back. */
function transaction(random, one) {
  const some = (most) => Array.from({ length: 1 + random.below(most) }, one);
  if (random.chance(0.5)) return [one()];
  const run = some(4);
  for (let depth = random.pick([0, 0, 1, 1, 2, 3]); depth > 0; depth--) {
    const start = random.below(run.length + 1);
    const end = start + random.below(run.length + 1 - start);
    const name = `s${depth}`;
    const finish = random.pick([[`RELEASE ${name}`], [`ROLLBACK TO ${name}`], [`ROLLBACK TO ${name}`, `RELEASE ${name}`]]);
    // Inner ones end where the outer ones do, or before: two that cross would be an error.
    if (nested(run.slice(start, end))) {
      run.splice(end, 0, ...finish.map(plain));
      run.splice(start, 0, plain(`SAVEPOINT ${name}`));
    }
  }
  if (random.chance(0.2)) run.splice(random.below(run.length + 1), 0, plain("SELECT count(*) FROM crsql_changes"));
  if (random.chance(0.1)) return [plain("SAVEPOINT outermost"), ...run, plain("RELEASE outermost")];
  return [plain("BEGIN"), ...run, plain(random.chance(0.15) ? "ROLLBACK" : "COMMIT")];
}

function plain(sql) {
  return { sql };
}

/** Whether every savepoint of a piece ends in it, and none from without. */
function nested(run) {
  const open = [];
  for (const { sql } of run) {
    const [, word, name] = /^(SAVEPOINT|RELEASE|ROLLBACK TO) (\w+)/.exec(sql) ?? [];
    if (word === "SAVEPOINT") open.push(name);
    else if (word !== undefined && open.at(-1) !== name) return false;
    else if (word === "RELEASE") open.pop();
  }
  return open.length === 0;
}

function merge(random, from, one) {
  const to = random.pick(SITES.filter((other) => other !== from));
  const step = { from, to, delta: random.chance(0.5) };
  if (random.chance(0.5)) step.shuffle = random.below(2 ** 32);
  if (random.chance(0.15)) step.before = [one()];
  if (random.chance(0.15)) step.after = [one()];
  return step;
}

/** A change of the table's definition, made alike on every site; each writes rows of its own in the meantime. */
function alteration(random, table, counter) {
  counter.count += 1;
  const { name } = table;
  const kind = random.pick(["add", "add", "drop", "rename", "rebuild"]);
  const run = [];
  const added = () => {
    const made = column(random, `added${counter.count}`, table.strict ? "TEXT" : random.pick(["INTEGER", "TEXT", "REAL", "BLOB", ""]));
    table.columns.push(made);
    table.grown = true;
    return made;
  };
  // The generated column speaks of the first, an index of one, a CHECK of its own.
  const removable = table.columns.filter((each) => !each.pinned && each.forbidden === undefined && each !== table.columns[0]);
  if (kind === "drop" && removable.length > 0) {
    const gone = random.pick(removable);
    table.columns.splice(table.columns.indexOf(gone), 1);
    run.push(`ALTER TABLE ${name} DROP COLUMN ${gone.name}`);
  } else if (kind === "rename" && table.columns.length > 0) {
    const renamed = random.pick(table.columns);
    run.push(`ALTER TABLE ${name} RENAME COLUMN ${renamed.name} TO renamed${counter.count}`);
    renamed.name = `renamed${counter.count}`;
  } else if (kind === "rebuild" && !table.rebuilt && !table.pinned) {
    table.rebuilt = true;
    const kept = [...table.pks, ...table.columns].map((each) => each.name).join(", ");
    const definitions = [...table.pks.map((pk) => pk.sql), ...table.columns.map((each) => each.sql.replace(/^("[^"]*"|\S+)/, each.name)), added().sql];
    run.push(`CREATE TABLE rebuilt (${definitions.join(", ")}, PRIMARY KEY (${table.pks.map((pk) => pk.name).join(", ")}))${table.strict ? " STRICT" : ""}`);
    run.push(`INSERT INTO rebuilt (${kept}) SELECT ${kept} FROM ${name}`, `DROP TABLE ${name}`, `ALTER TABLE rebuilt RENAME TO ${name}`);
  } else {
    run.push(`ALTER TABLE ${name} ADD COLUMN ${added().sql}`);
  }
  const rows = {};
  for (const site of SITES) {
    const updates = () => statement(random, table, counter, table.columns.length > 0 ? ["update"] : ["none"]).sql;
    if (random.chance(0.5)) rows[site] = [random.chance(0.5) ? updates() : newRow(random, table, counter)];
  }
  return { alter: name, run, rows };
}

/** A row with a key that nothing else writes: see B11 in differences.mjs. */
function newRow(random, table, counter) {
  const fresh = table.pks.map(({ type }) => (counter.count += 1) && (type === "BLOB" ? `X'${(0x20000 + counter.count).toString(16).padStart(6, "0")}'` : type === "TEXT" ? `'new${counter.count}'` : type === "REAL" ? `${5000 + counter.count}.5` : `${5000 + counter.count}`));
  const names = [...table.pks, ...table.columns].map(({ name }) => name);
  return `INSERT INTO ${table.name} (${names.join(", ")}) VALUES (${[...fresh, ...valuesFor(random, table.columns)].join(", ")})`;
}

/** A program as text, to be read by people. */
export function listing({ tables, steps }) {
  const sqls = (list = []) => list.map((each) => each.sql ?? each).join("; ");
  const line = (step) => {
    if (step.run && step.site) return `${step.site}: ${sqls(step.run)}`;
    if (step.crr) return `all: SELECT crsql_as_crr('${step.crr}')`;
    if (step.alter) return `all: alter ${step.alter}: ${sqls(step.run)}; ${Object.entries(step.rows).map(([site, rows]) => `only ${site}: ${sqls(rows)}`).join("; ")}`;
    const around = [step.before && `before: ${sqls(step.before)}`, step.after && `after: ${sqls(step.after)}`].filter(Boolean);
    return [`${step.from} -> ${step.to}: ${step.delta ? "what is new" : "everything"}${step.shuffle === undefined ? "" : ", shuffled"}`, ...around].join("; in the same transaction ");
  };
  return [...tables.flatMap(({ create }) => create.map((sql) => `all: ${sql}`)), ...steps.map(line)].join("\n");
}
