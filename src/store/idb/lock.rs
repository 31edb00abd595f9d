//! Web Locks: who of several live workers owns a database.

use std::time::Duration;

use js_sys::{Function, Object, Promise, Reflect};
use tokio::sync::oneshot;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::AbortSignal;

use super::failure::Failure;

#[wasm_bindgen]
extern "C" {
    /// `navigator.locks`, which web-sys counts as unstable.
    type LockManager;
    #[wasm_bindgen(method)]
    fn request(this: &LockManager, name: &str, options: &Object, granted: &Function) -> Promise;
}

/// An exclusive lock. It is released when dropped, or when the worker ends.
pub(super) struct Held {
    release: Function,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Resolves a promise, which cannot throw.
        let _ = self.release.call0(&JsValue::UNDEFINED);
    }
}

/// Waits for the lock of that name, at most for `patience`. `lost` is called if the browser takes a lock back that was
/// granted, which happens when another context steals it.
pub(super) async fn acquire(name: &str, patience: Duration, lost: impl FnOnce() + 'static) -> Result<Held, Failure> {
    let manager = manager()?;
    let options = Object::new();
    let signal = AbortSignal::timeout_with_u32(u32::try_from(patience.as_millis()).unwrap_or(u32::MAX));
    // Setting a property of a fresh object cannot fail.
    let _ = Reflect::set(&options, &"signal".into(), &signal);

    let (granted, held) = oneshot::channel();
    let callback = Closure::once(move |_lock: JsValue| {
        let mut release = None;
        // The browser holds the lock until this promise resolves.
        let released = Promise::new(&mut |resolve, _| release = Some(resolve));
        if let Some(release) = release {
            // If nobody waits any more, `Held` is dropped here, which releases the lock at once.
            let _ = granted.send(Held { release });
        }
        released
    });
    let released = manager.request(name, &options, callback.as_ref().unchecked_ref());
    spawn_local(async move {
        let outcome = JsFuture::from(released).await;
        // Not before: the browser may call it until then. Dropping it uncalled tells the waiter below.
        drop(callback);
        if outcome.is_err() {
            lost();
        }
    });
    held.await.map_err(|_| Failure::Taken)
}

fn manager() -> Result<LockManager, Failure> {
    let get = |object: &JsValue, name: &str| Reflect::get(object, &name.into()).unwrap_or(JsValue::UNDEFINED);
    let manager = get(&get(&js_sys::global(), "navigator"), "locks");
    if manager.is_object() {
        Ok(manager.unchecked_into())
    } else {
        Err(Failure::Other("this browser has no Web Locks, which need a secure context".into()))
    }
}
