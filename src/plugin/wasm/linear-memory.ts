/**
 * The linear memory of a guest. A metered module imports it, so that a guest that is started for a failed one can have its
 * memory. V8 counts each memory as used until a full garbage collection: with a new one for each failure, a plugin that
 * fails at each request would cause a collection, which delays all requests, every hundred failures.
 */
export const PAGE = 65_536;

/** Pages that the module declares, and the most that it may have. */
export type MemoryPages = { readonly initial: number; readonly maximum: number };

/** The import of a metered module. */
export const MEMORY_IMPORT = { module: "sluice:memory", name: "memory" } as const;

/** The largest memory that is reused, in pages: clearing it touches all of it, a new one only what the guest uses. */
const MOST_REUSED = 32;

/** Creates a memory. @throws RangeError without address space */
export function makeMemory(pages: MemoryPages): WebAssembly.Memory {
  return new WebAssembly.Memory(pages);
}

/** Whether `memory` can become that of another guest: small, and not grown, since a memory cannot shrink. */
export function isReusable(memory: WebAssembly.Memory, { initial }: MemoryPages): boolean {
  return initial <= MOST_REUSED && memory.buffer.byteLength === initial * PAGE;
}

/** Clears a memory for another guest. */
export function clearMemory(memory: WebAssembly.Memory): WebAssembly.Memory {
  new Uint8Array(memory.buffer).fill(0);
  return memory;
}

/** Adds the memory to the imports of a guest. */
export function withMemory(imports: WebAssembly.Imports, memory: WebAssembly.Memory): WebAssembly.Imports {
  return { ...imports, [MEMORY_IMPORT.module]: { [MEMORY_IMPORT.name]: memory } };
}
