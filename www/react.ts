/**
 * Hooks for React 18 and later.
 *
 *     const { rows = [], error } = useQuery<Todo>(db, "SELECT * FROM todo WHERE list = ?", [list]);
 *     const { state, unsent } = useStatus(db);
 *
 * @module
 */

import { useMemo, useSyncExternalStore } from "react";
import type { Database, Input, LiveState, Row, SyncStatus } from "./client.js";

/** What {@link useQuery} gives. */
export interface QueryState<R extends Row = Row> extends LiveState<R> {
  /** There is neither a result nor an error yet. */
  readonly isLoading: boolean;
}

/**
 * The rows of a query that only reads, kept up to date while the component is mounted. Components with the same query share
 * it. A row that did not change stays the same object, so `memo` works on rows.
 */
export function useQuery<R extends Row = Row>(db: Database, sql: string, params: readonly Input[] = []): QueryState<R> {
  const latest = db.live<R>(sql, params);
  // The parameters are another array at each rendering, but seldom other values.
  const live = useMemo(() => latest, [db, latest.key]);
  const get = () => live.current;
  const state = useSyncExternalStore(live.subscribe, get, get);
  return useMemo(() => ({ ...state, isLoading: state.rows === undefined && state.error === undefined }), [state]);
}

/** How the database is doing: link, unsent changes, errors. */
export function useStatus(db: Database): SyncStatus {
  const get = () => db.status.current;
  return useSyncExternalStore(db.status.subscribe, get, get);
}
