/**
 * The JavaScript half of the wasm module (wasm-bindgen's glue), as the build wraps it: each call evaluates it afresh.
 *
 * The glue keeps its module in variables of its own, and objects that outlive a trap (closures, finalizers, promises)
 * would reach into whatever module those variables hold. With one glue for each instance they can only ever reach the
 * one they were made by.
 */
declare module "crsql-sync:glue" {
  import type { Answer, Authorize, Question, SyncWorkerConfig } from "crsql-sync:engine";

  export interface SyncWorker {
    handle(request: Request): Promise<Response>;
    ask(question: Question): Promise<Answer>;
    drain(): void;
    wake(): void;
  }

  export interface Glue {
    default(source: { module_or_path: WebAssembly.Module }): Promise<unknown>;
    SyncWorker: new (config: SyncWorkerConfig, authorize?: Authorize) => SyncWorker;
    /** Cuts the instance off: whatever still calls it (timers, promises, finalizers) does nothing from now on. */
    stop(): void;
  }

  export function evaluateGlue(): Glue;
}
