/**
 * What pages and the worker say to each other by `postMessage`. Every message has a `type` with our prefix, so that a
 * worker shared with other libraries can tell ours from theirs; an answer goes to the port that came along.
 */

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
  | { type: "crsql-sync:claim" };

/** Says which worker answers, so that a page can tell when the two are not of one release. */
export interface Hello {
  type: "crsql-sync:hello";
  /** Version of the package. */
  version: string;
  /** Name of the wasm file, which contains the hash of its content. */
  wasm: string;
  /** When this instance of the worker was started (ms since 1970): browsers stop and start it at will. */
  started: number;
  /** The path under which the worker answers. */
  prefix: string;
}

/** The request was carried out. */
export interface Done {
  type: "crsql-sync:done";
}

/** From the worker to all pages: the engine was started anew, and streams of the old one are silent for ever. */
export interface Restarted {
  type: "crsql-sync:restarted";
}

/** The tag of background `sync` events. */
export const SYNC_TAG = "crsql-sync";
