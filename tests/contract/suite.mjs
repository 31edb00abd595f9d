/**
 * What every host of the operations does, as docs/protocol.md says it. A test is a function of a `Client`, and uses nothing but
 * what Node and browsers both have: so the same suite runs against a server, and in a page against its service worker.
 */

import changes from "./changes.mjs";
import { Client } from "./client.mjs";
import databases from "./databases.mjs";
import events from "./events.mjs";
import queries from "./queries.mjs";
import requests from "./requests.mjs";

const tests = { ...databases, ...changes, ...events, ...queries, ...requests };

export const names = Object.keys(tests);

/** Runs a test against the host at `base`, on a database of its own; rejects if it fails. */
export async function run(name, { base, fetch }) {
  await tests[name](new Client({ base, fetch }));
}
