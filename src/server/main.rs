//! The binary `crsql-sync`.

use std::process::ExitCode;

fn main() -> ExitCode {
    crsql_sync::server::main()
}
