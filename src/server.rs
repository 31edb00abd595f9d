//! The standalone host and its command line (native only).
//!
//! `crsql-sync serve`, by its [configuration](config), puts the [router](crate::http::App) behind a listener, with static tokens as its auth hook, an
//! optional [upstream](crate::upstream) and static files; `crsql-sync sql` runs SQL on a database file;
//! `crsql-sync import` takes over a file of cr-sqlite; `crsql-sync inspect` shows what a file holds.

mod cli;
mod config;
mod exchange;
mod health;
mod import;
mod inspect;
mod limits;
mod log;
mod metrics;
mod rows;
mod serve;
mod sql;
mod stop;
mod tls;
mod tokens;
mod transport;
mod upstream;
mod www;

use std::process::ExitCode;

use cli::Command;

pub use transport::Reqwest;

/// Runs the command line of this process. Exit codes: 0 success, 1 failure, 2 wrong usage.
pub fn main() -> ExitCode {
    let Some(cli) = config::parse() else {
        return ExitCode::SUCCESS;
    };
    let outcome = match cli.command {
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
