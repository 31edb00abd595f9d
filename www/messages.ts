/**
 * What pages and the worker say to each other by `postMessage`. Every message has a `type` with our prefix, so that a
 * worker shared with other libraries can tell ours from theirs; an answer goes to the port that came along.
 */

/** The number of this list: another one means that page and worker do not understand each other. */
export const PROTOCOL = 1;

/** From a page to a worker. */
export type ToWorker =
  /** Who are you? Answered with {@link Hello}. */
  | { type: "crsql-sync:hello" }
  /** Close the event streams: an update waits for them. Answered with {@link Done} when they are closed. */
  | { type: "crsql-sync:drain" }
  /** Try the upstream again now. */
  | { type: "crsql-sync:wake" }
  /** To a waiting worker: take over. */
  | { type: "crsql-sync:activate" }
  /** To the active worker: take control of the pages that have no worker. */
  | { type: "crsql-sync:claim" }
  /** A port to answer each {@link Question} on that comes by it. `line` is a random number, for later. */
  | { type: "crsql-sync:line"; line: number }
  /** Do you have the line of that number? Answered with a boolean: a worker that has it answers all that came by it; one that was started since has not. */
  | { type: "crsql-sync:knows"; line: number };

/** On a line: a request, as `fetch` would make it. Answered with {@link Answer}. */
export interface Question {
  /** Of the questions of one line each has another. */
  id: number;
  method: string;
  url: string;
  headers: [name: string, value: string][];
  body?: string;
}

/** The whole answer to a {@link Question}. */
export interface Answer {
  id: number;
  /** 0 where `fetch` would have failed. */
  status: number;
  headers: [name: string, value: string][];
  body: string;
}

/** Says which worker answers, so that a page can tell when the two are not of one release. */
export interface Hello {
  type: "crsql-sync:hello";
  /** {@link PROTOCOL} of the worker. */
  protocol: number;
  /** Version of the package. */
  version: string;
  /** Name of the wasm file, which contains the hash of its content. */
  wasm: string;
  /** When this instance of the worker was started (ms since 1970): browsers stop and start it at will. */
  started: number;
  /** The path under which the worker answers. */
  prefix: string;
  /** Whether it asks pages who they are, for the upstream. */
  asks: boolean;
}

/** The request was carried out. */
export interface Done {
  type: "crsql-sync:done";
}

/** From the worker to all pages: the engine was started anew, and streams of the old one are silent for ever. */
export interface Restarted {
  type: "crsql-sync:restarted";
}

/** From the worker to a page: who asks the upstream? Pages that know answer with an {@link Identity}. */
export interface Who {
  type: "crsql-sync:who";
  /** Of which database. */
  dbid: string;
  /** To whom its changes belong, where it was said. */
  principal: string | null;
  /** Whether the credentials of before were not taken. */
  refresh: boolean;
}

/** What a page answers to {@link Who}. */
export type Identity = { credentials: Credentials } | { error: string };

/** Headers, or headers and whose they are. */
export type Credentials = Record<string, string> | { headers: Record<string, string>; principal: string };

/** From the worker to a page, without being asked. */
export type FromWorker = Restarted | Who | Hold;

/** A newer worker is about to take over: ask nothing for a moment, or until it has. */
export interface Hold {
  type: "crsql-sync:hold";
}

/** The tag of background `sync` events. */
export const SYNC_TAG = "crsql-sync";
