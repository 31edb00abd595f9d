/** What the databases of this origin begin with in IndexedDB. */
const PREFIX = "crsql-sync/";

/**
 * Deletes databases of this site from the browser, with whatever they have not sent yet: all of them, or the one that is
 * named. Whoever has one open lets go of it; the next request begins with an empty one. Returns their names.
 */
export async function wipe(dbid?: string): Promise<string[]> {
  const names = (await indexedDB.databases()).map(({ name = "" }) => name);
  const wanted = names.filter((name) => (dbid === undefined ? name.startsWith(PREFIX) : name === PREFIX + dbid));
  await Promise.all(wanted.map(deleteDatabase));
  return wanted.map((name) => name.slice(PREFIX.length));
}

function deleteDatabase(name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.deleteDatabase(name);
    request.onsuccess = () => resolve();
    request.onerror = () => reject(request.error);
  });
}
