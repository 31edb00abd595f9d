/** Who asks the upstream, as the open pages say. */

import type { Credentials, UpstreamRequest } from "crsql-sync:engine";
import type { Identity, Who } from "../messages.js";

declare const self: ServiceWorkerGlobalScope;

/** How long all pages together may take. One that does not know says nothing. */
const ANSWER_MS = 10_000;

/** Asks all pages of this site, and takes the first credentials. Without any the link waits until a page is opened. */
export async function askPages(request: UpstreamRequest): Promise<Credentials> {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error("no open page says who asks the upstream")), ANSWER_MS));
  return Promise.race([late, Promise.any(pages.map((page) => ask(page, request))).catch(reasons)]);
}

function ask(page: WindowClient, request: UpstreamRequest): Promise<Credentials> {
  return new Promise((resolve, reject) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }: MessageEvent<Identity>) => {
      port1.close();
      if ("credentials" in data) resolve(data.credentials);
      else reject(new Error(data.error));
    };
    const question: Who = { type: "crsql-sync:who", ...request };
    page.postMessage(question, [port2]);
  });
}

/** Why nobody had any. */
function reasons({ errors = [] }: AggregateError): never {
  throw errors[0] ?? new Error("no page is open that says who asks the upstream");
}
