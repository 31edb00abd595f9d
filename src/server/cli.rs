use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::auth::AuthOptions;

/// A replicated SQLite database for any app.
#[derive(Parser)]
#[command(name = "crsql-sync", version, about, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Serve databases over HTTP
    Serve(Box<Serve>),
    /// Run SQL on a database file, with the engine loaded
    Sql(Sql),
    /// Take over a database of cr-sqlite 0.15 or 0.16
    Import(Import),
    /// Show what a database holds, of whom, and what it lacks
    Inspect(Inspect),
}

/// The options of `serve`.
#[derive(Args)]
pub(super) struct Serve {
    /// The folder of the databases; made if missing
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(super) data: PathBuf,

    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,

    /// The path below which the operations stand
    #[arg(long, value_name = "PATH", default_value = "/sync")]
    pub(super) prefix: String,

    /// Keep every database in step with the same one there, as in https://example.org/sync
    #[arg(long, value_name = "URL")]
    pub(super) upstream: Option<String>,

    /// The token to show to the upstream
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CRSQL_SYNC_UPSTREAM_TOKEN",
        hide_env_values = true,
        requires = "upstream"
    )]
    pub(super) upstream_token: Option<String>,

    /// Also serve the files of this folder
    #[arg(long, value_name = "DIR")]
    pub(super) www: Option<PathBuf>,

    /// Let pages of this origin in, as in https://example.org, or of any: *; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub(super) cors: Vec<String>,

    /// Let clients run SQL
    #[arg(long)]
    pub(super) sql: bool,

    #[command(flatten)]
    pub(super) auth: AuthOptions,
}

/// The options of `sql`.
#[derive(Args)]
pub(super) struct Sql {
    /// The database file; made if missing
    pub(super) file: PathBuf,

    /// The statements; read from standard input if missing
    pub(super) sql: Option<String>,

    /// Print each row as a JSON array
    #[arg(long)]
    pub(super) json: bool,
}

/// The options of `inspect`.
#[derive(Args)]
pub(super) struct Inspect {
    /// The database file; only read
    pub(super) file: PathBuf,

    /// Also read everything and see whether it agrees; exit code 1 if it does not
    #[arg(long)]
    pub(super) check: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// The options of `import`.
#[derive(Args)]
pub(super) struct Import {
    /// The file of cr-sqlite; only read
    #[arg(value_name = "SRC")]
    pub(super) source: PathBuf,

    /// The file to make; must not exist
    #[arg(value_name = "DST")]
    pub(super) destination: PathBuf,

    /// Print progress and report as JSON objects, one a line
    #[arg(long)]
    pub(super) json: bool,
}
