//! How many files the server may have open.

/// Raises the limit to what the system allows without asking anybody, and returns it.
#[cfg(unix)]
pub(super) fn raise() -> usize {
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
pub(super) fn raise() -> usize {
    usize::MAX
}
