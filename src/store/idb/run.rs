use crate::store::Error;

/// Runs `f`. There is one thread here; natively it would have one for itself.
pub async fn run<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    Ok(f())
}
