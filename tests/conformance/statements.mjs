/** Random statements on one table. */

/** A statement, with the row that it names, so that `differences.mjs` can tell which rows differ on purpose. */
export function statement(random, table, counter, kinds = kindsFor(table)) {
  const { name, columns } = table;
  const key = random.pick(table.keys);
  const names = table.pks.map((pk) => pk.name);
  const where = names.map((each, at) => `${each} = ${key[at]}`).join(" AND ");
  // No two are alike, so that the UPDATE changes something.
  const fresh = (column) => column.fresh((counter.count += 1));
  const some = columns.filter(() => random.chance(0.7));
  const into = `INTO ${name} (${[...names, ...some.map((column) => column.name)].join(", ")})`;
  const row = (allowed) => `(${[...key, ...valuesFor(random, some, allowed)].join(", ")})`;
  const assign = (list, value) => list.map((column) => `${column.name} = ${value(column)}`).join(", ");
  const chosen = some.length > 0 ? some : columns;
  const made = (sql) => ({ sql, table: name, key: key.join(", ") });
  switch (random.pick(kinds)) {
    case "insert":
      return made(`INSERT OR IGNORE ${into} VALUES ${row(true)}`);
    case "replace":
      return made(`${random.pick(["INSERT OR REPLACE", "REPLACE"])} ${into} VALUES ${row()}`);
    case "upsert":
      return made(`INSERT ${into} VALUES ${row()} ON CONFLICT DO UPDATE SET ${assign([random.pick(columns)], fresh)}`);
    case "excluded":
      return made(`INSERT ${into} VALUES ${row()} ON CONFLICT (${names.join(", ")}) DO UPDATE SET ${assign(chosen, (column) => `excluded.${column.name}`)}`);
    case "update":
      return made(`UPDATE ${name} SET ${assign(chosen, fresh)} WHERE ${where}`);
    case "same":
      return made(`UPDATE OR IGNORE ${name} SET ${assign(chosen, (column) => valuesFor(random, [column], true)[0])} WHERE ${where}`);
    case "delete":
      return made(`DELETE FROM ${name} WHERE ${where}`);
    case "delete all":
      return { sql: `DELETE FROM ${name}`, table: name };
    case "update all":
      return { sql: `UPDATE ${name} SET ${assign([random.pick(columns)], fresh)}`, table: name };
    case "none":
      return { sql: `SELECT count(*) FROM ${name}` };
    case "move": {
      const to = random.pick(table.keys);
      const also = some.length > 0 && random.chance(0.3) ? `, ${assign([random.pick(some)], fresh)}` : "";
      // A key that is taken is left alone: onto a live row, cr-sqlite's copies never agree.
      return { ...made(`UPDATE OR IGNORE ${name} SET ${names.map((each, at) => `${each} = ${to[at]}`).join(", ")}${also} WHERE ${where}`), to: to.join(", ") };
    }
  }
}

function kindsFor({ columns, pinned, grown }) {
  const moves = pinned || grown ? [] : ["move"];
  if (columns.length === 0) return ["insert", "insert", "replace", "delete", ...moves];
  return ["insert", "insert", "insert", "replace", "replace", "upsert", "upsert", "excluded", "update", "update", "update", "same", "delete", "delete", "delete all", "update all", ...moves];
}

/** A value for each column; `all` takes also those that a CHECK refuses. */
export function valuesFor(random, columns, all = false) {
  return columns.map((column) => random.pick(all && column.forbidden !== undefined ? [...column.values, column.forbidden] : column.values));
}
