use std::str::FromStr;
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, de};

use crate::crr::SiteId;
use crate::http::{Bounds, Verdict};
use crate::store::Dbid;
use crate::sync::RowFilters;

/// What a principal may do, as it stands in the tokens file, a token's claims, and a webhook's answer. A member that is not
/// known is an error: a misspelt bound would be none.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Grant {
    principal: Option<String>,
    read_only: bool,
    #[serde(deserialize_with = "texts")]
    sites: Option<Vec<SiteId>>,
    tables: Option<Vec<String>>,
    rows: Option<RowFilters>,
    #[serde(deserialize_with = "texts")]
    databases: Option<Vec<Pattern>>,
}

impl Grant {
    /// Whether the database is one of the principal's.
    pub(super) fn has(&self, dbid: &Dbid) -> bool {
        self.databases.as_ref().is_none_or(|databases| databases.iter().any(|pattern| pattern.matches(dbid)))
    }

    /// Keeps the principal to these rows. False where it was kept to some already.
    pub(super) fn keep_to(&mut self, rows: RowFilters) -> bool {
        self.rows.replace(rows).is_none()
    }

    /// The verdict on a request for `dbid`, until `expires`.
    pub(super) fn judge(&self, dbid: &Dbid, expires: Option<SystemTime>) -> Verdict {
        if !self.has(dbid) {
            return Verdict::Forbidden(format!("the database {dbid} is not among those that this caller may use"));
        }
        self.bounds(expires).into()
    }

    pub(super) fn bounds(&self, expires: Option<SystemTime>) -> Bounds {
        let mut bounds = Bounds { read_only: self.read_only, expires, ..Bounds::NONE };
        if let Some(principal) = &self.principal {
            bounds = bounds.principal(principal.as_str());
        }
        if let Some(sites) = &self.sites {
            bounds = bounds.sites(sites.iter().copied());
        }
        if let Some(tables) = &self.tables {
            bounds = bounds.tables(tables);
        }
        bounds.rows = self.rows.clone();
        bounds
    }
}

/// A database id, or what several begin with, followed by a star.
#[derive(Clone, Debug)]
enum Pattern {
    One(Dbid),
    Prefix(String),
}

impl Pattern {
    fn matches(&self, dbid: &Dbid) -> bool {
        match self {
            Self::One(one) => one == dbid,
            Self::Prefix(prefix) => dbid.as_str().starts_with(prefix),
        }
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(prefix) = text.strip_suffix('*') else {
            return Dbid::new(text).map(Self::One).map_err(|error| format!("{text:?}: {error}"));
        };
        if prefix.is_empty() || Dbid::new(prefix).is_ok() {
            Ok(Self::Prefix(prefix.into()))
        } else {
            Err(format!("no database id begins with {prefix:?}"))
        }
    }
}

/// A list of texts that are each read as a `T`.
fn texts<'de, T: FromStr<Err: std::fmt::Display>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    let texts = Option::<Vec<String>>::deserialize(deserializer)?;
    let read = |texts: Vec<String>| texts.iter().map(|text| text.parse()).collect::<Result<_, _>>();
    texts.map(read).transpose().map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(json: &str) -> Result<Grant, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn databases_are_named_whole_or_by_their_beginning() {
        let grant = grant(r#"{"databases": ["ann-*", "shared"]}"#).unwrap();
        let has = |dbid| grant.has(&Dbid::new(dbid).unwrap());
        assert!(has("ann-") && has("ann-1") && has("shared"));
        assert!(!has("ann") && !has("shared2") && !has("bob-ann-1"));
        assert!(self::grant(r#"{"databases": ["*"]}"#).unwrap().has(&Dbid::new("x").unwrap()));
        assert!(!self::grant(r#"{"databases": []}"#).unwrap().has(&Dbid::new("x").unwrap()));
    }

    #[test]
    fn what_is_no_bound_is_an_error_and_not_without_bound() {
        for json in [
            r#"{"table": ["a"]}"#,
            r#"{"tables": "a"}"#,
            r#"{"read_only": "yes"}"#,
            r#"{"sites": ["9a"]}"#,
            r#"{"databases": ["a*b"]}"#,
            r#"{"databases": ["../*"]}"#,
            r#"{"rows": ["todo"]}"#,
            r#"{"rows": {"todo": "1"}}"#,
        ] {
            assert!(grant(json).is_err(), "{json}");
        }
    }
}
