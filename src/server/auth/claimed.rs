use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::types::Value as SqlValue;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::server::Failure;
use crate::sync::{Filter, RowFilters};

/// Filters of rows whose parameters are claims, as docs/auth.md describes their file.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct ClaimedRows(BTreeMap<String, Claimed>);

/// A filter that has no values yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claimed {
    sql: String,
    #[serde(default)]
    read_only: bool,
}

impl ClaimedRows {
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let read = || Self::parse(&std::fs::read_to_string(path)?);
        read().map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn parse(text: &str) -> Result<Self, Failure> {
        let rows: Self = toml::from_str(text)?;
        match rows.0.iter().find(|(_, claimed)| Filter::new(&*claimed.sql).names().is_none()) {
            Some((table, _)) => Err(format!("{table}: parameters are claims, as in :sub").into()),
            None => Ok(rows),
        }
    }

    /// The filters for the holder of a token with these claims. A claim that lacks is an error.
    pub(super) fn of(&self, claims: &Map<String, Value>) -> Result<RowFilters, String> {
        let filters = self.0.iter().map(|(table, Claimed { sql, read_only })| {
            let filter = Filter::new(sql);
            let names = filter.names().unwrap_or_default();
            let value = |name: &str| {
                let value = claims.get(name).and_then(value);
                Ok((
                    name.to_owned(),
                    value.ok_or_else(|| format!("it has no claim {name:?}, by which its rows are known"))?,
                ))
            };
            let values = names.into_iter().map(value).collect::<Result<Vec<_>, String>>()?;
            let filter = Filter::new(sql).named(values);
            Ok((table, if *read_only { filter.read_only() } else { filter }))
        });
        filters.collect::<Result<RowFilters, String>>()
    }
}

/// A claim as a value of SQL: a list or an object as its JSON, for `json_each`. Nothing is no value.
fn value(claim: &Value) -> Option<SqlValue> {
    Some(match claim {
        Value::Null => return None,
        Value::Bool(is) => SqlValue::Integer((*is).into()),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => SqlValue::Integer(integer),
            None => SqlValue::Real(number.as_f64().filter(|_| number.is_f64())?),
        },
        Value::String(text) => SqlValue::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => SqlValue::Text(claim.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_the_claims_of_their_names() {
        let rows = ClaimedRows::parse(
            "task.sql = 'tenant = :tenant AND level <= :level'
             [member]
             sql = 'team IN (SELECT value FROM json_each(:teams))'
             read_only = true",
        );
        let rows = rows.unwrap();
        let claims = json!({ "tenant": "red", "level": 3, "teams": ["a", "b"], "sub": "ann" });
        let task = Filter::new("tenant = :tenant AND level <= :level")
            .named([("tenant", SqlValue::from("red".to_owned())), ("level", 3.into())]);
        let member = Filter::new("team IN (SELECT value FROM json_each(:teams))")
            .named([("teams", r#"["a","b"]"#.to_owned())])
            .read_only();
        let expected = RowFilters::from_iter([("task", task), ("member", member)]);
        assert_eq!(rows.of(claims.as_object().unwrap()), Ok(expected));
        for missing in ["tenant", "level", "teams"] {
            let mut claims = claims.clone();
            claims[missing] = Value::Null;
            assert!(rows.of(claims.as_object().unwrap()).unwrap_err().contains(missing));
            claims.as_object_mut().unwrap().remove(missing);
            assert!(rows.of(claims.as_object().unwrap()).unwrap_err().contains(missing));
        }
        let huge = json!({ "tenant": "red", "level": u64::MAX, "teams": [] });
        assert!(rows.of(huge.as_object().unwrap()).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_meant_is_refused() {
        for text in
            ["task = 'x'", "[task]", "task.sql = 'x = ?'", "task.sql = 'x = $sub'", "[task]\nsql = '1'\nread = 1"]
        {
            assert!(ClaimedRows::parse(text).is_err(), "{text}");
        }
    }
}
