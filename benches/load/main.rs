//! The server under load: the release binary, as a process of its own, over TCP, from this process on the same machine.
//!
//! `scripts/bench-load [PART…] [OPTIONS]`, where a part is `streams`, `spread`, `apply`, `cold` or `subscriptions`; `--help` tells the options.
//! What was measured is held against the goals, and the exit code is 1 where one was missed.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::indexing_slicing)]

mod apply;
mod cold;
mod figures;
mod reader;
mod server;
mod streams;
mod subscriptions;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use figures::Goals;

#[derive(Parser)]
#[command(about = "Puts load on the server and holds what it does against the goals")]
pub struct Options {
    /// What to measure; everything where nothing is named
    parts: Vec<Part>,

    /// Event streams that are open
    #[arg(long, default_value_t = 1_000)]
    streams: usize,

    /// The databases over which `spread` spreads them
    #[arg(long, default_value_t = 50)]
    databases: usize,

    /// Writes a second, of one row each
    #[arg(long, default_value_t = 200)]
    rate: u32,

    /// How long they go on
    #[arg(long, default_value_t = 20)]
    seconds: usize,

    /// The readers that write, at least one a database; none of them has two writes under way
    #[arg(long, default_value_t = 20)]
    writers: usize,

    /// The server's binary, where it is not the one that was built with this
    #[arg(long, default_value = env!("CARGO_BIN_EXE_crsql-sync"))]
    server: PathBuf,

    /// The folder in which the databases are made; its disk is what is measured
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,

    /// What cargo tells a benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Writes to the readers of one database
    Streams,
    /// The same over many databases
    Spread,
    /// Batches by HTTP beside the same by a call
    Apply,
    /// A reader that has nothing yet
    Cold,
    /// As many subscriptions to queries as there are streams
    Subscriptions,
}

fn main() -> ExitCode {
    let options = Options::parse();
    raise_open_files();
    let is_wanted = |part| options.parts.is_empty() || options.parts.contains(&part);
    let mut goals = Goals::default();
    if is_wanted(Part::Streams) {
        streams::measure(&options, 1, &mut goals);
    }
    if is_wanted(Part::Spread) {
        streams::measure(&options, options.databases, &mut goals);
    }
    if is_wanted(Part::Apply) {
        apply::measure(&options, &mut goals);
    }
    if is_wanted(Part::Cold) {
        cold::measure(&options, &mut goals);
    }
    if is_wanted(Part::Subscriptions) {
        subscriptions::measure(&options, &mut goals);
    }
    if goals.print() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A thousand connections are more than most shells allow at first.
fn raise_open_files() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = limit.maximum;
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}
