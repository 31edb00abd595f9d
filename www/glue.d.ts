/**
 * The JavaScript half of the wasm module (wasm-bindgen's glue), as the build wraps it: each call evaluates it afresh.
 *
 * The glue keeps its module in variables of its own, and objects that outlive a trap (closures, finalizers, promises)
 * would reach into whatever module those variables hold. With one glue for each instance they can only ever reach the
 * one they were made by.
 */
declare module "crsql-sync:glue" {
  export interface Operation {
    /** Name of the operation, such as `applyChanges`. */
    operation: string;
    [detail: string]: unknown;
  }

  export type Verdict = boolean | { allow: boolean; status?: 401 | 403; message?: string; readOnly?: boolean };

  export interface EngineConfig {
    prefix?: string;
    upstream?: string | null;
    headers?: Record<string, string>;
    routes?: Record<string, string>;
    limits?: Record<string, number>;
    sql?: boolean;
  }

  export interface SyncWorker {
    handle(request: Request): Promise<Response>;
    /** Closes event streams, so that an update can take over. */
    drain(): void;
    /** Retries the upstream now. */
    wake(): void;
    free(): void;
  }

  export interface Glue {
    default(source: { module_or_path: WebAssembly.Module }): Promise<unknown>;
    SyncWorker: new (
      config: EngineConfig,
      authorize?: (operation: Operation) => Promise<Verdict> | Verdict,
    ) => SyncWorker;
  }

  export function evaluateGlue(): Glue;
}
