use std::num::NonZeroUsize;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::connections::Bounds;
use crate::http::Limits;

/// How much callers may ask of the server.
#[derive(Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct LimitOptions {
    /// The connections that are open at a time; fewer where the system allows fewer open files
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    limit_connections: NonZeroUsize,

    /// The connections of one address; without it, there is no such limit
    #[arg(long, value_name = "NUMBER")]
    limit_connections_each: Option<NonZeroUsize>,

    /// The event streams that are open at a time
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    limit_streams: NonZeroUsize,

    /// How long the head of a request may take, and how long a connection may be idle
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub(super) limit_head_time: Duration,

    /// How long a request body may take
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time)]
    limit_body_time: Duration,

    /// How long a caller may take nothing of what it is sent
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    limit_stall_time: Duration,

    /// The memory that SQLite may take, for all databases together
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = size)]
    pub(super) limit_memory: usize,

    /// The largest request body
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    limit_body: usize,

    /// The largest request body in the binary form, which takes more memory than bytes
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = size)]
    limit_binary_body: usize,

    /// The largest file that may become a database
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    limit_file: usize,

    /// The changes of one batch
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    limit_page_changes: NonZeroUsize,

    /// The size of one batch
    #[arg(long, value_name = "SIZE", default_value = "4MiB", value_parser = size)]
    limit_page_bytes: usize,

    /// The number of changes in one answer to queries that are not subscribed to
    #[arg(long, value_name = "NUMBER", default_value = "1000000")]
    limit_query_changes: NonZeroUsize,

    /// The size of one such answer
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    limit_query_bytes: usize,

    /// How many subscriptions to queries one caller may have
    #[arg(long, value_name = "NUMBER", default_value = "1000")]
    limit_subscriptions: NonZeroUsize,

    /// How long a subscription is remembered that nobody uses
    #[arg(long, value_name = "TIME", default_value = "7days", value_parser = time)]
    limit_subscription: Duration,

    /// The rows of one SQL request's results
    #[arg(long, value_name = "NUMBER", default_value = "10000")]
    limit_sql_rows: NonZeroUsize,

    /// The size of one SQL request's results
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size)]
    limit_sql_bytes: usize,

    /// How long one SQL request may run
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    limit_sql_time: Duration,

    /// How long merging one batch may take
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = time)]
    limit_apply_time: Duration,

    /// How long the question may take whether a request is allowed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    limit_authorize: Duration,

    /// How long a ticket lets a reader of events in
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    limit_ticket: Duration,

    /// How often a silent event stream shows that it is alive
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = time)]
    heartbeat: Duration,
}

impl LimitOptions {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            body: self.limit_body,
            binary_body: self.limit_binary_body,
            body_time: self.limit_body_time,
            streams: self.limit_streams.get(),
            file: self.limit_file,
            page_changes: self.limit_page_changes.get(),
            page_bytes: self.limit_page_bytes,
            query_changes: self.limit_query_changes.get(),
            query_bytes: self.limit_query_bytes,
            subscriptions: self.limit_subscriptions.get(),
            subscription: self.limit_subscription,
            sql_rows: self.limit_sql_rows.get(),
            sql_bytes: self.limit_sql_bytes,
            sql_time: self.limit_sql_time,
            apply_time: self.limit_apply_time,
            authorize: self.limit_authorize,
            ticket: self.limit_ticket,
            heartbeat: self.heartbeat,
        }
    }

    /// What holds for connections where they may have so many `files` open.
    pub(super) fn connections(&self, files: usize) -> Bounds {
        Bounds {
            // Some are for what the server asks of others, and for those who are being sent away.
            all: self.limit_connections.get().min((files - files / 4).max(1)),
            each: self.limit_connections_each.map(NonZeroUsize::get),
            stall: self.limit_stall_time,
        }
    }
}

/// A size such as `16MiB` or `65536`.
pub(super) fn size(text: &str) -> Result<usize, String> {
    match usize::try_from(text.parse::<ByteSize>()?.as_u64()) {
        Ok(size) if size > 0 => Ok(size),
        _ => Err("it must be larger than nothing, and fit into memory".into()),
    }
}

/// A time such as `500ms`, `5s` or `1m 30s`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("it must be longer than nothing".into()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Alone {
        #[command(flatten)]
        limits: LimitOptions,
    }

    #[test]
    fn the_defaults_are_those_of_the_library() {
        let options = Alone::parse_from(["serve"]).limits;
        assert_eq!(format!("{:?}", options.limits()), format!("{:?}", Limits::default()));
    }

    #[test]
    fn there_are_no_more_connections_than_open_files() {
        let options = Alone::parse_from(["serve", "--limit-connections", "100"]).limits;
        let all = |files| options.connections(files).all;
        assert_eq!((all(usize::MAX), all(1000), all(100), all(0)), (100, 100, 75, 1));
    }

    #[test]
    fn nothing_is_no_limit() {
        assert_eq!(size("64KiB"), Ok(65536));
        assert_eq!(size("1000"), Ok(1000));
        assert_eq!(time("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(size("0").is_err() && time("0s").is_err() && size("-1").is_err() && time("soon").is_err());
    }
}
