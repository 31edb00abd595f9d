/** Whatever is killed: what was answered with success is never missing, and in the end all copies are the same. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { World } from "./harness/world.mjs";
import { Www } from "./harness/www.mjs";

describe("a crash", () => {
  test("a browser killed right after an answer has what was answered", async (t) => {
    const world = await World.open(["Anna"]);
    t.after(() => world.close());
    const [anna] = world.people;
    await anna.setNetwork(false);
    for (let i = 1; i <= 4; i++) {
      await anna.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [`kill-${i}`, `Acknowledged ${i}`]);
      await anna.kill();
      await anna.launch();
      const ids = (await anna.rows()).map((row) => row.id);
      assert.deepEqual(ids, Array.from({ length: i }, (_, at) => `kill-${at + 1}`));
    }
  });

  test("an engine that traps is replaced while the worker lives, and streams go on", async (t) => {
    const www = new Www(t);
    // What a panic in a task of the engine looks like from outside.
    www.append("sw.js", '\nself.addEventListener("message", ({ data }) => data === "test:trap" && setTimeout(() => { throw new WebAssembly.RuntimeError("unreachable"); }));');
    const world = await World.open(["Anna", "Ben"], { www: www.dir });
    t.after(() => world.close());
    const [anna, ben] = world.people;
    for (let i = 1; i <= 3; i++) {
      await anna.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [`before-${i}`, `Before trap ${i}`]);
      await anna.page.evaluate(() => navigator.serviceWorker.controller.postMessage("test:trap"));
      await sleep(100);
      const begin = performance.now();
      await anna.exec("INSERT INTO todo (id, title) VALUES (?, ?)", [`after-${i}`, `After trap ${i}`]);
      t.diagnostic(`first write after a trap: ${Math.round(performance.now() - begin)} ms`);
      await anna.seesItem(`After trap ${i}`, 3_000);
      await ben.seesItem(`After trap ${i}`);
    }
    assert.equal((await world.agreed()).length, 6);
  });

  test("workers stopped, pages reloaded, browsers and the server killed in mid-work lose nothing", async (t) => {
    const world = await World.open(["Anna", "Ben"]);
    t.after(() => world.close());
    const record = new Record();
    const writers = world.people.map((person) => new Writer(person, record));
    const failures = [];
    const work = writers.map((writer) => writer.run().catch((error) => failures.push(error)));

    const [anna, ben] = writers;
    const accidents = [
      () => anna.during(() => anna.person.stopWorker()),
      () => killServer(world),
      () => ben.stopped(() => ben.person.reload()),
      () => ben.during(() => ben.person.stopWorker()),
      () => anna.stopped(async () => {
        await anna.person.kill();
        await anna.person.launch();
      }),
      () => killServer(world),
      () => anna.during(() => anna.person.stopWorker()),
      () => ben.stopped(async () => {
        await ben.person.kill();
        await ben.person.launch();
      }),
      () => killServer(world),
    ];
    for (const accident of accidents) {
      await sleep(700);
      await accident();
    }
    await sleep(700);
    for (const writer of writers) writer.end();
    await Promise.all(work);
    assert.deepEqual(failures, []);

    const rows = await world.agreed(60_000);
    record.check(rows);
    t.diagnostic(`${record.inserted.size} inserts, ${record.deleted.size} deletes and ${record.updates} updates acknowledged; ${record.unknown} answers lost to accidents; ${rows.length} rows in the end`);
    assert.ok(record.inserted.size > 50, "the writers hardly wrote");
  });
});

async function killServer(world) {
  await world.server.kill();
  await sleep(500);
  await world.server.start();
}

/** What was acknowledged. Written down after the answer, so it never claims too much. */
class Record {
  inserted = new Map();
  deleted = new Set();
  counters = new Map();
  updates = 0;
  unknown = 0;

  check(rows) {
    const found = new Map(rows.map((row) => [row.id, row]));
    const lost = [...this.inserted.keys()].filter((id) => !this.deleted.has(id) && !found.has(id));
    assert.deepEqual(lost, [], "acknowledged inserts are missing");
    const wrong = [...this.inserted].filter(([id, title]) => found.has(id) && found.get(id).title !== title);
    assert.deepEqual(wrong, [], "rows hold something else than was acknowledged");
    const back = [...this.deleted].filter((id) => found.has(id));
    assert.deepEqual(back, [], "acknowledged deletes came back");
    for (const [id, value] of this.counters) {
      assert.ok(Number(found.get(id)?.title) >= value, `${id} was acknowledged as ${value} and is ${found.get(id)?.title}`);
    }
  }
}

/** One person's work: inserts, now and then a delete, and a counter that only they raise. */
class Writer {
  #record;
  #ended = false;
  #gate = Promise.resolve();

  constructor(person, record) {
    this.person = person;
    this.#record = record;
  }

  async run() {
    const { name } = this.person;
    const counter = `counter of ${name}`;
    let last;
    for (let n = 1; !this.#ended; n++) {
      await this.#gate;
      const id = `${name}-${n}`;
      await this.#attempt("INSERT INTO todo (id, title, created) VALUES (?, ?, ?)", [id, `Item ${n}`, n], () => this.#record.inserted.set(id, `Item ${n}`));
      // INSERT OR REPLACE would do too, but an upsert keeps the row's history.
      await this.#attempt("INSERT INTO todo (id, title) VALUES (?, ?) ON CONFLICT DO UPDATE SET title = excluded.title", [counter, String(n)], () => {
        this.#record.counters.set(counter, n);
        this.#record.updates++;
      });
      if (n % 5 === 0 && last) await this.#attempt("DELETE FROM todo WHERE id = ?", [last], () => this.#record.deleted.add(last));
      last = id;
    }
  }

  async #attempt(sql, params, acknowledged) {
    const { page } = this.person;
    try {
      await this.person.exec(sql, params);
      acknowledged();
    } catch (error) {
      // Neither counted nor repeated: it may have happened or not.
      this.#record.unknown++;
      if (page === this.person.page && !/answer|closed|destroyed|navigat|Target|unavailable/i.test(error.message)) throw error;
      await this.#gate;
      await sleep(20);
    }
  }

  /** Does something while the writer writes. */
  during(accident) {
    return accident();
  }

  /** Does something to the page while the writer's last write is under way, and holds the next ones back until it is done. */
  async stopped(accident) {
    let open;
    this.#gate = new Promise((resolve) => (open = resolve));
    try {
      await accident();
    } finally {
      open();
    }
  }

  end() {
    this.#ended = true;
  }
}
