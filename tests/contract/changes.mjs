import { equal, ok, problem } from "./assert.mjs";
import { BINARY, PEER, batch } from "./client.mjs";

export default {
  async "a batch that was applied is read back"(client) {
    await client.create();
    const applied = await client.apply(batch(1, "milk"));
    equal([applied.received, applied.at], [`${PEER}.1`, await client.at()]);
    ok(applied.applied > 0);
    const read = await client.changes();
    equal([read.changes, read.covers, read.start, read.more, read.next], [batch(1, "milk").changes, { [PEER]: [[1, 1]] }, 0, false, applied.at]);
  },

  async "a replay changes nothing, and what comes too early is refused"(client) {
    await client.create();
    const early = await client.call("POST", "/changes", { body: batch(2, "late") });
    problem(early, 409, "out_of_order");
    equal(early.body.expected, `${PEER}.0`);
    await client.apply(batch(1, "first"));
    await client.apply(batch(2, "late"));
    const at = await client.at();
    const replayed = await client.apply(batch(1, "first"));
    equal([replayed.applied, replayed.received, replayed.at], [0, `${PEER}.2`, at]);
    equal(await client.ids(), ["first", "late"]);
  },

  async "a caller is not sent what came from it"(client) {
    const { site } = await client.create();
    await client.apply(batch(1, "milk"));
    await client.add("bread");
    for (const [query, headers] of [[`exclude=${PEER}`, {}], [`site=${PEER}`, {}], ["", { "crsql-site": PEER }]]) {
      const read = await client.get("GET", `/changes?${query}`, { headers });
      ok(read.changes.length > 0 && read.changes.every((change) => change[6] === site));
      equal(read.next, await client.at());
    }
  },

  async "pages lead from one to the next, also inside a transaction"(client) {
    await client.create();
    for (const id of ["a", "b", "c"]) await client.add(id);
    const values = Array.from({ length: 20 }, (_, n) => `('${n}', 'x', 1)`);
    await client.sql(`INSERT INTO todo VALUES ${values.join(",")}`);
    const changes = [];
    let since = "0";
    for (let more = true; more; ) {
      const page = await client.changes(`since=${since}&limit=6`);
      ok(page.changes.length <= 6);
      changes.push(...page.changes);
      ({ next: since, more } = page);
    }
    equal(since, await client.at());
    equal(changes, (await client.changes()).changes);
    // Another copy takes the pages as they are.
    const copy = client.other();
    await copy.create();
    since = "0";
    for (let more = true; more; ) {
      const page = await client.changes(`since=${since}&limit=6`);
      await copy.apply(page);
      ({ next: since, more } = page);
    }
    equal(await copy.ids(), await client.ids());
  },

  async "every value survives"(client) {
    await client.create();
    const values = [null, 'text \u0000 "ü"', 42, { $int: "-9223372036854775808" }, { $real: 1 }, 0.5, { $real: "inf" }, { $blob: "00ff" }];
    for (const [n, value] of values.entries()) await client.sql("INSERT INTO todo VALUES (?1, ?2, 0)", String(n), value);
    const titles = "SELECT title FROM todo ORDER BY id";
    equal((await client.sql(titles)).rows, values.map((value) => [value]));
    const copy = client.other();
    await copy.create();
    await copy.apply(await client.changes());
    equal((await copy.sql(titles)).rows, values.map((value) => [value]));
  },

  async "a bad batch is refused and changes nothing"(client) {
    await client.create();
    const at = await client.at();
    const spoilt = [
      [0, "nothing"], [0, "crsql_master"], [1, ""], [1, "010b046d696c6b00"], [1, "xyz"], [2, "nothing"], [2, "id"], [3, 9007199254740992], [3, true],
      [3, [[]]], [4, -1], [5, 0], [5, 9007199254740992], [6, "aa"], [6, null], [7, 2], [8, -1], [8, "1"],
    ];
    for (const [index, value] of spoilt) {
      const body = batch(1, "milk");
      body.changes[1][index] = value;
      problem(await client.call("POST", "/changes", { body }), 400, "invalid_batch");
    }
    for (const members of [{ protocol: 2 }, { from: null }, { start: 9 }, { start: -1 }, { covers: { [PEER]: [[2, 1]] } }, { changes: [[]] }]) {
      problem(await client.call("POST", "/changes", { body: { ...batch(1, "milk"), ...members } }), 400, "invalid_batch");
    }
    equal([await client.at(), await client.ids()], [at, []]);
    await client.apply({ ...batch(1, "milk"), later: "fields that are not known are passed over" });
  },

  async "a cursor that is not of this copy is told where the copy is"(client) {
    const { site, at } = await client.create();
    for (const path of ["/changes", "/events"]) {
      const unknown = await client.call("GET", `${path}?since=${PEER}.1`);
      problem(unknown, 409, "cursor_unknown");
      equal(unknown.body.at, at);
      problem(await client.call("GET", `${path}?since=${site}.999`), 409, "cursor_ahead");
    }
  },

  async "transactions are asked for by name"(client) {
    const { site } = await client.create();
    await client.add("own");
    await client.apply(batch(1, "milk"));
    await client.apply(batch(2, "bread"));
    const request = (body) => client.get("POST", "/changes/request", { body });
    const one = await request({ versions: { [PEER]: [[1, 1], [7, 9]] } });
    equal([one.changes, one.covers], [batch(1, "milk").changes, { [PEER]: [[1, 1]] }]);
    ok(!("start" in one || "end" in one || "next" in one), "it moves no cursor");
    const rest = await request({ all_but: { [PEER]: [[1, 1]] } });
    equal(rest.covers, { [PEER]: [[2, 2]], [site]: [[1, 1]] });
    const copy = client.other();
    await copy.create();
    await copy.apply(rest);
    equal((await copy.get("GET", "/status")).gaps, { [PEER]: [[1, 1]] });
    await copy.apply(one);
    equal((await copy.get("GET", "/status")).gaps, {});
    equal(await copy.ids(), ["bread", "milk", "own"]);
    const known = await request({ since: "0", known: { [PEER]: [[1, 2]] } });
    equal([known.changes.length, known.next], [2, await client.at()]);
    const pieces = await request({ pieces: [{ site: PEER, version: 1, seqs: [[1, 5]] }] });
    equal(pieces.partial, [{ site: PEER, version: 1, seqs: [[1, 1]], last_seq: 1 }]);
    problem(await client.call("POST", "/changes/request", { body: { versions: {}, all_but: {} } }), 400, "invalid_request");
  },

  async "a batch goes both ways in the binary form"(client) {
    await client.create();
    await client.add("milk");
    const accept = { headers: { accept: BINARY } };
    const read = await client.call("GET", "/changes", accept);
    equal([read.type, [...read.body.slice(0, 4)]], [BINARY, [0xfe, 0x63, 0x72, 0x62]]);
    const copy = client.other();
    await copy.create();
    const binary = { headers: { "content-type": BINARY }, body: read.body };
    await copy.get("POST", "/changes", binary);
    equal(await copy.ids(), ["milk"]);
    equal((await client.call("GET", "/changes", { headers: { accept: "application/json, */*;q=0.1" } })).type, "application/json");
    const cut = { ...binary, body: read.body.slice(0, -1) };
    problem(await copy.call("POST", "/changes", cut), 400, "invalid_batch");
    const csv = await copy.call("POST", "/changes", { body: "a,b", headers: { "content-type": "text/csv" } });
    problem(csv, 415, "unsupported_media_type");
    equal(csv.headers.get("accept"), `application/json, ${BINARY}`);
  },

  async "a closed range may be kept, an open one not"(client) {
    const { site } = await client.create();
    for (const id of ["1", "2"]) await client.add(id);
    const closed = await client.call("GET", `/changes?until=${site}.1`);
    equal(closed.headers.get("cache-control"), "private, max-age=86400, immutable");
    ok(closed.headers.get("vary").startsWith("accept, accept-encoding, authorization, cookie, crsql-site"));
    const headers = { "if-none-match": closed.headers.get("etag") };
    const again = await client.call("GET", `/changes?until=${site}.1`, { headers });
    equal([again.status, again.body.length], [304, 0]);
    for (const query of ["", `until=${site}.3`]) {
      const open = await client.call("GET", `/changes?${query}`);
      equal([open.headers.get("cache-control"), open.headers.get("etag")], ["no-store", null]);
    }
  },

  async "who has another schema is sent the text, and the batch waits there"(client) {
    const copy = client.other();
    const { schema } = await copy.create();
    const later = "CREATE TABLE todo (id TEXT PRIMARY KEY NOT NULL, title, done INTEGER DEFAULT 0, note); SELECT crsql_as_crr('todo')";
    await client.create(later);
    await client.sql("INSERT INTO todo (id, note) VALUES ('milk', 'fresh')");
    problem(await copy.call("POST", "/changes", { body: await client.changes() }), 409, "schema_mismatch");
    const applied = await copy.apply(await client.changes(`schema=${schema}`));
    equal([applied.waits, await copy.ids()], [true, []]);
    await copy.get("POST", "/migrate", { body: { schema: later } });
    equal((await copy.sql("SELECT note FROM todo")).rows, [["fresh"]]);
  },

  async "copies see by one message that they are equal"(client) {
    const { site } = await client.create();
    const nothing = "0".repeat(32);
    const probe = { protocol: 1, from: PEER, root: [0, nothing], nodes: [["", [0, nothing]]] };
    const verify = (body) => client.get("POST", "/verify", { body });
    const equalOnes = await verify(probe);
    equal([equalOnes.root, equalOnes.nodes, equalOnes.repair], [[0, nothing], undefined, undefined]);
    await client.add("milk");
    const differs = await verify(probe);
    equal([differs.root[0], differs.repair.changes.length, differs.repair.covers], [1, 2, {}]);
    // It brings a row, and then both have two.
    const repair = { protocol: 1, from: PEER, changes: batch(1, "bread").changes };
    const repaired = await verify({ ...probe, repair });
    equal([repaired.root[0], await client.ids()], [2, ["bread", "milk"]]);
    problem(await client.call("POST", "/verify", { body: { ...probe, from: site } }), 400, "invalid_request");
  },
};
