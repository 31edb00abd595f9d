//! IndexedDB's events as futures.

use std::cell::RefCell;

use futures_util::future::{Either, select};
use js_sys::{Array, Function, Object, Promise, Reflect};
use tokio::sync::oneshot;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Event, IdbDatabase, IdbFactory, IdbOpenDbRequest, IdbRequest, IdbTransaction};

use super::failure::Failure;

#[wasm_bindgen]
extern "C" {
    /// `indexedDB.databases()` and the third parameter of `transaction()`, which web-sys still counts as unstable.
    ///
    /// Not as `async fn`: where a browser lacks the function, the call throws at once, and its future would never end.
    #[wasm_bindgen(extends = IdbFactory)]
    type Factory;
    #[wasm_bindgen(method, catch)]
    fn databases(this: &Factory) -> Result<Promise, JsValue>;

    #[wasm_bindgen(extends = IdbDatabase)]
    type Transacting;
    #[wasm_bindgen(method, catch)]
    fn transaction(this: &Transacting, stores: &Array, mode: &str, options: &Object)
    -> Result<IdbTransaction, JsValue>;

    /// Whether the browser has promised to delete nothing by itself.
    #[wasm_bindgen(js_namespace = ["navigator", "storage"], catch)]
    fn persisted() -> Result<Promise, JsValue>;
}

/// Whether the browser has promised not to delete this origin's data when it needs the place.
pub(super) async fn is_persisted() -> bool {
    match persisted() {
        Ok(answer) => JsFuture::from(answer).await.is_ok_and(|persisted| persisted.is_truthy()),
        Err(_) => false,
    }
}

fn factory() -> Result<Factory, Failure> {
    // Present in windows and in every kind of worker, unless the user has storage switched off.
    let factory = Reflect::get(&js_sys::global(), &"indexedDB".into()).unwrap_or(JsValue::UNDEFINED);
    if factory.is_object() {
        Ok(factory.unchecked_into())
    } else {
        Err(Failure::Refused("it has no IndexedDB here".into()))
    }
}

/// The names of all databases of this origin. Where nothing can be stored, there are none.
pub(super) async fn names() -> Result<Vec<String>, Failure> {
    let Ok(factory) = factory() else { return Ok(Vec::new()) };
    let answer = factory.databases().map_err(|e| Failure::from_js(&e))?;
    let list = JsFuture::from(answer).await.map_err(|e| Failure::from_js(&e))?;
    let name = |database: JsValue| Reflect::get(&database, &"name".into()).ok()?.as_string();
    Ok(Array::from(&list).iter().filter_map(name).collect())
}

/// When a transaction counts as complete.
#[derive(Clone, Copy)]
pub(super) enum Durability {
    /// Once it is flushed to the disk.
    Strict,
    /// Once the operating system has it.
    Relaxed,
}

type Listener = Closure<dyn FnMut(Event)>;

/// One open connection. It is closed when dropped; transactions that run by then complete.
pub(super) struct Connection {
    database: IdbDatabase,
    on_lost: RefCell<Option<Listener>>,
}

impl Connection {
    /// Opens the database of that name. Where there is none, `create` makes its object stores; without it nothing is
    /// made and the answer is [`Failure::Missing`].
    pub(super) async fn open(name: &str, create: Option<&'static [&'static str]>) -> Result<Self, Failure> {
        let request = factory()?.open_with_u32(name, 1).map_err(|e| Failure::from_js(&e))?;
        let upgrade = Listener::new({
            let request = request.clone();
            move |_| {
                // An upgrade that throws or is aborted takes the new database with it.
                if create.and_then(|stores| create_stores(&request, stores).ok()).is_none()
                    && let Some(transaction) = request.transaction()
                {
                    let _ = transaction.abort();
                }
            }
        });
        request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
        match finished(request.clone()).await {
            Ok(database) => Ok(Self { database: database.unchecked_into(), on_lost: RefCell::default() }),
            // The name under which Firefox refuses windows that store nothing.
            Err(Failure::Closed) if is_invalid_state(&request) => Err(Failure::Refused("a private window".into())),
            // Of the other reasons for this, only the aborted upgrade concerns a database that is not there.
            Err(Failure::Closed) if create.is_none() => Err(Failure::Missing),
            Err(failure) => Err(failure),
        }
    }

    /// Calls `lost` when the browser closed the connection (`true`) or somebody wants it closed (`false`).
    pub(super) fn on_lost(&self, mut lost: impl FnMut(bool) + 'static) {
        let callback = Listener::new(move |event: Event| lost(event.type_() == "close"));
        let function: &Function = callback.as_ref().unchecked_ref();
        self.database.set_onclose(Some(function));
        self.database.set_onversionchange(Some(function));
        self.on_lost.replace(Some(callback));
    }

    /// Begins a transaction that reads.
    pub(super) fn read(&self, stores: &[&str]) -> Result<IdbTransaction, Failure> {
        let stores: Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
        self.database.transaction_with_str_sequence(&stores).map_err(|e| Failure::from_js(&e))
    }

    /// Begins a transaction that may write.
    pub(super) fn write(&self, stores: &[&str], durability: Durability) -> Result<IdbTransaction, Failure> {
        let stores: Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
        let options = Object::new();
        let durability = match durability {
            Durability::Strict => "strict",
            Durability::Relaxed => "relaxed",
        };
        // Setting a property of a fresh object cannot fail.
        let _ = Reflect::set(&options, &"durability".into(), &durability.into());
        self.database
            .unchecked_ref::<Transacting>()
            .transaction(&stores, "readwrite", &options)
            .map_err(|e| Failure::from_js(&e))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.database.set_onclose(None);
        self.database.set_onversionchange(None);
        self.database.close();
    }
}

fn is_invalid_state(request: &IdbRequest) -> bool {
    matches!(request.error(), Ok(Some(error)) if error.name() == "InvalidStateError")
}

fn create_stores(request: &IdbOpenDbRequest, stores: &[&str]) -> Result<(), JsValue> {
    let database: IdbDatabase = request.result()?.unchecked_into();
    for name in stores {
        database.create_object_store(name)?;
    }
    Ok(())
}

/// The result of a request. Like [`completed`] it listens from now on, not from the first poll: an event that nobody
/// listens to is gone. What becomes of a request may also be given up.
pub(super) fn finished<R: AsRef<IdbRequest>>(request: R) -> impl Future<Output = Result<JsValue, Failure>> {
    let (callback, fired) = signal();
    let listening = Listening { request: request.as_ref().clone(), callback };
    listening.set(Some(listening.callback.as_ref().unchecked_ref()));
    async move {
        let _ = fired.await;
        let request = &listening.request;
        match request.error() {
            Ok(None) => request.result().map_err(|e| Failure::from_js(&e)),
            Ok(Some(error)) => Err(Failure::from_js(&error)),
            Err(error) => Err(Failure::from_js(&error)),
        }
    }
}

/// A request that has a callback, which it must not call any more when that is gone.
struct Listening {
    request: IdbRequest,
    callback: Closure<dyn FnMut()>,
}

impl Listening {
    fn set(&self, callback: Option<&Function>) {
        self.request.set_onsuccess(callback);
        self.request.set_onerror(callback);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.set(None);
    }
}

/// Resolves when the transaction is durable, or did nothing.
pub(super) fn completed(transaction: IdbTransaction) -> impl Future<Output = Result<(), Failure>> {
    let (complete, completed) = signal();
    let (abort, aborted) = signal();
    transaction.set_oncomplete(Some(complete.as_ref().unchecked_ref()));
    transaction.set_onabort(Some(abort.as_ref().unchecked_ref()));
    async move {
        // Exactly one of them fires. The callbacks live until then.
        let outcome = select(completed, aborted).await;
        drop((complete, abort));
        match (outcome, transaction.error()) {
            (Either::Left(_), _) => Ok(()),
            (Either::Right(_), Some(error)) => Err(Failure::from_js(&error)),
            // Without an error it was aborted on purpose, or because the connection was closed by force.
            (Either::Right(_), None) => Err(Failure::Closed),
        }
    }
}

fn signal() -> (Closure<dyn FnMut()>, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    let callback = Closure::once(move || {
        // Nobody waits any more: nothing to tell.
        let _ = sender.send(());
    });
    (callback, receiver)
}
