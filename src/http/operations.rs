//! One file an operation.

pub(super) mod apply;
pub(super) mod create;
pub(super) mod file;
pub(super) mod get;
pub(super) mod migrate;
pub(super) mod query;
pub(super) mod request;
pub(super) mod sql;
pub(super) mod status;
pub(super) mod subscriptions;
pub(super) mod ticket;
pub(super) mod upstream;
pub(super) mod verify;
