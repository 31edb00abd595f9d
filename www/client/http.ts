/**
 * Requests that survive a worker's death. A worker may be replaced at any time; its last answers then arrive without a
 * body, or not at all. What may be repeated is repeated here; a write that may have happened is reported as such.
 */

import { type Problem, SyncError } from "./errors.js";
import type { Credentials } from "../messages.js";
import { sleep } from "../time.js";
import { type Bytes, type FileOptions, SQLITE, canStream, counted } from "./file.js";
import type { Host } from "./host.js";
import type { Asking, Fetching, Reply } from "./question.js";

/**
 * Says who the user is: headers such as `Authorization`, alone or with whose they are. Where users can change, say whose:
 * then no change ever leaves under the name of another. `refresh` is true after those given before were refused.
 */
export type Auth = (asked: { refresh: boolean }) => Credentials | Promise<Credentials>;

export interface Call {
  method?: "GET" | "PUT" | "POST" | "DELETE";
  /** Below the database's URL, such as `/changes`. */
  path: string;
  query?: object | undefined;
  /** Sent as JSON. */
  body?: unknown;
  /** Sent instead, as it is. */
  file?: { content: Blob; options: FileOptions };
  headers?: Record<string, string> | undefined;
  signal?: AbortSignal | undefined;
  /** Whether something may have been done when no answer came. */
  writes?: boolean;
  /** Whether doing it twice is another thing than doing it once. */
  once?: boolean;
}

const JSON_TYPE = "application/json";

/** How long a call goes on trying before it gives up. */
const GIVE_UP_MS = 15_000;
const FIRST_DELAY_MS = 50;
const LONGEST_DELAY_MS = 2_000;

/** The database at one URL. */
export class Http {
  readonly #host: Host;
  readonly #base: URL;
  readonly #auth: Auth | undefined;

  constructor(host: Host, base: URL, auth: Auth | undefined) {
    this.#host = host;
    this.#base = base;
    this.#auth = auth;
  }

  /** Carries out a call and returns the JSON of its answer. */
  async call<T>(call: Call): Promise<T> {
    const giveUp = Date.now() + GIVE_UP_MS;
    for (let delay = FIRST_DELAY_MS; ; delay = Math.min(delay * 2, LONGEST_DELAY_MS)) {
      try {
        return await this.#attempt<T>(call);
      } catch (error) {
        call.signal?.throwIfAborted();
        const wait = retryDelay(error, call, delay);
        if (wait === undefined || Date.now() + wait > giveUp) throw error;
        await sleep(wait, call.signal);
      }
    }
  }

  /** Opens the answer to a call as a stream, and says how long it will be where that is known. */
  async open(call: Call, type: string): Promise<{ body: Bytes; length: number | undefined }> {
    const response = await this.#send(call, type);
    const { headers, body } = response;
    if (!headers.get("content-type")?.startsWith(type) || !body) throw foreign(response);
    return { body, length: Number(headers.get("content-length")) || undefined };
  }

  async #attempt<T>(call: Call): Promise<T> {
    const response = await this.#send(call, JSON_TYPE);
    if (response.status === 204) return undefined as T;
    let body: string;
    try {
      body = await response.text();
    } catch (cause) {
      throw lost(call, response.url, cause);
    }
    // A worker that was replaced in mid-work answers 200 without a body.
    if (body === "") throw lost(call, response.url);
    try {
      return JSON.parse(body) as T;
    } catch (cause) {
      if (response.headers.get("content-type")?.includes("json")) throw lost(call, response.url, cause);
      throw foreign(response, cause);
    }
  }

  /** The answer, which is a success. A caller that is not known may have an outdated token: it is asked for another, once. */
  async #send(call: Call, accept: string): Promise<Reply> {
    const first = await this.#fetch(call, accept, false);
    const response = first.status === 401 && this.#auth ? await this.#fetch(call, accept, true) : first;
    if (response.status >= 300) throw await failure(response);
    return response;
  }

  async #fetch(call: Call, accept: string, refresh: boolean): Promise<Reply> {
    const { method = "GET", path, query = {}, body, file, signal = null } = call;
    const url = new URL(this.#base);
    url.pathname += path;
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
    const headers = new Headers(headersOf((await this.#auth?.({ refresh })) ?? {}));
    headers.set("accept", accept);
    for (const [name, value] of Object.entries(call.headers ?? {})) headers.set(name, value);
    if (file ?? body !== undefined) headers.set("content-type", file ? SQLITE : JSON_TYPE);
    signal?.throwIfAborted();
    const asking: Asking = { method, headers, signal, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
    const isWhole = accept === JSON_TYPE && !call.once;
    try {
      if (file) return await this.#host.fetch(url, { ...asking, ...this.#upload(file) });
      return await (isWhole ? this.#host.ask(url, asking) : this.#host.fetch(url, asking));
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof SyncError) throw cause;
      if (call.writes) throw lost(call, url.href, cause);
      throw new SyncError("unreachable", `Nobody answers at ${url}. Is the server running, and the network there?`, { cause });
    }
  }

  /** A file as a body. One that is counted on its way is a stream, which HTTP/1.1 does not know, nor does each browser. */
  #upload({ content, options }: NonNullable<Call["file"]>): Pick<Fetching, "body" | "duplex"> {
    if (!options.onProgress || this.#host.mode === "server" || !canStream()) return { body: content };
    return { body: counted(content.stream(), content.size, options), duplex: "half" };
  }
}

function headersOf(credentials: Credentials): Record<string, string> {
  const { headers } = credentials;
  return typeof headers === "object" ? headers : (credentials as Record<string, string>);
}

/** How long to wait before the next attempt; undefined when there shall be none. */
function retryDelay(error: unknown, call: Call, delay: number): number | undefined {
  if (!(error instanceof SyncError)) return undefined;
  // The refusal says that nothing was done, so anything may be repeated.
  if (error.status === 503 || error.status === 429) return Math.max(delay, error.retryAfterMs ?? 0);
  if (!call.once && (error.code === "unreachable" || error.code === "answer_lost")) return delay;
  return undefined;
}

async function failure(response: Reply): Promise<SyncError> {
  const { status } = response;
  if (!response.headers.get("content-type")?.includes("json")) return foreign(response);
  const problem: Problem = await response.text().then(JSON.parse).catch(() => ({}));
  const message = problem.detail ?? problem.title ?? `The database answered ${status}.`;
  const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
  const more = { status, problem, retryAfterMs: Number.isNaN(retryAfter) ? undefined : retryAfter * 1000 };
  return new SyncError(problem.code ?? "unexpected_answer", message, more);
}

function foreign(response: Reply, cause?: unknown): SyncError {
  const message = `${response.url} answered ${response.status}, but not as the database does. Do \`url\` and the worker's prefix agree?`;
  return new SyncError("unexpected_answer", message, { status: response.status, cause });
}

function lost({ method = "GET", writes }: Call, url: string, cause?: unknown): SyncError {
  const advice = writes ? " The write may have been done or not: read before you repeat it." : "";
  return new SyncError("answer_lost", `The answer to ${method} ${url} broke off.${advice}`, { cause });
}
