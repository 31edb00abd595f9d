//! The standalone host and its command line (native only).
//!
//! `crsql-sync serve` puts the [router](crate::http::App) behind a listener, with one of its own auth hooks, an
//! optional [upstream](crate::upstream) and static files; `crsql-sync sql` runs SQL on a database file;
//! `crsql-sync import` takes over a file of cr-sqlite; `crsql-sync inspect` shows what a file holds; `crsql-sync backup` and
//! `crsql-sync restore` copy databases, also of a server that runs.

mod auth;
mod backup;
mod cli;
mod config;
mod connections;
mod copy;
mod exchange;
mod follow;
mod health;
mod health_check;
mod import;
mod inspect;
mod limits;
mod log;
mod memory;
mod metrics;
mod open_files;
mod pace;
mod reload;
mod rows;
mod serve;
mod shell;
mod sql;
mod stop;
mod tls;
mod transport;
mod unfinished;
mod upstream;
mod www;

use std::process::ExitCode;

use cli::Command;

pub use transport::Reqwest;

/// Runs the command line of this process. Exit codes: 0 success, 1 failure, 2 wrong usage, 130 and 143 ended at once by a
/// second signal.
pub fn main() -> ExitCode {
    let Some(cli) = config::parse() else {
        return ExitCode::SUCCESS;
    };
    let outcome = match cli.command {
        Command::Serve(options) => serve::run(*options),
        Command::Sql(options) => sql::run(&options),
        Command::Import(options) => import::run(&options),
        Command::Inspect(options) => inspect::run(&options),
        Command::Backup(options) => backup::backup(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Health(options) => health_check::run(&options),
        Command::Completions(options) => {
            shell::completions(&options);
            Ok(())
        }
        Command::Man(options) => shell::man(&options),
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
