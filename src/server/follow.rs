//! What a server that follows another does about the databases that it has already when it starts.
//!
//! Each link holds a connection to the upstream and makes requests of it, so a folder of many databases is not linked at once:
//!
//! - The ones that were written last are linked for good, as is every one that is asked for or created later.
//! - Of the others those are linked that have something unsent, until it is sent.
//!
//! They are gone through in the background, a few at a time. One whose changes could not be sent is tried again later.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::Failure;
use crate::http::links::{LinkState, Links};
use crate::store::{Database, Dbid, Error, Store};
use crate::sync::Replica;
use crate::upstream::Upstream;

/// How often progress is told, in databases.
const TELL: usize = 1000;

/// How fast they are gone through.
#[derive(Clone, Copy)]
struct Pace {
    /// How many are linked for good.
    links: usize,
    /// How many are worked on at a time.
    at_once: usize,
    /// How often it is looked whether one is sent.
    look: Duration,
    /// How long that is waited for, before others have their turn.
    patience: Duration,
    /// After what time those are tried again that could not be sent.
    pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            links: 500,
            at_once: 16,
            look: Duration::from_millis(100),
            patience: Duration::from_secs(30),
            pause: Duration::from_secs(60),
        }
    }
}

/// Whether a database needs no more of this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Later,
}

/// Goes through the databases of `store`, whose files are in `data`, until all that was unsent is sent.
pub(super) async fn follow(store: Store, data: PathBuf, upstream: Upstream) {
    if let Err(error) = go_through(&store, data, &upstream, Pace::default()).await {
        tracing::error!("the databases cannot be linked to the upstream: {error}");
    }
}

async fn go_through(store: &Store, data: PathBuf, upstream: &Upstream, pace: Pace) -> Result<(), Failure> {
    let ids = store.list().await?;
    let mut todo: Vec<_> = spawn_blocking(move || newest_first(&data, ids)).await?.into_iter().enumerate().collect();
    while !todo.is_empty() {
        let (of, gone_through) = (todo.len(), AtomicUsize::new(0));
        tracing::info!(databases = of, "going through the databases for what the upstream lacks");
        let work = stream::iter(todo).map(|(at, dbid)| {
            let gone_through = &gone_through;
            async move {
                let outcome = bring(store, upstream, &dbid, at < pace.links, pace).await;
                let gone = gone_through.fetch_add(1, Ordering::Relaxed) + 1;
                if gone.is_multiple_of(TELL) {
                    tracing::info!(gone, of, "going through the databases for what the upstream lacks");
                }
                (outcome == Outcome::Later).then_some((at, dbid))
            }
        });
        todo = work.buffer_unordered(pace.at_once).filter_map(std::future::ready).collect().await;
        tracing::info!(databases = of, to_be_tried_again = todo.len(), "went through the databases");
        if !todo.is_empty() {
            sleep(pace.pause).await;
        }
    }
    Ok(())
}

/// Links a database for good, or until it is sent.
async fn bring(store: &Store, upstream: &Upstream, dbid: &Dbid, for_good: bool, pace: Pace) -> Outcome {
    let tried = async {
        let database = store.open(dbid).await?;
        if for_good {
            upstream.attend(&database);
        }
        if !has_unsent(&database).await? {
            return Ok(Outcome::Done);
        }
        let _link = upstream.attend_for_now(&database);
        let end = Instant::now() + pace.patience;
        while has_unsent(&database).await? {
            let refused = upstream.status(dbid).is_some_and(|link| link.state == LinkState::Refused);
            if refused || Instant::now() > end {
                return Ok(Outcome::Later);
            }
            sleep(pace.look).await;
        }
        Ok(Outcome::Done)
    };
    match tried.await {
        Ok(outcome) => outcome,
        Err(Error::NotFound) => Outcome::Done,
        Err(Error::Unavailable(_)) => Outcome::Later,
        Err(error) => {
            tracing::error!(%dbid, "cannot be linked to the upstream: {error}");
            Outcome::Done
        }
    }
}

/// Whether the upstream lacks something of the database, which is to be sent.
async fn has_unsent(database: &Database) -> Result<bool, Error> {
    let look = |replica: &mut Replica| match replica.upstream()? {
        _ if replica.is_paused()? => Ok(false),
        Some(upstream) => Ok(replica.unsent(upstream)?.changes > 0),
        // It was never linked: the upstream may not even have it.
        None => Ok(true),
    };
    database.read(look).await?.map_err(Error::Sync)
}

fn newest_first(data: &Path, mut ids: Vec<Dbid>) -> Vec<Dbid> {
    let written = |dbid: &Dbid| {
        let time = |suffix| data.join(format!("{dbid}.db{suffix}")).metadata().and_then(|file| file.modified()).ok();
        time("").max(time("-wal")).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    ids.sort_by_cached_key(|dbid| std::cmp::Reverse(written(dbid)));
    ids
}

#[cfg(test)]
mod tests;
