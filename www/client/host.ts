/** Who answers a page's requests: a service worker, a server, or the same core in the page itself. */

import type { Auth } from "./http.js";
import type { Asking, Fetching, Reply } from "./question.js";

/** `worker`: the service worker. `page`: this page. `server`: the server at `url`, without a copy in the browser. */
export type Mode = "worker" | "page" | "server";

export interface Host {
  readonly mode: Mode;
  /** Answers a request as `fetch` does. */
  fetch(url: URL, fetching: Fetching): Promise<Response>;
  /** The same, for a request that may be carried out twice and whose answer is no stream. */
  ask(url: URL, asking: Asking): Promise<Reply>;
  /** Has `auth` say who asks the upstream of a database. */
  identify(dbid: string, auth: Auth, signal: AbortSignal): void;
  /** Makes it try its upstream now. */
  wake(): void;
  /** Calls back when the streams that it serves may be silent for ever. */
  onRestart(callback: () => void, signal: AbortSignal): void;
  /** Calls back with whether a newer release waits for {@link applyUpdate}, when that changes. */
  onUpdate(callback: (isWaiting: boolean) => void, signal: AbortSignal): void;
  applyUpdate(): Promise<boolean>;
  /** The page does not need it any more. */
  close(): void;
}

export class ServerHost implements Host {
  readonly mode = "server";

  fetch(url: URL, fetching: Fetching): Promise<Response> {
    return fetch(url, fetching);
  }

  ask(url: URL, asking: Asking): Promise<Response> {
    return fetch(url, asking);
  }

  identify(): void {}
  wake(): void {}
  onRestart(): void {}
  onUpdate(): void {}
  applyUpdate(): Promise<boolean> {
    return Promise.resolve(false);
  }
  close(): void {}
}
