/** Databases as files, on their way out and in, and how far they are. */

import type { CallOptions } from "./operations.js";
import { safely } from "./store.js";

/** The media type of a database as a file. */
export const SQLITE = "application/vnd.sqlite3";

/** For files, which may be large. */
export interface FileOptions extends CallOptions {
  /** Told how many bytes of how many went by; of what comes compressed from a server, nobody knows how many it will be. */
  onProgress?: (bytes: number, total: number | undefined) => void;
}

export type Bytes = ReadableStream<Uint8Array<ArrayBuffer>>;

/** The same bytes; whoever wants to know is told how many went by. */
export function counted(stream: Bytes, total: number | undefined, { onProgress }: FileOptions): Bytes {
  let bytes = 0;
  const count = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(piece, controller) {
      bytes += piece.length;
      safely(() => onProgress?.(bytes, total));
      controller.enqueue(piece);
    },
  });
  return stream.pipeThrough(count);
}

/** Whether requests may have a stream for their body. Otherwise the browser would send the text `[object ReadableStream]`. */
export function canStream(): boolean {
  let isAsked = false;
  const init = {
    method: "POST",
    body: new ReadableStream(),
    get duplex() {
      isAsked = true;
      return "half";
    },
  };
  return !new Request("data:,", init).headers.has("content-type") && isAsked;
}
