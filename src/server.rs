//! The standalone host.
