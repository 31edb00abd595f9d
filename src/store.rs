//! Database id to open replica.
