use std::time::Duration;

/// What a [`Store`](super::Store) may take of its host.
///
/// It has at most `3 × open_databases + 2 × readers` files open, and its caches take at most
/// `(open_databases + readers) × page_cache` bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// How many databases are open at a time. Others can be used meanwhile: they wait for one that is idle to be closed.
    pub open_databases: usize,
    /// How many connections read beside the writers, of all databases together.
    pub readers: usize,
    /// How many of those read one database.
    pub readers_each: usize,
    /// The page cache of one connection, in bytes.
    pub page_cache: usize,
    /// The size in bytes from which on a write-ahead log is cut, for which the reads of that database are held up.
    pub wal: u64,
    /// How long a statement waits for another process, such as `crsql-sync sql`, to finish a transaction.
    pub busy: Duration,
    /// How long a call waits for its database to be opened while as many as may be are open and in use.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            open_databases: 512,
            readers: 128,
            readers_each: 4,
            page_cache: 1 << 20,
            wal: 16 << 20,
            busy: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }
}
