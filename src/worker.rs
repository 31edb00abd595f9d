//! The service worker host.
