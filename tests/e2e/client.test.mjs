/** The page client against a server that answers badly, late, or in pieces. Runs in Node, with what it needs of a page. */

import assert from "node:assert/strict";
import http from "node:http";
import { after, before, beforeEach, describe, test } from "node:test";

const SCHEMA = "5b";
const SITE = "0123456789abcdef0123456789abcdef";

describe("the page client", () => {
  let db, library, server, respond, requests;

  before(async () => {
    server = http.createServer(async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      requests.push({ method: request.method, url: request.url, headers: request.headers, body: body && JSON.parse(body) });
      respond(request, response, requests.length);
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    const page = new EventTarget();
    Object.assign(globalThis, {
      location: new URL(`http://127.0.0.1:${server.address().port}/`),
      document: Object.assign(new EventTarget(), { visibilityState: "visible" }),
      addEventListener: page.addEventListener.bind(page),
      reportError: console.error,
    });
    globalThis.navigator ??= {};
    requests = [];
    respond = (_, response) => json(response, 201, { at: `${SITE}.7`, schema: SCHEMA });
    library = await import("../../pkg/client.js");
    db = await library.connect({ dbid: "a.b", schema: "CREATE …", mode: "server" });
    assert.deepEqual(requests.map(({ method, url, body }) => [method, url, body]), [["PUT", "/sync/a.b", { schema: "CREATE …" }]]);
  });
  beforeEach(() => (requests = []));
  after(() => {
    db.close();
    server.closeAllConnections();
    server.close();
  });

  test("gives values their JSON form, and takes them back", async () => {
    const row = [null, 1, 0.5, { $int: "-9223372036854775808" }, { $real: 1 }, { $real: "inf" }, { $blob: "00ff" }, "ß"];
    respond = (_, response) => json(response, 200, { results: [{ columns: ["a", "b", "c", "d", "e", "f", "g", "h"], rows: [row], changes: 0 }] });
    const params = [null, undefined, true, 1, 0.5, 2 ** 60, -(2n ** 63n), 5n, library.real(1), Infinity, new Uint8Array([0, 255]), "ß"];
    const [result] = await db.query("SELECT …", params);
    assert.deepEqual(requests[0].body, [
      {
        sql: "SELECT …",
        params: [null, null, 1, 1, 0.5, { $real: 2 ** 60 }, { $int: "-9223372036854775808" }, { $int: "5" }, { $real: 1 }, { $real: "inf" }, { $blob: "00ff" }, "ß"],
      },
    ]);
    assert.deepEqual(Object.values(result), [null, 1, 0.5, -9223372036854775808n, 1, Infinity, new Uint8Array([0, 255]), "ß"]);
  });

  test("refuses what SQLite cannot hold, before it asks", async () => {
    for (const value of [NaN, 2n ** 63n, new Date(), {}, Symbol()]) {
      await assert.rejects(db.exec("…", [value]), { name: "SyncError", code: "invalid_value" });
    }
    assert.equal(requests.length, 0);
  });

  test("repeats a read whose answer broke off", async () => {
    respond = (_, response, count) => {
      if (count === 1) response.writeHead(200, { "content-type": "application/json" }).end();
      else if (count === 2) response.destroy();
      else if (count === 3) response.writeHead(200, { "content-type": "application/json", "content-length": "100" }).write('{"results"', () => response.destroy());
      else json(response, 200, { results: [{ columns: ["a"], rows: [[1]], changes: 0 }] });
    };
    assert.deepEqual(await db.query(" select a FROM t"), [{ a: 1 }]);
    assert.equal(requests.length, 4);
  });

  test("repeats a write whose answer broke off under the key of the first attempt", async () => {
    respond = (_, response, count) => {
      if (count === 1) response.writeHead(200, { "content-type": "application/json" }).end();
      else if (count === 2) response.destroy();
      else json(response, 200, { results: [{ columns: [], rows: [], changes: 1 }] });
    };
    assert.equal((await db.exec("WITH x AS (…) INSERT …")).changes, 1);
    const keys = requests.map(({ headers }) => headers["idempotency-key"]);
    assert.match(keys[0], /^[0-9a-f-]{36}$/);
    assert.deepEqual(keys, Array(3).fill(keys[0]));
    await db.exec("INSERT …");
    assert.notEqual(requests[3].headers["idempotency-key"], keys[0]);
  });

  test("says that a write may have been done when its answer stays away", async (t) => {
    respond = (_, response) => response.destroy();
    const begun = Date.now();
    // The time that it goes on trying passes at once.
    t.mock.method(Date, "now", () => begun + 60_000 * requests.length);
    await assert.rejects(db.exec("INSERT …"), { code: "answer_lost", message: /read before you repeat/ });
    assert.equal(requests.length, 1);
  });

  test("repeats a write that was refused for now, since nothing was done", async () => {
    respond = (_, response, count) => {
      if (count === 1) json(response, 503, { code: "unavailable", status: 503 }, { "retry-after": "0" });
      else json(response, 200, { results: [{ columns: [], rows: [], changes: 3 }] });
    };
    assert.equal((await db.exec("INSERT …")).changes, 3);
    assert.equal(requests.length, 2);
  });

  test("turns a problem document into an error with its code", async () => {
    respond = (_, response) => json(response, 400, { code: "query_refused", status: 400, title: "T", detail: "no such table" }, { "content-type": "application/problem+json" });
    await assert.rejects(db.exec("…"), { code: "query_refused", status: 400, message: "no such table", problem: { code: "query_refused", status: 400, title: "T", detail: "no such table" } });
  });

  test("says when somebody else than the database answers", async () => {
    respond = (_, response) => response.writeHead(404, { "content-type": "text/html" }).end("<h1>Not found</h1>");
    await assert.rejects(db.getStatus(), { code: "unexpected_answer", status: 404 });
    respond = (_, response) => response.writeHead(200, { "content-type": "text/html" }).end("<h1>Welcome</h1>");
    await assert.rejects(db.getStatus(), { code: "unexpected_answer" });
  });

  test("gives up when its signal says so", async () => {
    respond = () => {};
    const controller = new AbortController();
    const status = db.getStatus({ signal: controller.signal });
    setTimeout(() => controller.abort(new Error("enough")), 50);
    await assert.rejects(status, { message: "enough" });
  });

  test("asks for other credentials once when those before were refused", async () => {
    const asked = [];
    const auth = ({ refresh }) => {
      asked.push(refresh);
      return { authorization: refresh ? "Bearer new" : "Bearer old" };
    };
    respond = (request, response) => {
      if (request.headers.authorization === "Bearer new") return json(response, 200, { at: `${SITE}.7`, schema: SCHEMA });
      json(response, 401, { code: "unauthorized", status: 401 });
    };
    const other = await library.connect({ dbid: "c", schema: "…", mode: "server", auth });
    assert.deepEqual(asked, [false, true]);
    respond = (_, response) => json(response, 401, { code: "unauthorized", status: 401, detail: "not you" });
    requests = [];
    await assert.rejects(other.getStatus(), { code: "unauthorized", status: 401, message: "not you" });
    assert.deepEqual(requests.map(({ headers }) => headers.authorization), ["Bearer old", "Bearer new"]);
    other.close();
  });

  test("has each operation of the protocol under its route", async () => {
    respond = (_, response) => json(response, 200, {});
    const batch = { protocol: 1, from: SITE, changes: [] };
    await db.getChanges({ since: `${SITE}.1`, limit: 5 });
    await db.getChangesForQueries([["SELECT * FROM t WHERE a = ?", [1n]], "SELECT 1"], { schema: SCHEMA });
    await db.requestChanges({ versions: { [SITE]: [[1, 2]] } });
    await db.applyChanges(batch);
    await db.migrate("CREATE TABLE …", { allowDestructive: ["t.a"] });
    await db.getStatus({ clock: true });
    assert.deepEqual(
      requests.map(({ method, url, body }) => [method, url, body]),
      [
        ["GET", `/sync/a.b/changes?since=${SITE}.1&limit=5`, ""],
        ["POST", "/sync/a.b/changes/query", { queries: [{ sql: "SELECT * FROM t WHERE a = ?", params: [{ $int: "1" }] }, { sql: "SELECT 1", params: [] }], schema: SCHEMA }],
        ["POST", "/sync/a.b/changes/request", { versions: { [SITE]: [[1, 2]] } }],
        ["POST", "/sync/a.b/changes", batch],
        ["POST", "/sync/a.b/migrate", { schema: "CREATE TABLE …", allow_destructive: ["t.a"] }],
        ["GET", "/sync/a.b/status?clock=true", ""],
      ],
    );
  });

  test("tells the status when it changed, and what is wrong", async () => {
    const status = (state, changes, synced_at) => ({ unsent: { changes, since: null }, quarantined: { count: 0, transactions: [] }, upstream: { state, error: null, synced_at } });
    let answer = status("offline", 1, null);
    respond = (_, response) => (answer ? json(response, 200, answer) : json(response, 500, { code: "internal", status: 500, detail: "broken" }));
    const seen = [];
    const until = async (count) => {
      while (seen.length < count) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const stop = db.status.subscribe((status) => seen.push(status));
    await until(2);
    answer = status("online", 0, 5);
    db.wake();
    await until(3);
    // Being in step for longer is no news.
    answer = status("online", 0, 6);
    db.wake();
    await new Promise((resolve) => setTimeout(resolve, 50));
    answer = undefined;
    db.wake();
    await until(4);
    stop();
    assert.deepEqual(
      seen.map(({ state, unsent, error }) => [state, unsent.changes, error?.code]),
      [["starting", 0, undefined], ["offline", 1, undefined], ["online", 0, undefined], ["unavailable", 0, "internal"]],
    );
    assert.equal(seen[1].lastSynced, null);
    assert.equal(seen[2].lastSynced, 5);
    assert.equal(db.status.current, seen[3]);
  });

  test("reads events in whatever pieces they come, and goes on from the last one", async () => {
    const event = (version, lineEnd) =>
      [`event: batch`, `id: ${SITE}.${version}`, `data: {"from":"${SITE}","schema":"${SCHEMA}","changes":[["t","010901","ü",{"$blob":"ff"},1,${version},"${SITE}",1,0]]}`, "", ""].join(lineEnd);
    const bytes = Buffer.from(`: hello\n\nretry: 1000\n\n${event(8, "\n")}${event(9, "\r\n")}${event(10, "\r")}:\n\n`);
    respond = async (_, response, count) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      if (count > 1) return response.write(event(11, "\n"));
      for (const byte of bytes) {
        response.write(Buffer.from([byte]));
        await new Promise(setImmediate);
      }
      response.destroy();
    };
    const versions = [];
    await new Promise((resolve) => {
      const stop = db.subscribe((batch) => {
        const [change] = library.readChanges(batch);
        assert.deepEqual({ ...change, version: 0 }, { table: "t", pk: "010901", cid: "ü", val: new Uint8Array([255]), colVersion: 1, version: 0, site: SITE, cl: 1, seq: 0 });
        versions.push(change.version);
        if (change.version === 11) {
          stop();
          resolve();
        }
      });
    });
    assert.deepEqual(versions, [8, 9, 10, 11]);
    const streams = requests.filter(({ url }) => url.includes("/events"));
    assert.deepEqual(streams.map(({ url }) => url), [`/sync/a.b/events?since=${SITE}.7`, `/sync/a.b/events?since=${SITE}.10`]);
    assert.equal(streams[0].headers.accept, "text/event-stream");
  });

  test("runs a live query again for the tables that it reads", async () => {
    let runs = 0;
    let stream;
    respond = (request, response) => {
      if (request.url.includes("/events")) return (stream = response.writeHead(200, { "content-type": "text/event-stream" })).write(":\n\n");
      if (!request.url.includes("/sql")) return json(response, 200, {});
      assert.equal(new URL(request.url, "http://x").searchParams.get("tables"), "true");
      runs += 1;
      json(response, 200, { results: [{ columns: ["a"], rows: [[runs]], changes: 0 }], tables: ["t", "u"] });
    };
    const change = (table, version) => stream.write(`event: batch\nid: ${SITE}.${version}\ndata: {"from":"${SITE}","schema":"${SCHEMA}","changes":[["${table}","010901","b",1,1,${version},"${SITE}",1,0]]}\n\n`);
    const seen = [];
    const until = async (test) => {
      while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const stop = db.watch("SELECT a FROM t, u", [], ([{ a }]) => seen.push(a));
    await until(() => stream && seen.length === 1);
    change("v", 21);
    await new Promise((resolve) => setTimeout(resolve, 50));
    change("u", 22);
    await until(() => seen.length === 2);
    stop();
    // It lives on for a moment, and its stream with it.
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.deepEqual([seen, runs], [[1, 2], 2]);
  });

  test("runs a live query that finds its rows by their keys again for these, and while it runs for all of their tables", async () => {
    const answers = [];
    let stream;
    respond = (request, response) => {
      if (request.url.includes("/events")) return (stream = response.writeHead(200, { "content-type": "text/event-stream" })).write(":\n\n");
      if (!request.url.includes("/sql")) return json(response, 200, {});
      answers.push((value, pk) => json(response, 200, { results: [{ columns: ["a"], rows: [[value]], changes: 0 }], tables: ["t", "u"], rows: { t: [pk] } }));
    };
    let version = 30;
    const change = (table, pk) => stream.write(`event: batch\nid: ${SITE}.${++version}\ndata: {"from":"${SITE}","schema":"${SCHEMA}","changes":[["${table}","${pk}","b",1,1,${version},"${SITE}",1,0]]}\n\n`);
    const until = async (test) => {
      while (!test()) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const [seen, batches] = [[], []];
    const stops = [db.watch("SELECT a FROM t WHERE id = 1", [], ([{ a }]) => seen.push(a)), db.subscribe(() => batches.push(version))];
    await until(() => stream && answers.length === 1);
    answers[0](1, "010901");
    await until(() => seen.length === 1);

    change("t", "010902");
    change("u", "010901");
    await until(() => batches.length === 2);
    change("t", "010901");
    await until(() => answers.length === 2);
    // It may be looking at this one by now.
    change("t", "010903");
    await until(() => batches.length === 4);
    answers[1](2, "010902");
    await until(() => answers.length === 3);
    answers[2](3, "010903");
    await until(() => seen.length === 3);
    change("t", "010902");
    await until(() => batches.length === 5);
    for (const stop of stops) stop();
    await new Promise((resolve) => setTimeout(resolve, 600));
    assert.deepEqual([seen, answers.length], [[1, 2, 3], 3]);
  });

  test("begins anew, and runs live queries again, when the database is another one than before", async () => {
    const other = "ff".repeat(16);
    let value = "before";
    respond = (request, response) => {
      if (request.method === "PUT") {
        value = "after";
        return json(response, 201, { at: `${other}.1` });
      }
      if (request.url.includes("/sql")) return json(response, 200, { results: [{ columns: ["a"], rows: [[value]], changes: 0 }] });
      if (!request.url.includes("/events")) return json(response, 200, {});
      if (request.url.endsWith(`${other}.1`)) return response.writeHead(200, { "content-type": "text/event-stream" }).write(":\n\n");
      json(response, 409, { code: "cursor_unknown", status: 409, at: `${other}.1` });
    };
    const seen = [];
    await new Promise((resolve) => {
      const stop = db.watch("SELECT a FROM t", [], ([{ a }]) => {
        seen.push(a);
        if (a !== "after") return;
        stop();
        resolve();
      });
    });
    assert.equal(seen.at(-1), "after");
    assert.deepEqual(seen, ["before", "after"]);
  });
});

function json(response, status, body, headers = {}) {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}
