/** What is read of a wasm module, from a place in its bytes on (WebAssembly core specification, chapter 5). */
export class Reader {
  /** A module's sections begin behind its first 8 bytes. */
  constructor(bytes, at = 8) {
    this.bytes = bytes;
    this.at = at;
  }

  byte() {
    return this.bytes[this.at++];
  }

  /** An unsigned number in LEB128. */
  number() {
    for (let value = 0, shift = 0; ; shift += 7) {
      const byte = this.byte();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }

  /** A length, and so many bytes. */
  vector() {
    const length = this.number();
    return this.bytes.subarray(this.at, (this.at += length));
  }

  /** The sections from here on: where each begins, its kind, and where its content begins and ends. Stands at the content. */
  *sections() {
    while (this.at < this.bytes.length) {
      const start = this.at;
      const kind = this.byte();
      const size = this.number();
      const section = { kind, start, at: this.at, end: this.at + size };
      yield section;
      this.at = section.end;
    }
  }
}
