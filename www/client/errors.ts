/** The one error that the client throws. */

/** An RFC 9457 problem document, as the database answers it. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  /** Stable name of the problem. */
  code?: string;
  [member: string]: unknown;
}

/** Codes of errors that arise in the page. All others are those of problem documents. */
export type ClientErrorCode =
  /** Service workers need https or localhost. */
  | "insecure_context"
  /** This browser, or this window, has no service workers. */
  | "no_service_worker"
  /** The worker's script could not be registered or started. */
  | "worker_failed"
  /** There is a worker at that URL, but it is not ours. */
  | "worker_foreign"
  /** The page is outside the worker's scope, or was reloaded with shift. */
  | "not_controlled"
  /** Page and worker are of releases that do not understand each other. */
  | "version_mismatch"
  /** Another tab of this site has the database, in its page. */
  | "taken"
  /** The core could not be started in this page. */
  | "page_failed"
  /** Nobody could be reached. */
  | "unreachable"
  /** The answer broke off: a write may have happened or not. */
  | "answer_lost"
  /** Something else than the database answered. */
  | "unexpected_answer"
  /** A value that SQLite cannot hold. */
  | "invalid_value"
  /** The client was closed. */
  | "closed";

/** What an error may know beside its code and message. */
export interface SyncErrorDetails {
  status?: number | undefined;
  problem?: Problem | undefined;
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** What went wrong, with a `code` that stays the same between releases; the message says what to do next. */
export class SyncError extends Error {
  override readonly name = "SyncError";
  readonly code: ClientErrorCode | (string & {});
  /** The HTTP status, where an answer came. */
  readonly status: number | undefined;
  /** The problem document, where the answer had one. */
  readonly problem: Problem | undefined;

  /** How long to wait before another attempt, where the answer said so. */
  readonly retryAfterMs: number | undefined;

  constructor(code: SyncError["code"], message: string, more: SyncErrorDetails = {}) {
    super(message, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.status = more.status;
    this.problem = more.problem;
    this.retryAfterMs = more.retryAfterMs;
  }
}
