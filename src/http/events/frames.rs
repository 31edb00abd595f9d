//! What event streams send: read and encoded once for all readers of a database that stand at the same place.
//!
//! Readers differ in the peer that is left out. A batch that does not concern that peer is the same for it as for everybody,
//! so it is read without leaving anyone out, and only whom it concerns (who wrote some of it, or brought it) has another one
//! read. At the head of a database with a thousand readers a write is thus read twice: for all, and for its writer.
//!
//! A few frames are kept, until they are replaced or a heartbeat passes: as long as it takes all readers to come by.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::crr::{SiteId, Version};
use crate::http::problem::Problem;
use crate::store::Database;
use crate::sync::{Batch, Request, Since};

/// How many frames of a database are kept.
const KEPT: usize = 8;
/// How large a frame may be to be kept beside others.
const LARGE: usize = 256 << 10;

/// The newest frames of one database.
#[derive(Default)]
pub(in crate::http) struct Frames(Mutex<VecDeque<Slot>>);

/// A frame that was asked for. Whoever asks first reads it; the others wait for that.
#[derive(Clone)]
struct Slot {
    request: Request,
    /// The newest version when it was asked for, which it holds at least.
    at: Version,
    frame: Arc<OnceCell<Frame>>,
}

/// A batch, and the event that it makes.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) batch: Arc<Batch>,
    /// Empty where the batch brings nothing.
    pub(super) event: Bytes,
    concerned: Arc<BTreeSet<SiteId>>,
}

impl Frames {
    /// The next frame for a reader, with everything up to version `at` in it as far as it goes.
    pub(super) async fn read(&self, database: &Database, request: &Request, at: Version) -> Result<Frame, Problem> {
        let slot = self.slot(request, at);
        let frame = slot.frame.get_or_try_init(|| Frame::for_all(database, request)).await?;
        match request.exclude {
            Some(peer) if frame.concerned.contains(&peer) => Frame::for_one(database, request).await,
            _ => Ok(frame.clone()),
        }
    }

    /// Forgets them. Readers that need one of them read it again.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn slot(&self, request: &Request, at: Version) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.iter().find(|slot| slot.at >= at && slot.is_for(request)) {
            return slot.clone();
        }
        let is_kept = |slot: &Slot| !slot.is_for(request) && slot.size() <= LARGE;
        slots.retain(is_kept);
        slots.truncate(KEPT - 1);
        let slot = Slot { request: request.clone(), at, frame: Arc::default() };
        slots.push_front(slot.clone());
        slot
    }
}

impl Slot {
    fn is_for(&self, request: &Request) -> bool {
        let place = |request: &Request| (request.since, request.page, request.schema.clone(), request.tables.clone());
        place(&self.request) == place(request)
    }

    fn size(&self) -> usize {
        self.frame.get().map_or(0, |frame| frame.event.len())
    }
}

impl Frame {
    async fn for_all(database: &Database, request: &Request) -> Result<Self, Problem> {
        let request = request.clone();
        database.read(move |replica| Self::new(replica.request_changes_for_all(&request)?)).await?
    }

    async fn for_one(database: &Database, request: &Request) -> Result<Self, Problem> {
        let request = request.clone();
        database.read(move |replica| Self::new((replica.request_changes(&request)?, BTreeSet::new()))).await?
    }

    fn new((batch, concerned): (Batch, BTreeSet<SiteId>)) -> Result<Self, Problem> {
        let event = if batch.is_empty() { Bytes::new() } else { event(&batch)? };
        Ok(Self { batch: Arc::new(batch), event, concerned: Arc::new(concerned) })
    }
}

/// The event that brings a batch.
pub(super) fn event(batch: &Batch) -> Result<Bytes, Problem> {
    super::batch_event(&batch.next.unwrap_or(Since::Beginning), batch)
}
