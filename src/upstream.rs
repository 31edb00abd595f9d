//! The client of the operations: keeps databases in step with the same ones on another host.

mod config;
mod registry;
mod transport;

pub use config::{Config, InvalidUrl};
pub use registry::{Spawn, Upstream};
pub use transport::{ByteStream, Transport, TransportError};
