/** Run by `builder.test.ts`, which looks at what the engine compiles meanwhile: a function each of these sizes. */
import { pathToFileURL } from "node:url";
import { ModuleBuilder } from "../../../../src/plugin/wasm/builder.ts";
import { makeMemory, withMemory } from "../../../../src/plugin/wasm/linear-memory.ts";
import { METER } from "../../../../src/plugin/wasm/meter.ts";
import { body, makeBomb, repeat } from "../../../fixtures/bombs.ts";

/** Stores in its body: of one that is never called, one that is called often, and one that is costly besides. */
export const STORES = { idle: 611, cheap: 1777, costly: 40_000 } as const;
export const STORE = [0x41, 0, 0x41, 0, 0x36, 2, 0];
const MEMORY = 16 * 1024 * 1024;
const CALLS = 3000;
const FUEL = 2 ** 31 - 1;

async function run(): Promise<void> {
  const builder = new ModuleBuilder();
  for (const [name, stores] of Object.entries(STORES)) {
    const wasm = makeBomb({ functions: [body(1, repeat(stores, ...STORE))] });
    const { module, info } = await builder.build(wasm, { memory: MEMORY, path: "plugin.wasm" });
    process.stderr.write(`${name}: ${info.unoptimised ?? "optimised"}\n`);
    if (name === "idle") continue;
    const { exports } = new WebAssembly.Instance(module, withMemory({}, makeMemory(info.pages)));
    const hook = exports[`${METER.hook}request_head`] as (...values: number[]) => number;
    for (let i = 0; i < CALLS; i++) hook(0, 0, FUEL);
  }
  builder.close();
}

if (import.meta.url === pathToFileURL(process.argv[1]!).href) await run();
