use std::time::Duration;

/// What a [`Store`](super::Store) may take of its host.
///
/// It has at most [`files`](Self::files) open. Its page caches grow to [`memory`](Self::memory) and no further.
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
    /// The memory in bytes that SQLite may have in this process before page caches grow no more, and use their own pages again
    /// instead. It counts all that SQLite has in the process, also for others, and the store that was made last decides.
    pub memory: usize,
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
            open_databases: 128,
            readers: 128,
            readers_each: 2,
            page_cache: 1 << 20,
            memory: 256 << 20,
            wal: 16 << 20,
            busy: Duration::from_secs(5),
            patience: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// How many files may be open: database, log and index of each that is open, and what its readers have. A reader that is
    /// closed gives back its log at once, and its database with the writer: until then a lock on it could be lost.
    pub fn files(&self) -> usize {
        self.open_databases.saturating_mul(3 + self.readers_each).saturating_add(self.readers)
    }

    /// As large as `files` open files allow, and not larger than is of use.
    pub fn within(files: usize) -> Self {
        Self::of((files / (4 + readers_each())).clamp(1, 512))
    }

    /// For so many open databases, on a host with as many cores as this one has.
    pub fn of(open_databases: usize) -> Self {
        let readers = (open_databases / 2).max(1);
        Self { open_databases, readers, readers_each: readers_each(), ..Self::default() }
    }
}

fn readers_each() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8))
}
