//! The standalone host and its command line (native only).
//!
//! `crsql-sync serve` puts the [router](crate::http::App) behind a listener, with one of its own auth hooks, an
//! optional [upstream](crate::upstream) and static files; `crsql-sync sql` runs SQL on a database file;
//! `crsql-sync import` takes over a file of cr-sqlite; `crsql-sync inspect` shows what a file holds.

mod auth;
mod cli;
mod import;
mod inspect;
mod open_files;
mod rows;
mod serve;
mod sql;
mod transport;
mod www;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

pub use transport::Reqwest;

/// Runs the command line of this process. Exit codes: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(options) => serve::run(*options),
        Command::Sql(options) => sql::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Inspect(options) => inspect::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("crsql-sync: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Why a command failed, for people.
type Failure = Box<dyn std::error::Error + Send + Sync>;
