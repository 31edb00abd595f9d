//! What a replica says to its peers: batches of changes, and the cursors that say how far each got.

mod error;
mod replica;

pub use error::Error;
pub use replica::Replica;
