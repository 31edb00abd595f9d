//! What links make of the answers that they get: named after what went wrong for others.

mod callers;
mod failing;
mod forms;
mod refused;
mod told;
