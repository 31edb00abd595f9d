use std::time::Duration;

use futures_timer::Delay;
use futures_util::FutureExt;
use futures_util::future::{Either, select};

/// What a future gives; `None` when that takes longer than `patience`.
///
/// Most have it at once, and setting a timer takes longer than they do.
pub(crate) async fn within<F: Future>(future: F, patience: Duration) -> Option<F::Output> {
    let mut future = Box::pin(future);
    if let Some(output) = (&mut future).now_or_never() {
        return Some(output);
    }
    match select(future, Delay::new(patience)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}
