use std::io::{IsTerminal, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::Failure;

/// What is logged to standard error, and how.
#[derive(Args)]
#[command(next_help_heading = "Log and metrics")]
pub(super) struct LogOptions {
    /// Lines for people, or JSON objects for programs
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    log_format: Format,

    /// How much to log: off, error, warn, info, debug, trace, or a filter as in crsql_sync=debug,hyper=info
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl LogOptions {
    /// Begins to log.
    pub(super) fn begin(&self) -> Result<(), Failure> {
        let filter =
            EnvFilter::try_new(directives(&self.log_level)).map_err(|error| format!("--log-level: {error}"))?;
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
        match self.log_format {
            Format::Text => log.with_ansi(stderr().is_terminal()).try_init(),
            Format::Json => log.json().flatten_event(true).with_span_list(false).try_init(),
        }
    }
}

/// A level is one of this program. Of the libraries below, whose lines tell nothing of requests, only warnings are wanted; some
/// of them would log headers.
fn directives(level: &str) -> String {
    match level.parse::<LevelFilter>() {
        Ok(level) => format!("{},crsql_sync={level}", level.min(LevelFilter::WARN)),
        Err(_) => level.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_that_of_this_program() {
        assert_eq!(directives("debug"), "warn,crsql_sync=debug");
        assert_eq!(directives("error"), "error,crsql_sync=error");
        assert_eq!(directives("off"), "off,crsql_sync=off");
        assert_eq!(directives("hyper=info"), "hyper=info");
    }
}
