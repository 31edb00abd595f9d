import { equal, ok, problem } from "./assert.mjs";
import { BINARY, PEER } from "./client.mjs";

const OPEN = [{ sql: "SELECT * FROM todo WHERE done = ?", params: [0] }];

const ask = (client, body, headers = {}) =>
  client.get("POST", "/changes/query", { body, headers: { "crsql-site": PEER, ...headers } });

const after = (answer) => ({ subscription: "open", seen: answer.seen, since: answer.next });

export default {
  async "queries bring the rows that they read, and claim nothing"(client) {
    await client.create();
    await client.add("milk");
    await client.add("bread");
    await client.sql("UPDATE todo SET done = 1 WHERE id = 'bread'");
    const answer = await ask(client, { queries: OPEN });
    equal([answer.changes.length, answer.covers, answer.seen], [2, {}, undefined]);
    const copy = client.other();
    await copy.create();
    await copy.apply(answer);
    equal(await copy.ids(), ["milk"]);
    const form = await ask(client, { queries: OPEN }, { accept: BINARY });
    equal([...form.slice(0, 4)], [0xfe, 0x63, 0x72, 0x62]);
  },

  async "a subscription tells what is new, what changed and what left, by asking and by the stream"(client) {
    await client.create();
    await client.add("milk");
    const first = await ask(client, { queries: OPEN, subscription: "open" });
    equal([first.begins, first.changes.length], [true, 2]);
    await client.add("bread");
    const second = await ask(client, { queries: OPEN, ...after(first) });
    equal([second.begins, second.changes.length], [undefined, 2]);
    const events = client.events(`subscription=open&site=${PEER}&seen=${second.seen}&since=${second.next}`);
    await client.sql("UPDATE todo SET done = 1 WHERE id = 'milk'");
    const { value } = await events.next();
    equal([value.event, value.id], ["batch", `${value.data.seen}@${value.data.next}`]);
    equal(value.data.left, [["todo", "010b046d696c6b"]]);
    await events.return();
    await client.get("DELETE", "/changes/query?subscription=open", { headers: { "crsql-site": PEER } });
    const ended = await client.call("POST", "/changes/query", { body: after(second), headers: { "crsql-site": PEER } });
    problem(ended, 404, "not_found");
  },

  async "what cannot be answered exactly is refused"(client) {
    await client.create();
    for (const sql of ["DELETE FROM todo", "SELECT random() FROM todo", "SELECT * FROM crsql_changes", "SELECT FROM"]) {
      const refused = await client.call("POST", "/changes/query", { body: { queries: [{ sql }] } });
      problem(refused, 400, "query_refused");
      ok(refused.body.detail.length > 10);
    }
  },
};
