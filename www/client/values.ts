/**
 * Values of SQLite and their JSON. What JavaScript and SQLite both have passes as it is; the rest is tagged: integers
 * beyond 2^53 as `{"$int"}`, a REAL without a fraction as `{"$real"}`, blobs as `{"$blob"}` in hexadecimal digits.
 */

import { SyncError } from "./errors.js";

/** A value as the client gives it: integers are numbers, or bigints beyond ±(2^53 − 1). */
export type Value = null | number | bigint | string | Uint8Array<ArrayBuffer>;

/** A value as the client takes it. */
export type Input = Value | undefined | boolean | Real | ArrayBufferView | ArrayBuffer;

/** A value as it travels. */
export type JsonValue = null | string | number | { $int: string } | { $real: number | "inf" | "-inf" } | { $blob: string };

/** A row, by the names of its columns. */
export type Row = Record<string, Value>;

/** A number that is to be stored as REAL even if it has no fraction; see {@link real}. */
export class Real {
  constructor(readonly value: number) {}
}

/** Marks a number as REAL. Only needed in columns without a type: `1` is an INTEGER there, `real(1)` is not. */
export function real(value: number): Real {
  return new Real(value);
}

const MIN_I64 = -(2n ** 63n);
const MAX_I64 = 2n ** 63n - 1n;

/** The JSON form of a value. */
export function encode(value: Input): JsonValue {
  switch (typeof value) {
    case "undefined":
      return null;
    case "boolean":
      return value ? 1 : 0;
    case "string":
      return value;
    case "number":
      // A number with a fraction is a REAL by itself, a safe integer an INTEGER.
      return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value)) ? value : encodeReal(value);
    case "bigint":
      if (value < MIN_I64 || value > MAX_I64) throw invalid(`${value} does not fit into 64 bits`);
      return { $int: value.toString() };
  }
  if (value === null) return null;
  if (value instanceof Real) return encodeReal(value.value);
  if (value instanceof ArrayBuffer) return { $blob: toHex(new Uint8Array(value)) };
  if (ArrayBuffer.isView(value)) return { $blob: toHex(new Uint8Array(value.buffer, value.byteOffset, value.byteLength)) };
  throw invalid(`${Object.prototype.toString.call(value)} is not a value of SQLite; use a string, number, bigint, boolean, bytes or null`);
}

/** The value of a JSON form. */
export function decode(json: unknown): Value {
  if (json === null || typeof json === "string" || typeof json === "number") return json;
  if (typeof json === "object") {
    const { $int, $real, $blob } = json as { $int?: unknown; $real?: unknown; $blob?: unknown };
    if (typeof $int === "string") return shrink(BigInt($int));
    if (typeof $real === "number") return $real;
    if ($real === "inf") return Infinity;
    if ($real === "-inf") return -Infinity;
    if (typeof $blob === "string") return fromHex($blob);
  }
  throw new SyncError("unexpected_answer", `The answer holds ${JSON.stringify(json)}, which is not a value. Are page and worker of one release?`);
}

function encodeReal(value: number): JsonValue {
  if (Number.isNaN(value)) throw invalid("NaN cannot be stored; use null");
  return { $real: Number.isFinite(value) ? value : value > 0 ? "inf" : "-inf" };
}

/** A value has one form in JavaScript, whatever way it came. */
function shrink(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function toHex(bytes: Uint8Array): string {
  let hex = "";
  for (const byte of bytes) hex += byte.toString(16).padStart(2, "0");
  return hex;
}

function fromHex(hex: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(hex.match(/../g) ?? [], (digits) => Number.parseInt(digits, 16));
}

function invalid(message: string): SyncError {
  return new SyncError("invalid_value", message);
}
