/**
 * The steps of storing, by name, as IndexedDB sees them. Evaluated in a worker this gives a function; called, it has
 * `reached(name, { database, transaction, event })` called at each step, which may do what a crash or a browser does there: throw,
 * abort the transaction, keep an event from being heard, or never return. What it returns undoes all that.
 *
 * | step | before | within | after |
 * | --- | --- | --- | --- |
 * | open | the transaction that reads everything and counts the epoch up | its epoch is on its way | it is complete |
 * | commit | the transaction of a log record | the record is on its way | it is complete, and nobody knows |
 * | checkpoint | the first chunk | everything is on its way, and the log is emptied | it is complete, and nobody knows |
 *
 * A checkpoint is what compaction writes, a commit that is too long for the log, and an import.
 */
(reached) => {
  const database = IDBDatabase.prototype;
  const store = IDBObjectStore.prototype;
  const original = { transaction: database.transaction, add: store.add, put: store.put, clear: store.clear };
  /** What each transaction was found to be. */
  const kinds = new WeakMap();
  const is = (transaction, kind) => kinds.set(transaction, kind);
  const of = ({ transaction }) => ({ database: transaction.db, transaction });

  database.transaction = function (names, mode, options) {
    const kind = mode !== "readwrite" ? undefined : names.length === 2 ? "commit" : "open";
    if (kind) reached(`${kind}, before`, { database: this });
    const transaction = original.transaction.call(this, names, mode, options);
    if (kind) {
      is(transaction, kind);
      // Before the listener of whoever began it.
      transaction.addEventListener("complete", (event) => reached(`${kinds.get(transaction)}, after`, { database: this, transaction, event }));
    }
    return transaction;
  };
  store.add = function (...record) {
    const request = original.add.apply(this, record);
    if (this.name === "log") reached("commit, within", of(this));
    return request;
  };
  store.put = function (value, key) {
    if (this.name === "chunks" && kinds.get(this.transaction) !== "checkpoint") {
      is(this.transaction, "checkpoint");
      reached("checkpoint, before", of(this));
    }
    const request = original.put.call(this, value, key);
    if (key === "epoch") reached("open, within", of(this));
    return request;
  };
  store.clear = function () {
    const request = original.clear.call(this);
    if (this.name === "log") reached("checkpoint, within", of(this));
    return request;
  };
  return () => {
    database.transaction = original.transaction;
    Object.assign(store, { add: original.add, put: original.put, clear: original.clear });
  };
};
