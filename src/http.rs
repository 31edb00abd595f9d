//! The operations as HTTP.
