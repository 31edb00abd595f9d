/**
 * Hooks for React 18 and later.
 *
 *     const { rows = [], error } = useQuery<Todo>(db, "SELECT * FROM todo WHERE list = ?", [list]);
 *     const { state, unsent } = useStatus(db);
 *     const { state } = useSubscription(db, [["SELECT * FROM todo WHERE list = ?", [list]]]);
 *
 * @module
 */

import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import type { Database, Input, LiveState, Row, Statement, SubscribeOptions, Subscription, SubscriptionStatus, SyncStatus } from "./client.js";

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

const PENDING: SubscriptionStatus = { state: "pending", rows: 0, error: null };
/** How long a subscription outlives its component: the next one may want the same. */
const LINGER_MS = 1_000;

/**
 * Has a partial copy hold the rows of queries while the component is mounted. Components and tabs with the same queries share a
 * subscription. What shall be there without a network is better subscribed to once, beside `connect`.
 */
export function useSubscription(db: Database, queries: string | readonly Statement[], options: Omit<SubscribeOptions, "signal"> = {}): SubscriptionStatus {
  const [subscription, setSubscription] = useState<Subscription>();
  const { id, forget } = options;
  // The queries are another array at each rendering, but seldom others.
  const key = db.subscriptionId(queries);
  useEffect(() => {
    const subscription = db.subscribe(queries, options);
    setSubscription(subscription);
    return () => void setTimeout(() => subscription[Symbol.dispose](), LINGER_MS);
  }, [db, key, id, forget]);
  const subscribe = useMemo(() => (callback: () => void) => subscription?.status.subscribe(callback) ?? (() => {}), [subscription]);
  const get = () => subscription?.status.current ?? PENDING;
  return useSyncExternalStore(subscribe, get, get);
}
