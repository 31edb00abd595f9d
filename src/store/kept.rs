use serde::Serialize;

/// Where a database is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// On disk, for as long as nobody deletes it.
    Persisted,
    /// On disk, and the browser may delete it when it needs the place. A page asks for more by
    /// `navigator.storage.persist()`.
    BestEffort,
    /// Nowhere: the browser stores nothing here, and the database ends with the worker.
    Memory,
}
