/**
 * How much memory a page or a worker has, as the debugger sees it: objects of JavaScript, and the bytes behind its buffers, of which
 * the memory of a WebAssembly module is one. A module's memory never shrinks, so what was needed once counts from then on.
 */

/** Bytes, after what is garbage was collected. `type` is that of the debugger's target: `page` or `service_worker`. */
export async function memory(profile, type) {
  const cdp = await profile.page.context().browser().newBrowserCDPSession();
  const { targetInfos } = await cdp.send("Target.getTargets");
  const { targetId } = targetInfos.find((target) => target.type === type && target.url.startsWith("http"));
  const { sessionId } = await cdp.send("Target.attachToTarget", { targetId, flatten: false });
  const answers = new Map();
  cdp.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, result } = JSON.parse(message);
    answers.get(id)?.(result);
  });
  const send = async (id, method) => {
    const answer = new Promise((resolve) => answers.set(id, resolve));
    await cdp.send("Target.sendMessageToTarget", { sessionId, message: JSON.stringify({ id, method }) });
    return answer;
  };
  await send(1, "HeapProfiler.collectGarbage");
  const { usedSize, embedderHeapUsedSize, backingStorageSize } = await send(2, "Runtime.getHeapUsage");
  await cdp.detach();
  return usedSize + embedderHeapUsedSize + backingStorageSize;
}
