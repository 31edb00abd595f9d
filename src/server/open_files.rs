//! How many files the server may have open, and thus how many databases.

use std::num::NonZeroUsize;

use super::Failure;
use crate::store::Settings;

/// For a store with so many databases open, or with as many as the system allows; and how many files that leaves for
/// connections. Raises the limit on open files to what it allows without asking anybody.
pub(super) fn settings(open_databases: Option<NonZeroUsize>) -> Result<(Settings, usize), Failure> {
    let files = raise();
    // At least the other half is for connections.
    let most = Settings::within(files / 2);
    let settings = open_databases.map_or(most.clone(), |wanted| Settings::of(wanted.get()));
    if let Some(wanted) = open_databases
        && settings.files() > files / 2
    {
        return Err(format!(
            "--open-databases {wanted} takes {} open files, and databases may take half of {files}; raise the limit \
             (ulimit -Hn, or LimitNOFILE= of systemd), or open {} databases",
            settings.files(),
            most.open_databases
        )
        .into());
    }
    let rest = files - settings.files().min(files);
    Ok((settings, rest))
}

/// Raises the limit, and returns it.
#[cfg(unix)]
fn raise() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!("the limit on open files could not be raised: {error}");
    }
    // None is no limit.
    getrlimit(Resource::Nofile).current.and_then(|files| files.try_into().ok()).unwrap_or(usize::MAX)
}

/// Elsewhere there is none that is of concern.
#[cfg(not(unix))]
fn raise() -> usize {
    usize::MAX
}
