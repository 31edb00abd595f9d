use std::cmp::Ordering;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::authorizer::is_internal;
use crate::crr::SiteId;
use crate::crr::sort::sort;

/// A set of tables by their names, which SQLite compares without regard to the case of ASCII letters.
///
/// The engine's own tables and SQLite's are in no such set, whatever names it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables(Arc<[Box<str>]>);

impl Tables {
    /// Whether the table of that name is in the set.
    pub fn contains(&self, name: &str) -> bool {
        self.0.binary_search_by(|known| compare(known, name)).is_ok()
    }

    /// The site as which the copy `site` shows itself to readers of these tables only.
    ///
    /// A cursor says that its holder has everything up to there. Of such a reader that is true of these tables only, so its
    /// cursors are of a site of their own: one who is later allowed others is told that its cursor is unknown, and begins
    /// again.
    pub fn view_of(&self, site: SiteId) -> SiteId {
        let mut hasher = Sha256::new().chain_update(site.as_bytes());
        for name in self.0.iter() {
            hasher.update(name.as_bytes());
            hasher.update([0]);
        }
        let hash: [u8; 32] = hasher.finalize().into();
        let mut view = [0; 16];
        view.iter_mut().zip(hash).for_each(|(byte, hash)| *byte = hash);
        SiteId::new(view)
    }
}

/// Compares a name in lower case with any other.
fn compare(lower: &str, other: &str) -> Ordering {
    lower.bytes().cmp(other.bytes().map(|byte| byte.to_ascii_lowercase()))
}

impl<S: AsRef<str>> FromIterator<S> for Tables {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        let lower = names.into_iter().map(|name| name.as_ref().to_ascii_lowercase().into_boxed_str());
        let mut names: Vec<Box<str>> = lower.filter(|name| !is_internal(name)).collect();
        sort(&mut names);
        names.dedup();
        Self(names.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_as_sqlite_does() {
        let tables = Tables::from_iter(["Todo", "b", "Ä"]);
        for name in ["todo", "TODO", "B", "Ä"] {
            assert!(tables.contains(name), "{name}");
        }
        for name in ["", "tod", "todos", "ä", "a"] {
            assert!(!tables.contains(name), "{name}");
        }
    }

    #[test]
    fn each_set_of_tables_has_its_own_view_of_a_copy() {
        let (a, b) = (SiteId::new([1; 16]), SiteId::new([2; 16]));
        let tables = |names: &[&str]| Tables::from_iter(names);
        assert_eq!(tables(&["x", "Y"]).view_of(a), tables(&["y", "X", "x"]).view_of(a));
        let views = [
            tables(&["x"]).view_of(a),
            tables(&["x"]).view_of(b),
            tables(&["xy"]).view_of(a),
            tables(&["x", "y"]).view_of(a),
            tables(&[]).view_of(a),
            a,
        ];
        let different: std::collections::BTreeSet<_> = views.into_iter().collect();
        assert_eq!(different.len(), views.len());
    }

    #[test]
    fn a_set_never_holds_what_is_not_the_applications() {
        let names = ["sqlite_schema", "crsql_changes", "crsql_master", "todo__crsql_clock", "SQLITE_MASTER"];
        let tables = Tables::from_iter(names);
        assert!(names.iter().all(|name| !tables.contains(name)));
    }
}
