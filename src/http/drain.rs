use tokio::sync::watch;

/// Ends the event streams, each with `event: drain`, so that their readers come back to the host's successor.
#[derive(Clone)]
pub struct Drain(watch::Sender<bool>);

impl Drain {
    /// A drain that was not asked for yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Ends the streams that are open, and every one opened from now on.
    pub fn drain(&self) {
        self.0.send_replace(true);
    }

    /// Whether draining has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when draining begins.
    pub async fn begun(&self) {
        // The sender lives as long as `self`, so the wait cannot fail.
        let _ = self.subscribe().wait_for(|draining| *draining).await;
    }

    /// Turns true when draining begins.
    pub(super) fn subscribe(&self) -> watch::Receiver<bool> {
        self.0.subscribe()
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}
