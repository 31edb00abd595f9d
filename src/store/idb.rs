//! Databases in a browser: pages in memory, kept in IndexedDB.
pub(crate) mod image;
pub(crate) mod log;
#[cfg(test)]
mod model;
pub(crate) mod record;
pub(crate) mod vfs;
