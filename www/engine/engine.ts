/**
 * The engine of a worker or a page: one wasm instance, started by the first request and replaced after a trap.
 *
 * Nothing in its memory is trusted to live: browsers stop workers at will, and a trap leaves the instance in a state
 * that nobody promised anything about. Both are the same case here. The next request gets a new instance, which loads
 * what is durable.
 */

import type { Answer, Authorize, Question, SyncWorkerConfig } from "crsql-sync:engine";
import { type SyncWorker, evaluateGlue } from "crsql-sync:glue";
import { releaseOwnLocks } from "./locks.js";

/** How long a stream is refused after a drain: until the update has had time to take over. */
const DRAIN_MS = 5_000;

/** Where the compiled module comes from. */
export interface Wasm {
  compile(): Promise<WebAssembly.Module>;
}

interface Instance {
  worker: SyncWorker;
  stop: () => void;
  /** How to end the requests in flight when the instance traps: its own promises may then stay pending for ever. */
  pending: Set<(error: unknown) => void>;
}

export class Engine {
  readonly #wasm: Wasm;
  readonly #config: SyncWorkerConfig;
  readonly #authorize: Authorize | undefined;
  readonly #onRestart: () => void;
  /** Settles when a failed instance has nothing in its hands any more. */
  #cleared: Promise<void> = Promise.resolve();
  #starting: Promise<Instance> | undefined;
  #instance: Instance | undefined;
  #drainingUntil = 0;

  constructor(wasm: Wasm, config: SyncWorkerConfig, authorize: Authorize | undefined, onRestart: () => void) {
    this.#wasm = wasm;
    this.#config = config;
    this.#authorize = authorize;
    this.#onRestart = onRestart;
  }

  /** Answers a request. Never rejects: a page would see no more than "Failed to fetch". */
  async handle(request: Request): Promise<Response> {
    if (Date.now() < this.#drainingUntil && request.headers.get("accept")?.includes("text/event-stream")) {
      return unavailable("The worker is about to be replaced by a newer one. Open the stream again in a moment.");
    }
    return this.#answer(request, (worker) => worker.handle(request), (response) => response);
  }

  /** Answers a request that came in a message. Never rejects; what is no answer has status 0. */
  ask(question: Question): Promise<Answer> {
    const whole = async (response: Response) => ({ status: response.status, headers: [...response.headers], body: await response.text() });
    return this.#answer(question, (worker) => worker.ask(question), whole);
  }

  async #answer<T>({ method }: { method: string }, run: (worker: SyncWorker) => Promise<T>, failed: (response: Response) => T | Promise<T>): Promise<T> {
    let instance: Instance;
    try {
      instance = await this.#start();
    } catch (error) {
      console.error("crsql-sync: the engine did not start.", error);
      return failed(unavailable(`The database engine did not start: ${text(error)}`));
    }
    try {
      return await answerOrTrap(instance, run);
    } catch (error) {
      if (!isTrap(error)) return failed(internal(error));
      this.#replace(instance, error);
      // A write may have been stored before the trap. A problem document would say that it was not; a broken answer does not.
      if (method === "POST") return failed(Response.error());
      return failed(unavailable("The database engine failed and starts anew. What was acknowledged is kept; repeat the request."));
    }
  }

  /** Closes the event streams and refuses new ones for a moment. */
  drain(): void {
    this.#drainingUntil = Date.now() + DRAIN_MS;
    this.#call((worker) => worker.drain());
  }

  /** Starts the engine if it sleeps, and makes it try its upstream. */
  async wake(): Promise<void> {
    await this.#start();
    this.#call((worker) => worker.wake());
  }

  /** Ends it: what was answered is stored, and the databases are free for somebody else when it resolves. */
  async stop(): Promise<void> {
    this.drain();
    const instance = await this.#starting?.catch(() => undefined);
    this.#instance = undefined;
    this.#starting = undefined;
    instance?.stop();
    for (const reject of instance?.pending ?? []) reject(new TypeError("The engine was stopped."));
    await releaseOwnLocks();
  }

  /** To be told of errors that nobody caught. A trap in a task of the engine surfaces there only. */
  onUncaught(error: unknown): void {
    if (this.#instance && isTrap(error)) this.#replace(this.#instance, error);
  }

  #call(action: (worker: SyncWorker) => void): void {
    const instance = this.#instance;
    if (!instance) return;
    try {
      action(instance.worker);
    } catch (error) {
      if (isTrap(error)) this.#replace(instance, error);
      else console.error("crsql-sync:", error);
    }
  }

  #start(): Promise<Instance> {
    const starting = (this.#starting ??= this.#instantiate());
    starting.catch(() => {
      if (this.#starting === starting) this.#starting = undefined;
    });
    return starting;
  }

  async #instantiate(): Promise<Instance> {
    const [module] = await Promise.all([this.#wasm.compile(), this.#cleared]);
    const glue = evaluateGlue();
    await glue.default({ module_or_path: module });
    const worker = new glue.SyncWorker(this.#config, this.#authorize);
    return (this.#instance = { worker, stop: glue.stop, pending: new Set() });
  }

  #replace(instance: Instance, error: unknown): void {
    if (this.#instance !== instance) return;
    console.error("crsql-sync: the engine failed; the next request starts a new one.", error);
    this.#instance = undefined;
    this.#starting = undefined;
    // It would go on with what it had begun, and ask for its databases again.
    instance.stop();
    for (const reject of instance.pending) reject(error);
    this.#cleared = releaseOwnLocks();
    this.#onRestart();
  }
}

function answerOrTrap<T>({ worker, pending }: Instance, run: (worker: SyncWorker) => Promise<T>): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    pending.add(reject);
    run(worker)
      .finally(() => pending.delete(reject))
      .then(resolve, reject);
  });
}

/** Whether an error leaves the instance in an unknown state: it panicked, or ran out of stack in mid-work. */
function isTrap(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
}

function unavailable(detail: string): Response {
  return problem(503, "unavailable", "Service Unavailable", detail, { "retry-after": "1" });
}

function internal(error: unknown): Response {
  console.error("crsql-sync:", error);
  return problem(500, "internal", "Internal Server Error", text(error));
}

function problem(status: number, code: string, title: string, detail: string, headers: Record<string, string> = {}): Response {
  const body = JSON.stringify({ type: "about:blank", title, status, code, detail });
  return new Response(body, { status, headers: { "content-type": "application/problem+json", "cache-control": "no-store", ...headers } });
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
