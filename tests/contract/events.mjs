import { equal, ok } from "./assert.mjs";
import { PEER, batch } from "./client.mjs";

/** The next event of a stream, which must be a batch. */
async function next(events) {
  const { value } = await events.next();
  equal([value?.event, value?.id], ["batch", value?.data.next]);
  return value.data;
}

export default {
  async "a reader is sent what was there and then what comes"(client) {
    await client.create();
    await client.add("1");
    const events = client.events("since=0");
    equal((await next(events)).changes.length, 2);
    await client.add("2");
    const second = await next(events);
    equal([second.changes.length, second.next], [2, await client.at()]);
    await events.return();
  },

  async "a stream goes on where it was, by the URL or by the header"(client) {
    await client.create();
    await client.add("1");
    const first = client.events("since=0");
    const { next: id } = await next(first);
    await first.return();
    await client.add("2");
    for (const [query, headers] of [[`since=${id}`, {}], ["since=0", { "last-event-id": id }]]) {
      const events = client.events(query, headers);
      const rest = await next(events);
      equal([rest.changes.length, rest.start], [2, Number(id.split(".")[1])]);
      await events.return();
    }
  },

  async "a reader is not sent what came from it"(client) {
    const { site } = await client.create();
    const events = client.events(`site=${PEER}`);
    await client.apply(batch(1, "milk"));
    await client.add("bread");
    let changes = [];
    while (changes.length < 2) changes = changes.concat((await next(events)).changes);
    ok(changes.every((change) => change[6] === site));
    await events.return();
  },

  async "what one writes through one reader's eyes is what another applies"(client) {
    await client.create();
    const copy = client.other();
    await copy.create();
    const events = client.events("since=0");
    for (const id of ["a", "b", "c"]) await client.add(id);
    while ((await copy.ids()).length < 3) await copy.apply(await next(events));
    equal(await copy.ids(), ["a", "b", "c"]);
    await events.return();
  },
};
