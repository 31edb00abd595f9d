/** Questions between pages and the worker: the answer goes to the port that came along. */

import type { ToWorker, Who } from "./messages.js";
import { before } from "./time.js";

/** A worker, or a page. */
interface Receiver {
  postMessage(message: unknown, transfer: Transferable[]): void;
}

/** Sends a message and waits for the answer; undefined when none comes in time. */
export function ask<T>(whom: Receiver, message: ToWorker | Who, ms: number): Promise<T | undefined> {
  const { port1, port2 } = new MessageChannel();
  const answer = new Promise<T>((resolve) => (port1.onmessage = (event: MessageEvent<T>) => resolve(event.data)));
  whom.postMessage(message, [port2]);
  return before(ms, answer).finally(() => port1.close());
}
