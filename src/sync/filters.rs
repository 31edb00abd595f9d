//! Which rows of tables somebody may use.

mod compiled;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use rusqlite::types::Value;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use sha2::{Digest, Sha256};

use super::json::JsonValue;
use super::tables::Tables;
use crate::crr::SiteId;
use crate::crr::tokens::{Token, tokens};
pub(super) use compiled::Filters;

/// Filters of rows by the names of their tables, which SQLite compares without regard to the case of ASCII letters. A table
/// that is not named has none: all its rows may be used.
///
/// A filter that cannot be used in a database, be it that there is no such table, refuses whatever is done within it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowFilters(Arc<BTreeMap<Box<str>, Filter>>);

/// The condition that the rows of one table meet.
///
/// ```
/// # use crsql_sync::sync::{Filter, RowFilters};
/// let own = Filter::new("owner = :user").named([("user", "ann".to_owned())]);
/// let of_projects = Filter::new("user = ?").list(["ann".to_owned()]).read_only();
/// let filters = RowFilters::from_iter([("task", own), ("member", of_projects)]);
/// assert!(filters.is_read_only("Member"));
/// ```
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// An SQL expression over a row of the table; it may have sub-queries over any tables. What it says must depend on
    /// nothing else, and it must come to a result for every row.
    pub sql: String,
    /// The values of its parameters.
    #[serde(default)]
    pub params: FilterParams,
    /// Whether the table may only be read.
    #[serde(default, alias = "readOnly")]
    pub read_only: bool,
}

/// The values of a filter's parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterParams {
    /// Those of `?1`, `?2`, …
    List(Vec<JsonValue>),
    /// Those of `:name`, each by its name without the colon.
    Named(BTreeMap<String, JsonValue>),
}

impl Filter {
    /// One without parameters.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), params: FilterParams::default(), read_only: false }
    }

    /// Sets the values of `?1`, `?2`, …
    pub fn list<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Self {
        let values = values.into_iter().map(|value| JsonValue(value.into())).collect();
        Self { params: FilterParams::List(values), ..self }
    }

    /// Sets the values of `:name`, each by its name without the colon.
    pub fn named<N: Into<String>, V: Into<Value>>(self, values: impl IntoIterator<Item = (N, V)>) -> Self {
        let values = values.into_iter().map(|(name, value)| (name.into(), JsonValue(value.into()))).collect();
        Self { params: FilterParams::Named(values), ..self }
    }

    /// The names of its parameters, where they are all of the form `:name`.
    pub fn names(&self) -> Option<BTreeSet<&str>> {
        let tokens = tokens(&self.sql);
        let text = |token: &Token| self.sql.get(token.range.clone()).unwrap_or_default();
        // `$1` and the like are words to the tokenizer.
        if tokens.iter().any(|token| text(token).starts_with(['?', '@', '$'])) {
            return None;
        }
        let pairs = tokens.iter().zip(tokens.iter().skip(1));
        let named = pairs.filter(|(colon, name)| colon.is_mark(":") && colon.range.end == name.range.start);
        Some(named.map(|(_, name)| text(name)).collect())
    }

    /// Has nothing written to the table.
    pub fn read_only(self) -> Self {
        Self { read_only: true, ..self }
    }
}

impl RowFilters {
    /// Whether the table of that name may only be read.
    pub fn is_read_only(&self, table: &str) -> bool {
        self.0.get(&*table.to_ascii_lowercase()).is_some_and(|filter| filter.read_only)
    }

    /// The site as which the copy `site` shows itself to whoever is bound by these filters, as
    /// [for some tables](Tables::view_of): what is known of one such view is not true of another.
    pub fn view_of(&self, site: SiteId) -> SiteId {
        let mut hasher = Sha256::new().chain_update(site.as_bytes());
        for (table, filter) in self.0.iter() {
            // A value is told from others by its kind too.
            let rest = format!("{:?} {}", filter.params, filter.read_only);
            for part in [&**table, &*filter.sql, &*rest] {
                hasher.update((part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        let hash: [u8; 32] = hasher.finalize().into();
        let mut view = [0; 16];
        view.iter_mut().zip(hash).for_each(|(byte, hash)| *byte = hash);
        SiteId::new(view)
    }
}

/// The site as which the copy `site` shows itself to whoever may use these tables and rows only.
pub(crate) fn view_of(site: SiteId, tables: Option<&Tables>, filters: Option<&RowFilters>) -> SiteId {
    let site = tables.map_or(site, |tables| tables.view_of(site));
    filters.map_or(site, |filters| filters.view_of(site))
}

/// Of two filters of one table the last counts.
impl<S: AsRef<str>> FromIterator<(S, Filter)> for RowFilters {
    fn from_iter<I: IntoIterator<Item = (S, Filter)>>(filters: I) -> Self {
        let lower = |(table, filter): (S, Filter)| (table.as_ref().to_ascii_lowercase().into_boxed_str(), filter);
        let mut all = BTreeMap::new();
        all.extend(filters.into_iter().map(lower));
        Self(Arc::new(all))
    }
}

impl<'de> Deserialize<'de> for RowFilters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let filters = BTreeMap::<Box<str>, Filter>::deserialize(deserializer)?;
        let count = filters.len();
        let all = Self::from_iter(filters);
        if all.0.len() < count {
            return Err(de::Error::custom("a table has two filters, by names that differ in case only"));
        }
        Ok(all)
    }
}

impl Default for FilterParams {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl<'de> Deserialize<'de> for FilterParams {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ParamsVisitor)
    }
}

struct ParamsVisitor;

impl<'de> Visitor<'de> for ParamsVisitor {
    type Value = FilterParams;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values, or values by the names of parameters")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<FilterParams, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(FilterParams::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FilterParams, A::Error> {
        let mut values = BTreeMap::new();
        while let Some((name, value)) = map.next_entry()? {
            values.insert(name, value);
        }
        Ok(FilterParams::Named(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<RowFilters, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn filters_are_written_as_queries_are_or_with_names() {
        let filters = read(
            r#"{"Task": {"sql": "owner = :user", "params": {"user": "ann"}},
                "a": {"sql": "x > ?", "params": [{"$real": 1}]}, "b": {"sql": "0", "read_only": true}}"#,
        );
        let expected = [
            ("task", Filter::new("owner = :user").named([("user", "ann".to_owned())])),
            ("A", Filter::new("x > ?").list([1.0])),
            ("b", Filter::new("0").read_only()),
        ];
        assert_eq!(filters.unwrap(), RowFilters::from_iter(expected));
        for spoilt in [
            r#"{"a": "x > 1"}"#,
            r#"{"a": {"params": []}}"#,
            r#"{"a": {"sql": "x > ?", "param": [1]}}"#,
            r#"{"a": {"sql": "x > ?", "params": 1}}"#,
            r#"{"a": {"sql": "x > ?", "params": [true]}}"#,
            r#"{"a": {"sql": "1"}, "A": {"sql": "0"}}"#,
            r#"[]"#,
        ] {
            assert!(read(spoilt).is_err(), "{spoilt}");
        }
    }

    #[test]
    fn the_names_of_parameters_are_found_where_all_have_one() {
        let names =
            |sql| Filter::new(sql).names().map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let some = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(
            names("owner = :sub AND team IN (SELECT team FROM m WHERE u =:Sub /* :no */)"),
            some(&["Sub", "sub"])
        );
        assert_eq!(names("owner = ':no' AND x -> '$.a' = \"$b\" -- :no"), some(&[]));
        for sql in ["owner = ?", "owner = ?1", "owner = @sub", "owner = $sub", "owner = :sub OR owner = ?"] {
            assert_eq!(names(sql), None, "{sql}");
        }
    }

    #[test]
    fn each_filter_has_its_own_view_of_a_copy() {
        let (a, b) = (SiteId::new([1; 16]), SiteId::new([2; 16]));
        let of = |table: &str, filter| RowFilters::from_iter([(table, filter)]);
        let ann = || Filter::new("x = ?").list(["1".to_owned()]);
        assert_eq!(of("T", ann()).view_of(a), of("t", ann()).view_of(a));
        let views = [
            a,
            of("t", ann()).view_of(a),
            of("t", ann()).view_of(b),
            of("u", ann()).view_of(a),
            of("t", ann().read_only()).view_of(a),
            of("t", ann().list([1])).view_of(a),
            of("t", ann().named([("1", "1".to_owned())])).view_of(a),
            of("t", Filter::new("x = '1'")).view_of(a),
            RowFilters::default().view_of(a),
            view_of(a, Some(&Tables::from_iter(["t"])), Some(&of("t", ann()))),
        ];
        let different: std::collections::BTreeSet<_> = views.into_iter().collect();
        assert_eq!(different.len(), views.len());
    }
}
