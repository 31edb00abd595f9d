//! The client of the operations: keeps databases in step with the same ones on another host.
//!
//! Each database has one link, which pushes and pulls at the same time:
//!
//! - *Push* sends what the upstream has not acknowledged and did not send us. The queue is the database itself, and its
//!   end is the acknowledged cursor in it.
//! - *Pull* catches up by pages, then follows the event stream; a batch and the received cursor are one transaction.
//!
//! A partial copy does not pull: it subscribes to queries, each of which is followed by itself.
//!
//! A link ends an attempt at the first failure, waits, and makes another; nothing is lost by ending one anywhere. After a
//! failure that another attempt may cure it waits by exponential back-off with full jitter, and as long as the upstream
//! asks; after a refusal, long, and the refusal is shown in the status. A transaction that is refused is held back, and the others
//! go on. An upstream that lost its data, or was replaced, gets again what it lacks. docs/protocol.md says it all.

mod answer;
mod backoff;
mod client;
mod config;
mod credentials;
mod exchange;
mod failure;
mod link;
mod pull;
mod push;
mod registry;
mod retry_after;
mod state;
mod subscriptions;
mod take_back;
mod transport;
mod watchdog;

pub use config::{Config, InvalidUrl};
pub use credentials::{Asked, Credentials, Identity};
pub use registry::{ForNow, Spawn, Upstream};
pub use transport::{ByteStream, Transport, TransportError};
