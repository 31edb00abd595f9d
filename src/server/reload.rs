//! Files that are read again while the server runs: at SIGHUP, and when they change.
//!
//! What cannot be used changes nothing: what was read before stays in effect, and the log says so.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::task::spawn_blocking;

use super::Failure;

/// How often the files are looked at. One that changed is read when it is the same at two looks, so that it is whole.
const LOOK: Duration = Duration::from_secs(2);

/// All that is read again.
pub(super) struct Reload {
    hangups: Hangups,
    watched: Vec<Watched>,
}

/// Files that are read together.
struct Watched {
    what: &'static str,
    files: Vec<PathBuf>,
    read: Box<dyn FnMut() -> Result<(), Failure> + Send>,
    /// As the files were when they were read last, and at the last look.
    known: State,
    seen: State,
}

/// When each file was written last, and its size; `None` for one that is not there.
type State = Vec<Option<(SystemTime, u64)>>;

impl Reload {
    /// From now on SIGHUP ends the process no longer, also where nothing is read again.
    pub(super) fn listen() -> Self {
        Self { hangups: Hangups::listen(), watched: Vec::new() }
    }

    /// Has `read` called when one of `files` changed, which were read just now. `what` names them in the log.
    pub(super) fn add(
        &mut self,
        what: &'static str,
        files: impl IntoIterator<Item = PathBuf>,
        read: impl FnMut() -> Result<(), Failure> + Send + 'static,
    ) {
        self.watched.push(Watched::new(what, files.into_iter().collect(), Box::new(read)));
    }

    /// Reads again for as long as the process lives.
    pub(super) fn start(self) {
        let Self { mut hangups, mut watched } = self;
        tokio::spawn(async move {
            loop {
                let anyway = tokio::select! {
                    () = hangups.next() => true,
                    () = tokio::time::sleep(LOOK), if !watched.is_empty() => false,
                };
                if anyway {
                    tracing::info!("SIGHUP: {} to be read again", if watched.is_empty() { "nothing" } else { "files" });
                }
                let look = move || {
                    watched.iter_mut().for_each(|watched| watched.look(anyway));
                    watched
                };
                match spawn_blocking(look).await {
                    Ok(looked) => watched = looked,
                    Err(error) => return tracing::error!("files are not read again any more: {error}"),
                }
            }
        });
    }
}

impl Watched {
    fn new(what: &'static str, files: Vec<PathBuf>, read: Box<dyn FnMut() -> Result<(), Failure> + Send>) -> Self {
        let state = state(&files);
        Self { what, files, read, known: state.clone(), seen: state }
    }

    /// Reads the files if they changed, or anyway.
    fn look(&mut self, anyway: bool) {
        let state = state(&self.files);
        if anyway || (state != self.known && state == self.seen) {
            match (self.read)() {
                Ok(()) => tracing::info!("{} was read again", self.what),
                Err(error) => tracing::error!("{} stays what it was: {error}", self.what),
            }
            self.known.clone_from(&state);
        }
        self.seen = state;
    }
}

/// Links are followed: where secrets are mounted, a new one often comes by another link.
fn state(files: &[PathBuf]) -> State {
    let of = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(of).collect()
}

/// The signal that asks for it.
struct Hangups {
    #[cfg(unix)]
    signal: Option<tokio::signal::unix::Signal>,
}

impl Hangups {
    fn listen() -> Self {
        Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok(),
        }
    }

    async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signal) = &mut self.signal
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was read of a file: numbers, and anything else is not taken.
    fn watched(path: &Path) -> (Watched, Arc<Mutex<Vec<u32>>>) {
        let (taken, file) = (Arc::new(Mutex::new(Vec::new())), path.to_owned());
        let take = taken.clone();
        let read = move || -> Result<(), Failure> {
            take.lock().unwrap().push(fs::read_to_string(&file)?.parse()?);
            Ok(())
        };
        (Watched::new("the number", vec![path.to_owned()], Box::new(read)), taken)
    }

    #[test]
    fn a_file_is_read_when_it_changed_and_is_the_same_at_two_looks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let (mut watched, taken) = watched(&path);
        let mut look_after = |text: Option<&str>| {
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            watched.look(false);
            taken.lock().unwrap().clone()
        };
        assert!(look_after(None).is_empty());
        assert!(look_after(Some("20")).is_empty(), "it may not be whole");
        assert!(look_after(Some("200")).is_empty());
        assert_eq!(look_after(None), [200]);
        assert_eq!(look_after(None), [200], "it is read once");
        // What is no number is tried once, and changes nothing.
        look_after(Some("none"));
        assert_eq!(look_after(None), [200]);
        look_after(Some("30"));
        assert_eq!(look_after(None), [200, 30]);
    }

    #[test]
    fn a_file_that_is_gone_is_read_when_it_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let (mut watched, taken) = watched(&path);
        fs::remove_file(&path).unwrap();
        (0..3).for_each(|_| watched.look(false));
        assert!(taken.lock().unwrap().is_empty());
        fs::write(&path, "2").unwrap();
        (0..3).for_each(|_| watched.look(false));
        assert_eq!(*taken.lock().unwrap(), [2]);
    }

    #[test]
    fn a_signal_has_it_read_also_when_it_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let (mut watched, taken) = watched(&path);
        watched.look(true);
        assert_eq!(*taken.lock().unwrap(), [1]);
    }
}
