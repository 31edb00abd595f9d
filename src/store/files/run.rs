use tokio::task::spawn_blocking;

use crate::store::Error;

/// Runs `f`, which may take long, where it holds nobody else up.
pub async fn run<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    spawn_blocking(f).await.map_err(|error| Error::Io(format!("the call was broken off: {error}")))
}
