/**
 * How much memory a page or a worker has: objects of JavaScript, after what is garbage was collected, and the memory of its
 * WebAssembly modules. That never shrinks, so what was needed once counts from then on.
 */

/** Bytes. `type` is that of the debugger's target, `page` or `service_worker`; it has wasm-memory.js. */
export async function memory(profile, type) {
  const cdp = await profile.page.context().browser().newBrowserCDPSession();
  const { targetInfos } = await cdp.send("Target.getTargets");
  const { targetId } = targetInfos.find((target) => target.type === type && target.url.startsWith("http"));
  const { sessionId } = await cdp.send("Target.attachToTarget", { targetId, flatten: false });
  const answers = [];
  cdp.on("Target.receivedMessageFromTarget", ({ message }) => {
    const { id, result } = JSON.parse(message);
    answers[id]?.(result);
  });
  const send = (method, params = {}) => {
    const answer = new Promise((resolve) => answers.push(resolve));
    const message = JSON.stringify({ id: answers.length - 1, method, params });
    return cdp.send("Target.sendMessageToTarget", { sessionId, message }).then(() => answer);
  };
  await send("HeapProfiler.collectGarbage");
  const { usedSize, embedderHeapUsedSize } = await send("Runtime.getHeapUsage");
  const { result } = await send("Runtime.evaluate", { expression: "wasmMemory()" });
  await cdp.detach();
  return usedSize + embedderHeapUsedSize + result.value;
}
