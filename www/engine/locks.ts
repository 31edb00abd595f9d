/**
 * The Web Locks of an engine that failed. A lock belongs to the worker or page and not to the wasm instance that asked for
 * it, so one that trapped would keep its databases locked for as long as the worker lives.
 */

/** What the names of databases begin with. */
const PREFIX = "crsql-sync/";
const PROBE = "crsql-sync:probe";

/** Takes back what this worker or page holds, and nothing that another one does. Never fails: then the next engine has to wait. */
export async function releaseOwnLocks(): Promise<void> {
  try {
    await navigator.locks.request(PROBE, async () => {
      const { held = [] } = await navigator.locks.query();
      const self = held.find(({ name }) => name === PROBE)?.clientId;
      const names = held.filter(({ clientId, name }) => clientId === self && name !== PROBE).map(({ name }) => name ?? "");
      // Stealing ends the holder's claim; the empty callback ends ours.
      const steal = (name: string) => navigator.locks.request(name, { steal: true }, () => {});
      await Promise.all(names.filter((name) => name.startsWith(PREFIX)).map(steal));
    });
  } catch (error) {
    console.error("crsql-sync: the locks of the failed engine could not be released.", error);
  }
}
