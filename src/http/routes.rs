use thiserror::Error;

/// Where the operations stand: a prefix, and below it `/{dbid}` and `/{dbid}/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {}

/// A prefix or name that cannot stand in a path, or one name for two operations.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct InvalidRoutes(String);

impl Default for Routes {
    fn default() -> Self {
        Self {}
    }
}

impl Routes {
    /// Sets the prefix, such as `/sync`; empty for none.
    pub fn prefix(self, _prefix: &str) -> Result<Self, InvalidRoutes> {
        unimplemented!()
    }

    /// Renames an operation: one of `changes`, `events`, `status`, `sql`, `upstream`.
    pub fn rename(self, _operation: &str, _name: &str) -> Result<Self, InvalidRoutes> {
        unimplemented!()
    }
}
