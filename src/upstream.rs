//! The client of the operations.
