/** Who asks the upstream, as the open pages say. */

import type { Credentials, UpstreamRequest } from "crsql-sync:engine";
import { ask } from "../ask.js";
import type { Identity, Who } from "../messages.js";

declare const self: ServiceWorkerGlobalScope;

/** How long a page may take. One that does not know says nothing. */
const ANSWER_MS = 10_000;

/** Asks all pages of this site, and takes the first credentials. Without any the link waits until a page is opened. */
export async function askPages(request: UpstreamRequest): Promise<Credentials> {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  return Promise.any(pages.map((page) => askPage(page, request))).catch(reasons);
}

async function askPage(page: WindowClient, request: UpstreamRequest): Promise<Credentials> {
  const question: Who = { type: "crsql-sync:who", ...request };
  const answer = await ask<Identity>(page, question, ANSWER_MS);
  if (answer && "credentials" in answer) return answer.credentials;
  throw new Error(answer?.error ?? "no open page says who asks the upstream");
}

/** Why nobody had any. */
function reasons({ errors = [] }: AggregateError): never {
  throw errors[0] ?? new Error("no page is open that says who asks the upstream");
}
