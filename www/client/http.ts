/**
 * Requests that survive a worker's death. A worker may be replaced at any time; its last answers then arrive without a
 * body, or not at all. What may be repeated is repeated here; a write that may have happened is reported as such.
 */

import { type Problem, SyncError } from "./errors.js";

export interface Call {
  method: "GET" | "PUT" | "POST";
  url: URL;
  body?: unknown;
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
  /** Whether doing it twice is the same as doing it once. */
  idempotent: boolean;
  /** Whether something may have been done when no answer came. */
  writes?: boolean | undefined;
}

/** How long a call goes on trying before it gives up. */
const GIVE_UP_MS = 15_000;
const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 2_000;

/** Carries out a call and returns the JSON of its answer. */
export async function call<T>(request: Call): Promise<T> {
  const giveUp = Date.now() + GIVE_UP_MS;
  for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
    try {
      return await attempt<T>(request);
    } catch (error) {
      request.signal?.throwIfAborted();
      const wait = retryDelay(error, request, delay);
      if (wait === undefined || Date.now() + wait > giveUp) throw error;
      await sleep(wait, request.signal);
    }
  }
}

/** Opens the answer to a call as a stream. */
export async function open(request: Call): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const response = await send(request);
  const isStream = response.headers.get("content-type")?.startsWith("text/event-stream");
  if (!response.ok || !isStream || !response.body) throw await failure(response);
  return response.body;
}

/** Waits; an abort ends the wait by throwing. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

async function attempt<T>(request: Call): Promise<T> {
  const response = await send(request);
  if (!response.ok) throw await failure(response);
  let body: string;
  try {
    body = await response.text();
  } catch (cause) {
    throw lost(request, cause);
  }
  // A worker that was replaced in mid-work answers 200 without a body.
  if (body === "") throw lost(request);
  try {
    return JSON.parse(body) as T;
  } catch (cause) {
    if (response.headers.get("content-type")?.includes("json")) throw lost(request, cause);
    throw foreign(response, cause);
  }
}

async function send({ method, url, body, headers, signal, idempotent, writes }: Call): Promise<Response> {
  const init: RequestInit = { method, headers: { accept: "application/json", ...headers }, signal: signal ?? null };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, "content-type": "application/json" };
  }
  try {
    return await fetch(url, init);
  } catch (cause) {
    signal?.throwIfAborted();
    if (!writes) throw new SyncError("unreachable", `Nobody answers at ${url}. Is the server running, and the network there?`, { cause });
    throw lost({ method, url, idempotent, writes }, cause);
  }
}

/** How long to wait before the next attempt; undefined when there shall be none. */
function retryDelay(error: unknown, request: Call, delay: number): number | undefined {
  if (!(error instanceof SyncError)) return undefined;
  // The refusal says that nothing was done, so anything may be repeated.
  if (error.status === 503 || error.status === 429) return Math.max(delay, error.retryAfterMs ?? 0);
  if (request.idempotent && (error.code === "unreachable" || error.code === "answer_lost")) return delay;
  return undefined;
}

async function failure(response: Response): Promise<SyncError> {
  const { status } = response;
  if (!response.headers.get("content-type")?.includes("json")) return foreign(response);
  const problem = (await response.json().catch(() => ({}))) as Problem;
  const message = problem.detail ?? problem.title ?? `The database answered ${status}.`;
  const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
  const more = { status, problem, retryAfterMs: Number.isNaN(retryAfter) ? undefined : retryAfter * 1000 };
  return new SyncError(problem.code ?? "unexpected_answer", message, more);
}

function foreign(response: Response, cause?: unknown): SyncError {
  const message = `${response.url} answered ${response.status}, but not as the database does. Do \`url\` and the worker's prefix agree?`;
  return new SyncError("unexpected_answer", message, { status: response.status, cause });
}

function lost({ method, url, writes }: Call, cause?: unknown): SyncError {
  const advice = !writes ? "" : " The write may have been done or not: read before you repeat it.";
  return new SyncError("answer_lost", `The answer to ${method} ${url} broke off.${advice}`, { cause });
}
