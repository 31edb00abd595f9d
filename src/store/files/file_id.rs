use std::io;
use std::path::Path;

/// Which file a path leads to. A file that has another one in its place, or none, still takes what is written to it, and
/// nobody will ever find it.
///
/// It is asked for by path: to open and close a database file beside SQLite would end all locks that this process has on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    inode: u64,
}

impl FileId {
    /// Of the file that is there now.
    #[cfg(unix)]
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata()?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Of the file that is there now. Elsewhere than on Unix, a file that is open cannot be removed.
    #[cfg(not(unix))]
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        path.metadata().map(|_| Self {})
    }
}
