//! The binary `crsql-sync`.

#[cfg(feature = "loadable-extension")]
mod own_sqlite;

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "loadable-extension")]
    if !own_sqlite::connect() {
        eprintln!("crsql-sync: SQLite does not start");
        return ExitCode::FAILURE;
    }
    crsql_sync::server::main()
}
