//! Which readers of subscriptions a write may matter to: found out once for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

use crate::crr::Version;
use crate::http::problem::Problem;
use crate::store::Database;
use crate::sync::{Position, SubscriptionId};

/// The readers of the subscriptions to one database, and what was found out last.
#[derive(Default)]
pub(in crate::http) struct Tidings {
    readers: Mutex<Readers>,
    last: Mutex<Slot>,
}

#[derive(Default)]
struct Readers {
    next: u64,
    all: BTreeMap<u64, (SubscriptionId, Version)>,
}

/// What was asked for. Whoever asks first finds it out; the others wait for that.
#[derive(Clone, Default)]
struct Slot {
    /// The newest version when it was asked for.
    at: Version,
    told: Arc<OnceCell<Told>>,
}

struct Told {
    /// The version up to which writes were looked at.
    at: Version,
    /// The readers that none of them matters to.
    unconcerned: BTreeSet<u64>,
}

/// A reader of a subscription, from its beginning to its end.
pub(super) struct Listener {
    tidings: Arc<Tidings>,
    number: u64,
}

impl Listener {
    pub(super) fn new(tidings: Arc<Tidings>) -> Self {
        let mut readers = tidings.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.next += 1;
        let number = readers.next;
        drop(readers);
        Self { tidings, number }
    }

    /// Says where the reader is, with nothing that it lacks.
    pub(super) fn is_at(&self, id: &SubscriptionId, position: Position) {
        let mut readers = self.tidings.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.all.insert(self.number, (id.clone(), position.since.version));
    }

    /// Says that the reader lacks something.
    pub(super) fn is_behind(&self) {
        let mut readers = self.tidings.readers.lock().unwrap_or_else(PoisonError::into_inner);
        readers.all.remove(&self.number);
    }

    /// Whether what was written up to version `at` may matter to the reader. Else, up to which version nothing does.
    pub(super) async fn unconcerned(&self, database: &Database, at: Version) -> Result<Option<Version>, Problem> {
        let told = self.tidings.slot(at).told;
        let told = told.get_or_try_init(|| self.tidings.find_out(database)).await?;
        Ok(told.unconcerned.contains(&self.number).then_some(told.at))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.is_behind();
    }
}

impl Tidings {
    fn slot(&self, at: Version) -> Slot {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.at < at {
            *last = Slot { at, told: Arc::default() };
        }
        last.clone()
    }

    async fn find_out(&self, database: &Database) -> Result<Told, Problem> {
        let readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner).all.clone();
        let told = database
            .follow(move |replica| {
                let news = replica.news()?;
                let unconcerned = readers.iter().filter(|(_, (id, since))| !news.is_for(id, *since));
                Ok::<_, Problem>(Told { at: news.at(), unconcerned: unconcerned.map(|(number, _)| *number).collect() })
            })
            .await??;
        Ok(told)
    }
}
