//! Web streams as Rust streams, and back. Bytes cross as `Uint8Array`s; each side asks for the next piece only when the
//! one before was taken. A page that takes nothing for too long is left.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_timer::Delay;
use futures_util::future::{AbortHandle, Either, select};
use futures_util::stream::{BoxStream, Stream, StreamExt, abortable, unfold};
use js_sys::{Object, Promise, Reflect, Uint8Array};
use send_wrapper::SendWrapper;
use tokio::sync::oneshot;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise, spawn_local};
use web_sys::{AbortSignal, ReadableStream, ReadableStreamDefaultController, ReadableStreamDefaultReader};

/// A stream of JavaScript's broke off; the text is for people.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(pub(super) String);

impl Broken {
    /// Takes the message of what JavaScript threw.
    pub(super) fn from_js(error: &JsValue) -> Self {
        let message = Reflect::get(error, &"message".into()).ok().and_then(|message| message.as_string());
        Self(message.unwrap_or_else(|| format!("{error:?}")))
    }
}

/// Cancels its stream when it is dropped before the end.
struct Reader(ReadableStreamDefaultReader);

impl Drop for Reader {
    fn drop(&mut self) {
        let cancelled = JsFuture::from(self.0.cancel());
        spawn_local(async move {
            // It rejects where the stream is broken already, which nobody wants to know any more.
            let _ = cancelled.await;
        });
    }
}

/// Reads a stream of `Uint8Array`s, which nobody else may be reading. Dropping it cancels it.
pub(super) fn incoming(
    stream: &ReadableStream,
) -> Result<impl Stream<Item = Result<Bytes, Broken>> + Send + use<>, JsValue> {
    let reader = Reader(ReadableStreamDefaultReader::new(stream)?);
    Ok(SendWrapper::new(unfold(Some(reader), |reader| async {
        let reader = reader?;
        match next(&reader.0).await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
            Ok(None) => None,
            Err(error) => Some((Err(Broken::from_js(&error)), None)),
        }
    })))
}

async fn next(reader: &ReadableStreamDefaultReader) -> Result<Option<Bytes>, JsValue> {
    let result = JsFuture::from(reader.read()).await?;
    if Reflect::get(&result, &"done".into())?.is_truthy() {
        return Ok(None);
    }
    let value: Uint8Array = Reflect::get(&result, &"value".into())?.dyn_into()?;
    Ok(Some(value.to_vec().into()))
}

/// Makes a stream that JavaScript reads. When it cancels the stream, or takes nothing for `stall`, `body` is dropped.
pub(super) fn outgoing<E>(
    body: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    stall: Duration,
) -> Result<ReadableStream, JsValue>
where
    E: std::fmt::Display + 'static,
{
    let body = body.map(|item| item.map_err(|error| error.to_string())).boxed();
    let (body, cancel) = abortable(body);
    let source = Source { body: Rc::new(RefCell::new(Some(body.boxed()))), cancel, stall, patience: Rc::default() };
    let strategy = Object::new();
    // Nothing is read ahead of the page.
    Reflect::set(&strategy, &"highWaterMark".into(), &0.into())?;
    let source: Object = JsValue::from(source).unchecked_into();
    let strategy = strategy.unchecked_into();
    ReadableStream::new_with_underlying_source_and_strategy(&source, &strategy)
}

type Pieces = BoxStream<'static, Result<Bytes, String>>;

/// The underlying source of an outgoing stream. JavaScript calls it, and owns it.
#[wasm_bindgen(skip_typescript)]
pub struct Source {
    /// Taken out while a piece is waited for, and for good at the end.
    body: Rc<RefCell<Option<Pieces>>>,
    cancel: AbortHandle,
    stall: Duration,
    /// While a piece lies there to be taken.
    patience: Rc<RefCell<Option<Patience>>>,
}

#[wasm_bindgen]
impl Source {
    /// Waits for one piece. The browser calls it again only after the promise resolved, and when the piece was taken.
    pub fn pull(&self, controller: ReadableStreamDefaultController) -> Promise {
        self.patience.take();
        let (cell, patience, stall) = (Rc::clone(&self.body), Rc::clone(&self.patience), self.stall);
        future_to_promise(async move {
            let Some(mut body) = cell.borrow_mut().take() else {
                return Ok(JsValue::UNDEFINED);
            };
            match body.next().await {
                Some(Ok(bytes)) => {
                    controller.enqueue_with_chunk(&Uint8Array::from(&*bytes))?;
                    cell.replace(Some(body));
                    let left = move || {
                        cell.take();
                        controller.error_with_e(&JsError::new("nothing was taken of it for too long").into());
                    };
                    patience.replace(Some(Patience::begin(stall, left)));
                }
                Some(Err(error)) => controller.error_with_e(&JsError::new(&error).into()),
                None => {
                    // Throws where the stream was cancelled, which ended `body` as well.
                    let _ = controller.close();
                }
            }
            Ok(JsValue::UNDEFINED)
        })
    }

    /// The page does not read on.
    pub fn cancel(&self) {
        // Ends a piece that is being waited for, and with it the body; one that lies here goes at once.
        self.cancel.abort();
        self.body.take();
        self.patience.take();
    }
}

/// Calls back when it was not dropped in time.
struct Patience {
    _dropped: oneshot::Sender<()>,
}

impl Patience {
    fn begin(time: Duration, over: impl FnOnce() + 'static) -> Self {
        let (sender, dropped) = oneshot::channel();
        spawn_local(async move {
            if let Either::Left(_) = select(Delay::new(time), dropped).await {
                over();
            }
        });
        Self { _dropped: sender }
    }
}

/// Resolves when `signal` is aborted.
pub(super) fn aborted(signal: &AbortSignal) -> impl Future<Output = ()> + Unpin + use<> {
    let (sender, receiver) = oneshot::channel();
    // Where it is aborted already, nothing listens and the sender goes, which resolves too.
    let listening = (!signal.aborted()).then(|| Listening::new(signal, sender));
    Box::pin(async move {
        let _ = receiver.await;
        drop(listening);
    })
}

/// Stops listening when dropped: a callback must not be called after its end.
struct Listening {
    signal: AbortSignal,
    _callback: Closure<dyn FnMut()>,
}

impl Listening {
    fn new(signal: &AbortSignal, sender: oneshot::Sender<()>) -> Self {
        let callback = Closure::once(move || drop(sender));
        signal.set_onabort(Some(callback.as_ref().unchecked_ref()));
        Self { signal: signal.clone(), _callback: callback }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.signal.set_onabort(None);
    }
}
