import type { SyncState } from "../client.js";

/** What the states of a link are called. */
export const STATES: Record<SyncState, string> = {
  starting: "Starting",
  unavailable: "Not available",
  online: "Online",
  connecting: "Connecting",
  offline: "Offline",
  paused: "Network cut",
  refused: "Refused by the server",
  unauthorized: "Not signed in",
  principal_changed: "Somebody else is signed in",
  local: "Only in this browser",
};
