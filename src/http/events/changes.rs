//! A stream of all that is written. Readers that stand at the same place [share](super::frames) what is read.

use std::sync::Arc;

use bytes::Bytes;

use super::frames::{self, Frame, Frames};
use super::{Next, problem_event};
use crate::crr::Version;
use crate::http::auth::Bounds;
use crate::http::call::Call;
use crate::http::extract;
use crate::http::problem::Problem;
use crate::store::Database;
use crate::sync::{self, Batch};

pub(super) struct Changes {
    database: Database,
    frames: Arc<Frames>,
    /// Where the reader is.
    request: sync::Request,
    more: bool,
    /// A batch without changes, whose cursor the reader was not told yet.
    unsaid: Option<Arc<Batch>>,
}

impl Changes {
    /// Of a reader that begins where its request says.
    pub(super) fn open(call: &Call, bounds: Bounds, database: Database) -> Result<Self, Problem> {
        let request = sync::Request {
            exclude: call.query.exclude()?.or(call.site),
            tables: bounds.tables,
            schema: call.query.schema()?,
            page: call.settings.limits.page(call.query.limit()?),
            ..sync::Request::after(extract::stream_start(call.headers(), &call.query)?)
        };
        let frames = call.settings.frames.of(&call.dbid);
        Ok(Self { database, frames, request, more: false, unsaid: None })
    }

    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    pub(super) async fn read(&mut self, at: Version) -> Result<Next, Problem> {
        let frame = self.frames.read(&self.database, &self.request, at).await?;
        let changes = frame.batch.changes.len();
        Ok(Next { event: self.take(frame)?, changes })
    }

    /// Moves on over a frame, and returns its event unless it brings nothing.
    fn take(&mut self, frame: Frame) -> Result<Option<Bytes>, Problem> {
        let Frame { batch, event, .. } = frame;
        let moved = batch.next.is_some_and(|next| next != self.request.since);
        self.more = batch.more;
        self.request.since = batch.next.unwrap_or(self.request.since);
        let unsaid = self.unsaid.take();
        if batch.is_empty() {
            // The reader's cursor can wait for the next sign of life: there is nothing that it lacks.
            self.unsaid = match unsaid {
                Some(unsaid) => Some(Arc::new(joined(&unsaid, &batch))),
                None => moved.then_some(batch),
            };
            return Ok(None);
        }
        match unsaid {
            Some(unsaid) if (unsaid.since, unsaid.start) != (batch.since, batch.start) => {
                frames::event(&joined(&unsaid, &batch)).map(Some)
            }
            _ => Ok(Some(event)),
        }
    }

    pub(super) fn unsaid(&mut self) -> Option<Bytes> {
        // Whoever shared them came by.
        self.frames.clear();
        let batch = self.unsaid.take()?;
        Some(frames::event(&batch).unwrap_or_else(|problem| problem_event(&problem)))
    }
}

/// `batch` with the beginning of the one before it, which brings nothing.
fn joined(empty: &Batch, batch: &Batch) -> Batch {
    Batch { since: empty.since, start: empty.start, ..batch.clone() }
}
