/** What the benchmark runs in a page: this package as an application uses it, and the original cr-sqlite the same way. */

import { connect } from "/client.js";
import "/wasm-memory.js";

const TABLE = "CREATE TABLE item (id INTEGER PRIMARY KEY NOT NULL, title, position, text)";
const CRR = "SELECT crsql_as_crr('item')";
const INSERT = "INSERT INTO item VALUES (?, ?, ?, ?)";
const FIRST = "SELECT title FROM item WHERE id = 1";
const ALL = "SELECT count(*) AS n, sum(length(text)) AS bytes FROM item";
const ROW_BYTES = 1000;
/** The media type of a batch in the binary form. */
const BATCH = "application/vnd.crsql-sync.batch";
/** What the insert of a row comes to in the log. */
const RECORD_BYTES = 1700;

class Ours {
  static async open(name) {
    const ours = new Ours();
    ours.url = `/sync/${name}`;
    ours.client = await connect({ dbid: name, worker: "/bench-sw.js", schema: `${TABLE}; ${CRR};` });
    return ours;
  }

  write = (row) => this.client.exec(INSERT, row);

  fill = (from, rows, bytes) => this.client.exec(fill(from, rows, bytes));

  first = () => this.client.query(FIRST);

  all = () => this.client.query(ALL);

  /** All changes, as they come over the network: batches in the binary form. */
  async changes() {
    const batches = [];
    for (let since = "0", more = true; more; ) {
      const url = `${this.url}/changes?since=${since}`;
      batches.push(await (await fetch(url, { headers: { accept: BATCH } })).arrayBuffer());
      // Where it ends is read more easily in JSON.
      const batch = await (await fetch(url)).json();
      since = batch.next ?? `${batch.from}.${batch.end}`;
      more = batch.more;
    }
    return batches;
  }

  async merge(batches) {
    for (const body of batches) {
      const response = await fetch(`${this.url}/changes`, { method: "POST", headers: { "content-type": BATCH }, body });
      if (!response.ok) throw new Error(await response.text());
    }
  }
}

class Theirs {
  /** `strict` waits for the disk with every commit; `relaxed` is what the package does unless its file system is replaced. */
  static async open(name, durability) {
    const theirs = new Theirs();
    theirs.db = await (await sqlite(durability)).open(`${name}-${durability}`);
    await theirs.db.exec(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"));
    await theirs.db.exec(CRR);
    return theirs;
  }

  write = (row) => this.db.exec(INSERT, row);

  fill = (from, rows, bytes) => this.db.exec(fill(from, rows, bytes));

  first = () => this.db.execO(FIRST);

  all = () => this.db.execO(ALL);

  /** All changes, as its own network layer sends them: one message. */
  async changes() {
    const { encode, tags } = await import("@vlcn.io/ws-common");
    const changes = await this.db.execA('SELECT "table", pk, cid, val, col_version, db_version, site_id, cl, seq FROM crsql_changes');
    return encode({ _tag: tags.Changes, sender: new Uint8Array(16), since: [0n, 0], changes });
  }

  /** As that layer does it. */
  async merge(message) {
    const { decode } = await import("@vlcn.io/ws-common");
    const { changes } = decode(message);
    await this.db.tx(async (tx) => {
      const statement = await tx.prepare("INSERT INTO crsql_changes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)");
      for (const change of changes) await statement.run(tx, ...change);
      await statement.finalize(tx);
    });
  }
}

let started;
/** Its `initWasm`, but for the durability. */
async function sqlite(durability) {
  started ??= (async () => {
    const { SQLite3 } = await import("@vlcn.io/crsqlite-wasm");
    const { default: factory } = await import("@vlcn.io/crsqlite-wasm/dist/crsqlite.mjs");
    const { Factory } = await import("@vlcn.io/wa-sqlite");
    const { IDBBatchAtomicVFS } = await import("@vlcn.io/wa-sqlite/src/examples/IDBBatchAtomicVFS.js");
    const base = Factory(await factory({ locateFile: () => "/vendor/crsqlite-wasm/dist/crsqlite.wasm" }));
    base.vfs_register(new IDBBatchAtomicVFS("idb-batch-atomic", { durability }));
    return new SQLite3(base);
  })();
  return started;
}

const fill = (from, rows, bytes = ROW_BYTES) => `WITH RECURSIVE n(i) AS (SELECT ${from} UNION ALL SELECT i + 1 FROM n WHERE i < ${from + rows - 1})
  INSERT INTO item SELECT i, 'item ' || i, i, hex(randomblob(${bytes / 2})) FROM n`;

async function timed(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** Nothing but the record of a commit, put into IndexedDB by this page: what a durable write takes at the least. */
class Put {
  static async open(name) {
    const put = new Put();
    put.database = await new Promise((resolve, reject) => {
      const request = indexedDB.open(name);
      request.onupgradeneeded = () => request.result.createObjectStore("log");
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
    return put;
  }

  write([id]) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction("log", "readwrite", { durability: "strict" });
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
      transaction.objectStore("log").add(new Uint8Array(RECORD_BYTES), id);
      transaction.commit();
    });
  }
}

/** Ours, asked by `fetch` as any page can. */
class Fetched {
  static async open(name) {
    await Ours.open(name);
    const fetched = new Fetched();
    fetched.name = name;
    return fetched;
  }

  write = (row) => sql(this.name, INSERT, row, { "idempotency-key": crypto.randomUUID() });
}

const OPEN = { ours: Ours.open, fetch: Fetched.open, put: Put.open };
const open = (side, name) => (OPEN[side] ?? Theirs.open)(name, side);

/** Milliseconds of each of `count` writes, one after the other. */
export async function writes(side, name, count) {
  const database = await open(side, name);
  const times = [];
  for (let id = 1; id <= count; id++) times.push(await timed(() => database.write([id, `item ${id}`, id, "some text"])));
  return times;
}

/** Milliseconds of each of `count` questions that SQLite has no work with. */
export async function asks(way, name, count) {
  const { client } = await Ours.open(name);
  const ask = way === "fetch" ? () => sql(name, "SELECT 1") : () => client.query("SELECT 1");
  const times = [];
  for (let n = 0; n < count; n++) times.push(await timed(ask));
  return times;
}

/** Milliseconds of `count` writes that begin at once. */
export async function writesAtOnce(side, name, count) {
  const database = await open(side, name);
  return timed(() => Promise.all(Array.from({ length: count }, (_, id) => database.write([id + 1, `item ${id}`, id, "some text"]))));
}

/** Milliseconds of merging what `rows` rows of three columns make, three changes each. */
export async function merge(side, name, rows) {
  const [from, to] = [await open(side, `${name}-from`), await open(side, `${name}-to`)];
  await from.fill(1, rows, 20);
  const changes = await from.changes();
  const took = await timed(() => to.merge(changes));
  const [{ n }] = await to.all();
  if (n !== rows) throw new Error(`${side}: ${n} rows were merged`);
  return took;
}

/** Makes a database of about this size. */
export async function make(side, name, megabytes) {
  const database = await open(side, name);
  const step = 5_000;
  const rows = (megabytes * 1e6) / ROW_BYTES;
  for (let from = 1; from <= rows; from += step) await database.fill(from, Math.min(step, rows - from + 1));
}

/** Milliseconds until a database gives its first answer, and until it has read all of itself. */
export async function reads(side, name) {
  let database;
  const first = await timed(async () => {
    if (side !== "ours") database = await open(side, name);
    else database = { all: () => sql(name, ALL), first: () => sql(name, FIRST) };
    await database.first();
  });
  return { first, all: first + (await timed(() => database.all())) };
}

/** One statement of the worker's database, by nothing but `fetch`. */
export async function sql(name, sql, params = [], headers = {}) {
  const init = { method: "POST", headers: { "content-type": "application/json", ...headers }, body: JSON.stringify({ sql, params }) };
  const response = await fetch(`/sync/${name}/sql`, init);
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

const now = () => performance.timeOrigin + performance.now();

/** Notes when each row is first seen. */
export async function watch(name) {
  const { client } = await Ours.open(name);
  const seen = (globalThis.seen = new Map());
  client.watch("SELECT id FROM item", [], (rows) => {
    for (const { id } of rows) if (!seen.has(id)) seen.set(id, now());
  });
}

/** When each of `count` writes began. */
export async function writeSlowly(name, count) {
  const database = await Ours.open(name);
  const begun = [];
  for (let id = 1; id <= count; id++) {
    begun.push([id, now()]);
    await database.write([id, "", 0, ""]);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return begun;
}
