/** Whoever imports this can tell how much memory its WebAssembly modules have: `wasmMemory()`, in bytes. */

const memories = [];
for (const name of ["instantiate", "instantiateStreaming"]) {
  const original = WebAssembly[name];
  WebAssembly[name] = async (...source) => {
    const made = await original.apply(WebAssembly, source);
    const { exports } = made.instance ?? made;
    memories.push(...Object.values(exports).filter((value) => value instanceof WebAssembly.Memory));
    return made;
  };
}
globalThis.wasmMemory = () => memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
