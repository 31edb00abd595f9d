//! Random rows and queries.

use fastrand::Rng;

/// Columns of every affinity and collation, a key of each kind, indexes, a generated column and views.
pub(crate) const SCHEMA: &str = "
    CREATE TABLE a (id INTEGER PRIMARY KEY NOT NULL, x INTEGER, t TEXT, r REAL, b, g TEXT AS (lower(t)));
    CREATE TABLE b (id TEXT PRIMARY KEY NOT NULL, x INTEGER, t TEXT COLLATE NOCASE, r NUMERIC, b BLOB);
    CREATE TABLE c (x INTEGER NOT NULL, t TEXT NOT NULL, r REAL, b, id INTEGER, PRIMARY KEY (x, t)) WITHOUT ROWID;
    CREATE INDEX a_x ON a (x);
    CREATE INDEX a_t ON a (t, x);
    CREATE INDEX b_x ON b (x, t);
    CREATE INDEX c_some ON c (r) WHERE x > 0;
    SELECT crsql_as_crr('a');
    SELECT crsql_as_crr('b');
    SELECT crsql_as_crr('c');
    CREATE VIEW v AS SELECT a.id, a.x, b.t, b.r, a.b FROM a LEFT JOIN b ON a.x = b.x;
    CREATE VIEW w AS SELECT max(id) AS id, x, min(t) AS t, sum(r) AS r, count(*) AS b FROM c GROUP BY x";

/// The same tables and columns with other types, collations, keys and indexes.
pub(crate) fn schema(seed: u64) -> String {
    // The one that has some of everything comes often.
    if seed.is_multiple_of(3) {
        return SCHEMA.to_owned();
    }
    let mut rng = Rng::with_seed(seed ^ 0x5c4e3a);
    let mut one = |of: &[&'static str]| of[rng.usize(..of.len())];
    let (numbers, texts) = (
        ["INTEGER", "INT", "NUMERIC", "REAL", "TEXT", ""],
        ["TEXT", "TEXT COLLATE NOCASE", "TEXT COLLATE RTRIM", "", "BLOB"],
    );
    let any = ["", "BLOB", "TEXT", "NUMERIC", "INTEGER"];
    let keys = [
        one(&["INTEGER PRIMARY KEY NOT NULL", "INT PRIMARY KEY NOT NULL", "NUMERIC PRIMARY KEY NOT NULL"]),
        one(&["TEXT PRIMARY KEY NOT NULL", "TEXT COLLATE NOCASE PRIMARY KEY NOT NULL", "BLOB PRIMARY KEY NOT NULL"]),
    ];
    let mut schema = String::new();
    for (table, key) in ["a", "b"].into_iter().zip(keys) {
        let [x, t, r, b] = [one(&numbers), one(&texts), one(&numbers), one(&any)];
        let generated = if table == "a" { ", g TEXT AS (lower(t))" } else { "" };
        let rowid = one(&["", " WITHOUT ROWID"]);
        schema += &format!("CREATE TABLE {table} (id {key}, x {x}, t {t}, r {r}, b {b}{generated}){rowid};");
    }
    let [x, t, r, b, id] = [one(&["INTEGER", "INT", ""]), one(&texts), one(&numbers), one(&any), one(&numbers)];
    let (order, rowid) = (one(&["x, t", "t, x"]), one(&["", " WITHOUT ROWID"]));
    schema += &format!(
        "CREATE TABLE c (x {x} NOT NULL, t {t} NOT NULL, r {r}, b {b}, id {id}, PRIMARY KEY ({order})){rowid};"
    );
    for table in ["a", "b", "c"] {
        for n in 0..2 {
            let columns = one(&["x", "t", "t, x", "x DESC, r", "lower(t)", "r COLLATE NOCASE", "b"]);
            let some = one(&["", "", " WHERE x > 0", " WHERE t IS NOT NULL"]);
            schema += &format!("CREATE INDEX {table}{n} ON {table} ({columns}){some};");
        }
        schema += &format!("SELECT crsql_as_crr('{table}');");
    }
    schema + &SCHEMA[SCHEMA.find("CREATE VIEW v").unwrap()..]
}

const COLUMNS: [&str; 5] = ["id", "x", "t", "r", "b"];

/// Few values, so that they meet; many that are equal under some affinity or collation only.
const VALUES: [&str; 24] = [
    "NULL",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "10",
    "1.0",
    "1.5",
    "0.0",
    "'1'",
    "'01'",
    "'1.0'",
    "'a'",
    "'A'",
    "'b'",
    "'B'",
    "''",
    "' '",
    "'!'",
    "'2024-01-01'",
    "x'31'",
    "x'61'",
    "x''",
];

pub(crate) struct Generator {
    rng: Rng,
    /// Names given so far.
    names: usize,
}

impl Generator {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), names: 0 }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.rng.usize(..of.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn value(&mut self) -> String {
        self.one(&VALUES).to_owned()
    }

    pub(crate) fn rows(&mut self) -> Vec<String> {
        (0..self.rng.usize(1..20)).map(|_| self.write()).collect()
    }

    /// A statement that writes.
    pub(crate) fn write(&mut self) -> String {
        let [x, t, r, b] = [(); 4].map(|()| self.value());
        let id = self.rng.u32(0..8);
        match self.rng.u32(..12) {
            0..4 => format!("INSERT OR REPLACE INTO a (id, x, t, r, b) VALUES ({id}, {x}, {t}, {r}, {b})"),
            4..7 => format!("INSERT OR REPLACE INTO b (id, x, t, r, b) VALUES ('{id}', {x}, lower({t}), {r}, {b})"),
            7..10 => {
                format!("INSERT OR REPLACE INTO c (x, t, r, b, id) VALUES ({}, 't{}', {r}, {b}, {id})", id % 3, id / 3)
            }
            10 => {
                let (table, column) = (self.one(&["a", "b"]), self.one(&["x", "t", "r", "b"]));
                format!("UPDATE {table} SET {column} = lower({x}) WHERE id = {id}")
            }
            _ => format!("DELETE FROM {} WHERE id = {id}", self.one(&["a", "b", "c"])),
        }
    }

    /// A condition on the rows of a table, by its name.
    pub(crate) fn filter(&mut self, table: &str) -> String {
        self.condition(&[table], 2)
    }

    pub(crate) fn query(&mut self) -> String {
        let depth = self.rng.usize(..3);
        let query = match self.rng.u32(..20) {
            0 => self.recursive(depth),
            1 | 2 => self.compound(depth),
            3 => {
                let (name, inner) = (self.name(), self.select(depth));
                self.names += 1;
                format!("WITH {name}(id, x, t, r, b) AS ({inner}) {}", self.select_from(depth, &[name.as_str()]))
            }
            _ => self.select(depth),
        };
        self.ordered(query)
    }

    /// One that looks for rows by their keys, mostly.
    pub(crate) fn query_by_key(&mut self) -> String {
        let (a, b) = (self.rng.u32(0..8), self.rng.u32(0..8));
        let (text, value) = (format!("'{b}'"), self.value());
        let column = self.one(&COLUMNS);
        match self.rng.u32(..12) {
            0 => format!("SELECT * FROM a WHERE id = {a}"),
            1 => format!("SELECT {column} FROM b WHERE id = {text}"),
            2 => format!("SELECT {column} FROM c WHERE x = {} AND t = 't{}'", a % 3, b / 3),
            3 => format!("SELECT count(*), max({column}) FROM a WHERE id IN ({a}, {b}, {value})"),
            4 => format!("SELECT a.{column}, b.{column} FROM a LEFT JOIN b ON b.id = a.t WHERE a.id = {a}"),
            5 => format!("SELECT b.{column} FROM b JOIN a ON a.id = b.x WHERE b.id = {text}"),
            6 => format!("SELECT {column} FROM a WHERE id = (SELECT x FROM a WHERE id = {a})"),
            7 => format!("SELECT (SELECT {column} FROM b WHERE id = {text}), EXISTS (SELECT 1 FROM a WHERE id = {a})"),
            8 => format!("SELECT {column} FROM v WHERE id = {a}"),
            9 => format!("SELECT {column} FROM a WHERE id = {value} OR id = {b}"),
            10 => format!("SELECT {column} FROM b WHERE id = {value} AND x IS NOT {a}"),
            _ => format!("SELECT {column} FROM a WHERE id = {a} UNION ALL SELECT {column} FROM b WHERE id = {text}"),
        }
    }

    /// With an order of all columns there is one answer only, also where it is cut.
    fn ordered(&mut self, query: String) -> String {
        if self.chance(70) {
            return query;
        }
        let direction = |rng: &mut Rng| if rng.bool() { "" } else { " DESC" };
        let order: Vec<String> = (1..=5).map(|i| format!("{i}{}", direction(&mut self.rng))).collect();
        let cut = format!("LIMIT {} OFFSET {}", self.rng.u32(0..5), self.rng.u32(0..3));
        format!("SELECT * FROM ({query}) ORDER BY {} {cut}", order.join(", "))
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("n{}", self.names)
    }

    fn recursive(&mut self, depth: usize) -> String {
        let name = self.name();
        let (table, condition) = (self.one(&["a", "b", "c"]), self.condition(&["s"], depth.saturating_sub(1)));
        format!(
            "WITH RECURSIVE {name}(id, x, t, r, b) AS (
               SELECT id, x, t, 0, b FROM {table} s WHERE {condition}
               UNION SELECT s.id, s.x, s.t, {name}.r + 1, s.b FROM {name} JOIN {table} s ON s.x = {name}.id WHERE {name}.r < 3)
             SELECT * FROM {name}"
        )
    }

    fn compound(&mut self, depth: usize) -> String {
        let (a, b) = (self.select(depth), self.select(depth));
        let operator = self.one(&["UNION", "UNION ALL", "INTERSECT", "EXCEPT"]);
        format!("SELECT * FROM ({a}) {operator} SELECT * FROM ({b})")
    }

    /// A query with the columns id, x, t, r, b.
    fn select(&mut self, depth: usize) -> String {
        self.select_from(depth, &[])
    }

    fn select_from(&mut self, depth: usize, besides: &[&str]) -> String {
        let mut aliases = vec![self.name()];
        let mut from = format!("{} {}", self.source(depth, besides), aliases[0]);
        while self.chance(40) && aliases.len() < 3 {
            let alias = self.name();
            let source = self.source(depth, besides);
            aliases.push(alias.clone());
            let names: Vec<&str> = aliases.iter().map(String::as_str).collect();
            let kind = self.one(&["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "CROSS JOIN"]);
            let on = match self.rng.u32(..3) {
                0 => self.condition(&names, depth.saturating_sub(1)),
                _ => {
                    let (a, b) = (self.one(&COLUMNS), self.one(&COLUMNS));
                    format!("{}.{a} = {alias}.{b}", names[0])
                }
            };
            from += &format!(" {kind} {source} {alias} ON {on}");
        }
        let names: Vec<&str> = aliases.iter().map(String::as_str).collect();
        let filter = if self.chance(70) { format!(" WHERE {}", self.condition(&names, depth)) } else { String::new() };
        match self.rng.u32(..6) {
            0 => {
                let key = self.column(&names);
                let having =
                    if self.chance(40) { format!(" HAVING count(*) > {}", self.rng.u32(0..3)) } else { String::new() };
                let [x, t, b] = [(); 3].map(|()| self.column(&names));
                format!(
                    "SELECT {key} AS id, count({x}) AS x, min({t}) AS t, total({x}) AS r, max({b}) AS b FROM {from}{filter} GROUP BY {key}{having}"
                )
            }
            1 => {
                let (part, x) = (self.column(&names), self.column(&names));
                let columns: Vec<String> = ["id", "t", "b"].iter().map(|c| format!("{}.{c}", names[0])).collect();
                format!(
                    "SELECT {} AS id, count(*) OVER (PARTITION BY {part}) AS x, {} AS t, dense_rank() OVER (ORDER BY {x}) AS r, {} AS b FROM {from}{filter}",
                    columns[0], columns[1], columns[2]
                )
            }
            _ => {
                let distinct = if self.chance(20) { "DISTINCT " } else { "" };
                let columns: Vec<String> =
                    COLUMNS.iter().map(|name| format!("{} AS {name}", self.expression(&names, depth))).collect();
                format!("SELECT {distinct}{} FROM {from}{filter}", columns.join(", "))
            }
        }
    }

    fn source(&mut self, depth: usize, besides: &[&str]) -> String {
        if !besides.is_empty() && self.chance(50) {
            return self.one(besides).to_owned();
        }
        if depth > 0 && self.chance(25) {
            return format!("({})", self.select(depth - 1));
        }
        self.one(&["a", "a", "b", "b", "c", "v", "w"]).to_owned()
    }

    fn column(&mut self, names: &[&str]) -> String {
        format!("{}.{}", self.one(names), self.one(&COLUMNS))
    }

    fn expression(&mut self, names: &[&str], depth: usize) -> String {
        match self.rng.u32(..12) {
            0 => self.value(),
            1 => format!("coalesce({}, {})", self.column(names), self.value()),
            2 => format!("upper({})", self.column(names)),
            3 if depth > 0 => {
                let (inner, outer) = (self.name(), self.column(names));
                let table = self.one(&["a", "b", "c"]);
                let (column, to) = (self.one(&COLUMNS), self.one(&COLUMNS));
                let what = self.one(&["count(*)", "max(x)", "min(t)", "sum(r)"]);
                format!(
                    "(SELECT {what} FROM {table} {inner} WHERE {inner}.{column} = {outer} AND {inner}.{to} IS NOT NULL)"
                )
            }
            _ => self.column(names),
        }
    }

    fn condition(&mut self, names: &[&str], depth: usize) -> String {
        let column = self.column(names);
        match self.rng.u32(..17) {
            0..4 => format!("{column} {} {}", self.comparison(), self.value()),
            4 | 5 => format!("{column} {} {}", self.comparison(), self.column(names)),
            6 => format!("{column} BETWEEN {} AND {}", self.value(), self.value()),
            7 => format!("{column} IN ({}, {}, {})", self.value(), self.value(), self.value()),
            8 => format!("{column} {}", self.one(&["IS NULL", "IS NOT NULL"])),
            9 => {
                format!("{column} {} '{}'", self.one(&["LIKE", "GLOB"]), self.one(&["a%", "A*", "%1%", "_", "[a-b]*"]))
            }
            10 => format!("({} AND {})", self.condition(names, depth), self.condition(names, depth)),
            11 => format!("({} OR {})", self.condition(names, depth), self.condition(names, depth)),
            12 => format!("NOT ({})", self.condition(names, depth)),
            13 => format!(
                "{column} {} {} COLLATE {}",
                self.comparison(),
                self.value(),
                self.one(&["NOCASE", "BINARY", "RTRIM"])
            ),
            14 => format!(
                "{column} {} CAST({} AS {})",
                self.comparison(),
                self.value(),
                self.one(&["TEXT", "INTEGER", "NUMERIC", "BLOB"])
            ),
            15 if depth > 0 => {
                let inner = self.name();
                let mut all = names.to_vec();
                all.push(&inner);
                let condition = self.condition(&all, depth - 1);
                let source = self.source(depth - 1, &[]);
                let (own, outer) = (self.one(&COLUMNS), self.column(names));
                format!(
                    "{} (SELECT 1 FROM {source} {inner} WHERE {inner}.{own} = {outer} AND {condition})",
                    self.one(&["EXISTS", "NOT EXISTS"])
                )
            }
            16 if depth > 0 => {
                let inner = self.name();
                let source = self.source(depth - 1, &[]);
                let condition = self.condition(&[&inner], depth - 1);
                let own = self.one(&COLUMNS);
                format!(
                    "{column} {} (SELECT {inner}.{own} FROM {source} {inner} WHERE {condition})",
                    self.one(&["IN", "NOT IN"])
                )
            }
            _ => format!("{column} + 1 > 1"),
        }
    }

    fn comparison(&mut self) -> &'static str {
        self.one(&["=", "=", "<>", "<", "<=", ">", ">=", "IS", "IS NOT"])
    }
}
