//! The stored form of one database: loading it, and executing the log's writes on it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{IdbKeyRange, IdbObjectStore, IdbRequest, IdbTransaction};

use super::connection::{Connection, Durability, completed, finished};
use super::failure::Failure;
use super::image::Image;
use super::log::{Limits, Log, Restore, Write};

const CHUNKS: &str = "chunks";
const LOG: &str = "log";
const META: &str = "meta";
/// The object stores of a database.
pub(super) const STORES: &[&str] = &[CHUNKS, LOG, META];

const HEAD: &str = "head";
const EPOCH: &str = "epoch";

/// Chunks on their way at a time: 16 MiB, so that a large file is not in memory twice. Each is asked for alone, and so copied
/// while the next ones are read; `getAll` would give none before it has all.
const CHUNKS_AT_ONCE: usize = 64;

/// A connection that owns its database for as long as the epoch is the one it set.
pub(super) struct Stored {
    connection: Connection,
    epoch: f64,
}

impl Stored {
    /// Takes the database over from whoever had it, and reads it. Where there is no room even for the new epoch, it goes on
    /// with the one that is stored: reading must not need room. The Web Lock alone then keeps others from writing.
    pub(super) async fn load(connection: Connection) -> Result<(Self, Image, Log), Failure> {
        let loaded = match read(connection.write(STORES, Durability::Relaxed)?, true).await {
            Err(Failure::Full) => read(connection.read(STORES)?, false).await,
            loaded => loaded,
        };
        let (epoch, (image, log)) = loaded?;
        Ok((Self { connection, epoch }, image, log))
    }

    /// Executes `write` as one transaction. All of it is taken from `image` before this returns; the future tells
    /// when it is durable, or that nothing was written.
    pub(super) fn execute(
        &self,
        write: &Write,
        image: &Image,
    ) -> Result<impl Future<Output = Result<(), Failure>> + use<>, Failure> {
        let stores = match write {
            Write::Append { .. } => &[LOG, META],
            Write::Checkpoint { .. } => STORES,
        };
        let transaction = self.connection.write(stores, Durability::Strict)?;
        let outcome = self.fill(&transaction, write, image);
        if outcome.is_err() {
            // It may have been half filled. Aborting fails only where it is over already.
            let _ = transaction.abort();
        }
        let fence = outcome?;
        let done = completed(transaction);
        Ok(async move {
            let outcome = done.await;
            if fence.is_broken() { Err(Failure::Taken) } else { outcome }
        })
    }

    fn fill(&self, transaction: &IdbTransaction, write: &Write, image: &Image) -> Result<Fence, Failure> {
        let meta = store(transaction, META)?;
        let log = store(transaction, LOG)?;
        let fence = Fence::new(transaction, &get(&meta, EPOCH)?, self.epoch);
        match write {
            Write::Append { generation, record } => {
                // `add` refuses a generation that is there: a second guard against another writer.
                let key = JsValue::from_f64(generation.get() as f64);
                log.add_with_key(&Uint8Array::from(record.as_slice()), &key).map_err(|e| Failure::from_js(&e))?;
            }
            Write::Checkpoint { head, chunks } => {
                let store = store(transaction, CHUNKS)?;
                for index in chunks {
                    let bytes = image.chunk(*index).unwrap_or_default();
                    put(&store, &Uint8Array::from(bytes), &JsValue::from_f64(f64::from(*index)))?;
                }
                let past = IdbKeyRange::lower_bound(&JsValue::from_f64(head.chunks() as f64));
                let past = past.map_err(|e| Failure::from_js(&e))?;
                store.delete(&past).map_err(|e| Failure::from_js(&e))?;
                put(&meta, &Uint8Array::from(head.encode().as_slice()), &HEAD.into())?;
                log.clear().map_err(|e| Failure::from_js(&e))?;
            }
        }
        Ok(fence)
    }
}

/// Reads everything in one transaction, which counts the epoch up if it shall.
async fn read(transaction: IdbTransaction, next_epoch: bool) -> Result<(f64, (Image, Log)), Failure> {
    let done = completed(transaction.clone());
    let loaded = async {
        let meta = store(&transaction, META)?;
        let epoch = finished(get(&meta, EPOCH)?);
        let head = finished(get(&meta, HEAD)?);
        let records = store(&transaction, LOG)?.get_all().map_err(|e| Failure::from_js(&e))?;
        let records = finished(records);
        let chunks = store(&transaction, CHUNKS)?;

        let mut epoch = epoch.await?.as_f64().unwrap_or(0.0);
        if next_epoch {
            epoch += 1.0;
            put(&meta, &JsValue::from_f64(epoch), &EPOCH.into())?;
        }
        let head = head.await?;
        let head = (!head.is_undefined()).then(|| bytes(head)).transpose()?;
        let mut restore = Restore::new(head.as_deref(), Limits::default())?;
        let (mut unasked, mut coming) = (0..restore.chunks(), VecDeque::new());
        loop {
            for index in unasked.by_ref().take(CHUNKS_AT_ONCE - coming.len()) {
                coming.push_back(finished(get(&chunks, index as f64)?));
            }
            let Some(chunk) = coming.pop_front() else { break };
            restore.chunk(bytes(chunk.await?)?)?;
        }
        for record in Array::from(&records.await?) {
            restore.record(&bytes(record)?)?;
        }
        Ok::<_, Failure>((epoch, restore.finish()?))
    };
    match (loaded.await, done.await) {
        // Of a transaction that was aborted, its requests know no more than that.
        (Ok(_) | Err(Failure::Closed), Err(failure)) => Err(failure),
        (loaded, _) => loaded,
    }
}

/// Aborts a transaction that finds another epoch than its own. The answer comes while the transaction's other requests
/// are already on their way, so the check costs no round trip; and it comes before the transaction can complete.
struct Fence {
    broken: Rc<Cell<bool>>,
    _callback: Closure<dyn FnMut()>,
}

impl Fence {
    fn new(transaction: &IdbTransaction, epoch: &IdbRequest, own: f64) -> Self {
        let broken = Rc::new(Cell::new(false));
        let callback = Closure::new({
            let (transaction, request, broken) = (transaction.clone(), epoch.clone(), Rc::clone(&broken));
            move || {
                if request.result().ok().and_then(|found| found.as_f64()) != Some(own) {
                    broken.set(true);
                    let _ = transaction.abort();
                }
            }
        });
        epoch.set_onsuccess(Some(callback.as_ref().unchecked_ref()));
        Self { broken, _callback: callback }
    }

    fn is_broken(&self) -> bool {
        self.broken.get()
    }
}

fn store(transaction: &IdbTransaction, name: &str) -> Result<IdbObjectStore, Failure> {
    transaction.object_store(name).map_err(|e| Failure::from_js(&e))
}

fn get(store: &IdbObjectStore, key: impl Into<JsValue>) -> Result<IdbRequest, Failure> {
    store.get(&key.into()).map_err(|e| Failure::from_js(&e))
}

fn put(store: &IdbObjectStore, value: &JsValue, key: &JsValue) -> Result<(), Failure> {
    store.put_with_key(value, key).map_err(|e| Failure::from_js(&e))?;
    Ok(())
}

fn bytes(value: JsValue) -> Result<Vec<u8>, Failure> {
    let array: Uint8Array =
        value.dyn_into().map_err(|_| Failure::Damaged("a stored value is not a byte string".into()))?;
    Ok(array.to_vec())
}
