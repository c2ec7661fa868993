/**
 * The memory that one guest shares with the host: input, output and what the guest allocates in a call (`kernel.wat`).
 * Guests call its functions directly. The host writes the input at the address of the first block, and reads the output in
 * place: no second copy, and no BigInt handle in a call that uses no host function.
 */
import type { Failure } from "../../../abi/abi.ts";
import { Fault } from "../../host/fault.ts";
import { PAGE } from "../../wasm/linear-memory.ts";
import type { GuestMemory } from "../memory.ts";
import { KERNEL_FUNCTIONS } from "./interface.ts";
import { KERNEL } from "./kernel-bytes.ts";

/** Where the input begins. */
export const INPUT = 72;

/** Words at the start of the memory: bytes. */
const WORD = { output: 16, outputLength: 20, error: 24, problem: 28, offset: 32 } as const;

/** Numbers of problems: no memory; 1 to 4: those of PROBLEMS, at an offset. */
const NO_MEMORY = 5;
const PROBLEMS: readonly ((offset: bigint) => string)[] = [
  (offset) => `the offset ${offset} is outside of the allocated memory`,
  (offset) => `the offset ${offset} is outside of the input`,
  (offset) => `output_set: the output at ${offset} is outside of the allocated memory`,
  (offset) => `error_set: ${offset} is not a block of memory`,
];

/** Most pages of a kernel: offsets stay far below 2^32. */
const MAX_PAGES = 16_384;

let compiled: WebAssembly.Module | null = null;

type Exports = {
  readonly guest: WebAssembly.Table;
  allocate(size: number, clears: number): number;
  size(handle: bigint): number;
  begin(length: number): void;
  reserve(length: number): number;
  resize(at: number, size: number): void;
  request(to: number, raw: number, table: number, count: number): number;
  fields(to: number, raw: number, table: number, count: number): number;
  clear(from: number, end: number): void;
};

export class Kernel {
  readonly memory: WebAssembly.Memory;
  /** The functions that guests import. */
  readonly functions: Record<string, WebAssembly.ExportValue>;
  readonly #exports: Exports;
  readonly #bytes: GuestMemory;
  #words = new Uint32Array(0);
  /** JSON of a message head, whose bytes and offsets the host has copied to the memory (kernel.wat). */
  readonly request: Exports["request"];
  readonly fields: Exports["fields"];
  readonly clear: Exports["clear"];

  /** `limit`: most bytes; `bytes`: the view of it for the guest's host calls. */
  constructor(limit: number, bytes: GuestMemory) {
    const maximum = Math.max(1, Math.min(Math.floor(limit / PAGE), MAX_PAGES));
    this.memory = new WebAssembly.Memory({ initial: 1, maximum });
    compiled ??= new WebAssembly.Module(Buffer.from(KERNEL, "base64"));
    const { exports } = new WebAssembly.Instance(compiled, { host: { memory: this.memory } });
    this.#exports = exports as unknown as Exports;
    ({ request: this.request, fields: this.fields, clear: this.clear } = this.#exports);
    this.functions = Object.fromEntries(Object.keys(KERNEL_FUNCTIONS).map((name) => [name, exports[name]!]));
    bytes.attach(this.memory);
    this.#bytes = bytes;
  }

  /** `charge`: the guest's export that charges fuel, here for zeroing and growth. */
  attach(charge: WebAssembly.ExportValue): void {
    this.#exports.guest.set(0, charge);
  }

  /** Grows the memory for an input of `length` bytes. @throws Fault */
  reserve(length: number): void {
    if (this.#exports.reserve(length) === 0)
      throw new Fault("memory", `the input of ${length} bytes at most does not fit (limits.memory)`);
  }

  /** Begins a call with the input that was written at INPUT; frees the blocks of the previous call. */
  begin(length: number): void {
    this.#exports.begin(length);
  }

  /** The memory as words; valid until it grows. */
  words(): Uint32Array {
    if (this.#words.length === 0) this.#words = new Uint32Array(this.memory.buffer);
    return this.#words;
  }

  /** Allocates a block of `length` bytes for the guest; returns its offset. @throws Fault */
  allocate(call: string, length: number): number {
    const at = this.#exports.allocate(length, 0);
    if (at === 0) throw new Fault("memory", `${call}: ${length} bytes do not fit (limits.memory)`);
    return at;
  }

  /** Shortens the block that was allocated last to `length` bytes; 0: frees it. */
  resize(at: number, length: number): void {
    this.#exports.resize(at, length);
  }

  /**
   * Returns the length of a block by its handle; 0, which `alloc(0)` returns, is an empty block. @throws Fault if
   * invalid
   */
  size(call: string, handle: bigint): number {
    if (handle === 0n) return 0;
    const size = this.#exports.size(handle);
    if (size < 0) throw new Fault("bad_pointer", `${call}: ${BigInt.asUintN(64, handle)} is not a block of memory`);
    return size;
  }

  get output(): number {
    return this.#word(WORD.output);
  }

  get outputLength(): number {
    return this.#word(WORD.outputLength);
  }

  /** The handle of the error that the guest has set; 0: none. */
  get error(): number {
    return this.#word(WORD.error);
  }

  /** Why a call of the kernel trapped, or the guest had no memory; null: neither. */
  explain(): { readonly reason: Failure; readonly message: string } | null {
    const problem = this.#word(WORD.problem);
    if (problem === 0) return null;
    if (problem === NO_MEMORY)
      return { reason: "memory", message: "a block of memory could not be allocated (limits.memory)" };
    const offset = this.#bytes.refresh().readBigUInt64LE(WORD.offset);
    return { reason: "bad_pointer", message: PROBLEMS[problem - 1]!(offset) };
  }

  #word(at: number): number {
    return this.#bytes.refresh().readUInt32LE(at);
  }
}
