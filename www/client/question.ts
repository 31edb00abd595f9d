/**
 * Requests by message, which takes a tenth of the time of a `fetch` to a worker: benches/README.md has the figures.
 *
 * Browsers send a `fetch` again whose worker died. Of a message nobody hears, so a worker that takes long is asked whether it
 * has the question: another one, started since, has not.
 */

import { ask } from "../ask.js";
import type { Answer, Asked, Question } from "../messages.js";
import { sleep } from "../time.js";

/** What is asked by `fetch`. */
export interface Fetching {
  method: string;
  headers: Headers;
  body?: string | Blob | ReadableStream;
  /** Of a body that is a stream. */
  duplex?: "half";
  signal: AbortSignal | null;
}

/** What may be asked by message, too. */
export interface Asking extends Fetching {
  body?: string;
}

/** How long a worker may take before it is asked, and how long it may take to say whether it has a question. */
const PATIENCE_MS = 100;
const ANSWER_MS = 10_000;

/** The answer to a request, whole. Undefined where there will be none; then the request may have been carried out. */
export async function byMessage(worker: ServiceWorker, url: URL, { signal, headers, ...asking }: Asking): Promise<Response | undefined> {
  const { port1: port, port2 } = new MessageChannel();
  const question: Question = { type: "crsql-sync:ask", id: Math.random(), url: url.href, headers: [...headers], ...asking };
  const over = new AbortController();
  const answered = new Promise<Answer>((resolve, reject) => {
    port.onmessage = ({ data }: MessageEvent<Answer>) => resolve(data);
    signal?.addEventListener("abort", () => reject(signal.reason), over);
  });
  try {
    worker.postMessage(question, [port2]);
    const answer = await Promise.race([answered, lost(worker, question.id, over.signal)]);
    return answer && answer.status !== 0 ? new Response(answer.body || null, answer) : undefined;
  } catch (error) {
    // Whoever answers need not go on.
    port.postMessage(undefined);
    throw error;
  } finally {
    over.abort();
  }
}

/** Resolves when the worker does not have the question. */
async function lost(worker: ServiceWorker, id: number, over: AbortSignal): Promise<undefined> {
  let asked: Asked | undefined;
  do {
    await sleep(PATIENCE_MS, over);
    asked = await ask<Asked>(worker, { type: "crsql-sync:asked", id }, ANSWER_MS);
  } while (asked?.has);
}
