//! The time that what runs on a connection may take. SQL from outside may never end, and so may the triggers of an
//! application, which run whenever rows are merged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use web_time::Instant;

use super::error::Error;
use super::replica::Replica;

/// How many steps of SQLite's machine pass between two looks at the clock.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

impl Replica {
    /// Runs `f` for `time` at most: what it runs on this copy's connection is broken off then, and an error of it is
    /// [`Error::TookTooLong`].
    pub fn within<T, E: From<Error>>(
        &mut self,
        time: Duration,
        f: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let deadline = Deadline::begin(&mut self.conn, time).map_err(Error::from)?;
        let result = f(self);
        let passed = deadline.end(&mut self.conn).map_err(Error::from)?;
        result.map_err(|error| passed.map_or(error, |time| Error::TookTooLong(time).into()))
    }
}

/// A time after which the statements of a connection are broken off.
pub(super) struct Deadline {
    time: Duration,
    passed: Arc<AtomicBool>,
}

impl Deadline {
    /// Begins to count.
    pub(super) fn begin(conn: &mut Connection, time: Duration) -> rusqlite::Result<Self> {
        let passed = Arc::new(AtomicBool::new(false));
        let (started, hit) = (Instant::now(), passed.clone());
        let watch = move || {
            let over = started.elapsed() > time;
            hit.fetch_or(over, Ordering::Relaxed);
            over
        };
        conn.progress_handler(STEPS_BETWEEN_LOOKS, Some(watch))?;
        Ok(Self { time, passed })
    }

    /// Lets what runs from now on take any time. Returns the time that was given if something was broken off.
    pub(super) fn end(self, conn: &mut Connection) -> rusqlite::Result<Option<Duration>> {
        conn.progress_handler(0, None::<fn() -> bool>)?;
        Ok(self.passed.load(Ordering::Relaxed).then_some(self.time))
    }
}
