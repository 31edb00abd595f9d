use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::auth::AuthOptions;
use super::limits::{LimitOptions, time};
use super::log::LogOptions;
use super::tls::TlsOptions;
use super::upstream::UpstreamOptions;

/// A replicated SQLite database for any app.
#[derive(Parser)]
#[command(
    name = "crsql-sync",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 failed, standard error says why; 2 wrong usage; 130 and 143 ended at once by a second signal"
)]
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
    /// Copy a database, or every one of a folder, also while a server writes to it
    Backup(Copy),
    /// Put a copy of a database, or every one of a folder, in place under a new site id
    Restore(Copy),
    /// Ask a server whether it is ready; exit code 1 if it is not
    Health(Health),
    /// Print a script that completes the command line
    Completions(Completions),
    /// Print the manual page, or write the pages of all commands
    Man(Man),
}

/// The options of `serve`. All of them, but for the first two, can also stand in the environment and in a file: `config` sees
/// to it.
#[derive(Args)]
#[command(
    after_help = "Every option can also stand in the environment, as in CRSQL_SYNC_LISTEN, and in a file of TOML, as in \
                        listen = \"127.0.0.1:8080\". A flag is taken over the environment, and that over the file."
)]
pub(super) struct Serve {
    /// Take from this file of TOML what neither a flag nor the environment says
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// Print what is in effect, without secrets, and end
    #[arg(long)]
    pub(super) print_config: bool,

    /// The folder of the databases; made if missing
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(super) data: PathBuf,

    /// How many databases are open at a time; by default as many as the limit on open files suffices for, 512 at most
    #[arg(long, value_name = "NUMBER")]
    pub(super) open_databases: Option<NonZeroUsize>,

    /// The address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub(super) listen: SocketAddr,

    /// The path below which the operations stand
    #[arg(long, value_name = "PATH", default_value = "/sync")]
    pub(super) prefix: String,

    /// Give an operation another path, as in events=stream; may be given several times
    #[arg(long, value_name = "NAME=PATH", value_parser = pair)]
    pub(super) route: Vec<(String, String)>,

    /// Let pages of this origin in, as in https://example.org, or of any: *; may be given several times
    #[arg(long, value_name = "ORIGIN")]
    pub(super) cors: Vec<String>,

    /// Let clients run SQL
    #[arg(long)]
    pub(super) sql: bool,

    /// Let clients read databases as files, and make databases of files
    #[arg(long)]
    pub(super) files: bool,

    /// Also serve the files of this folder
    #[arg(long, value_name = "DIR")]
    pub(super) www: Option<PathBuf>,

    /// How long requests may go on after the server was asked to stop
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    pub(super) grace: Duration,

    /// Serve the metrics at this address instead, for whoever can reach it
    #[arg(long, value_name = "ADDR")]
    pub(super) metrics_listen: Option<SocketAddr>,

    #[command(flatten)]
    pub(super) auth: AuthOptions,

    #[command(flatten)]
    pub(super) tls: TlsOptions,

    #[command(flatten)]
    pub(super) upstream: UpstreamOptions,

    #[command(flatten)]
    pub(super) limits: LimitOptions,

    #[command(flatten)]
    pub(super) log: LogOptions,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) => Ok((name.to_owned(), path.to_owned())),
        None => Err("it must have the form NAME=PATH".into()),
    }
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

/// The options of `backup` and `restore`.
#[derive(Args)]
pub(super) struct Copy {
    /// The database file, or the folder of databases; only read
    #[arg(value_name = "SRC")]
    pub(super) source: PathBuf,

    /// The file to make, or the folder to fill
    #[arg(value_name = "DST")]
    pub(super) destination: PathBuf,

    /// Replace what is there
    #[arg(long)]
    pub(super) force: bool,

    /// Print progress and what was done as JSON objects, one a line
    #[arg(long)]
    pub(super) json: bool,
}

/// The options of `health`.
#[derive(Args)]
pub(super) struct Health {
    /// Where the server listens
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub(super) url: String,
}

/// The options of `completions`.
#[derive(Args)]
pub(super) struct Completions {
    /// The shell to complete for
    pub(super) shell: clap_complete::Shell,
}

/// The options of `man`.
#[derive(Args)]
pub(super) struct Man {
    /// The folder for the pages; made if missing
    #[arg(value_name = "DIR")]
    pub(super) folder: Option<PathBuf>,
}
