/** Runs every mix in this process, and writes by name how many nanoseconds a unit of fuel took. */
import { nativeModule } from "../../src/plugin/abi/native/module.ts";
import { type MemoryPages, makeMemory, withMemory } from "../../src/plugin/wasm/linear-memory.ts";
import { METER, meterModule } from "../../src/plugin/wasm/meter.ts";
import { readShape } from "../../src/plugin/wasm/module-shape.ts";
import { compileWat } from "../unit/plugin/kit.ts";
import { MIXES, type Mix } from "./price-mixes.ts";

const LIMIT = 16 * 1024 * 1024;
const FUEL = 2_000_000_000;
/** Of one run at least, and runs of which the fastest counts: the others may have waited for the processor. */
const MILLISECONDS = 3;
const RUNS = 15;
const ONCE = 5;

type Guest = { readonly run: (turns: number) => unknown; readonly charge: (units: number) => number };

function start({ fill }: Mix, module: WebAssembly.Module, pages: MemoryPages): Guest {
  const { exports } = new WebAssembly.Instance(module, withMemory({}, makeMemory(pages)));
  fill?.(new DataView((exports.memory as WebAssembly.Memory).buffer));
  return { run: exports.run as Guest["run"], charge: exports[METER.charge] as Guest["charge"] };
}

/** Milliseconds, and units. */
function time({ run, charge }: Guest, turns: number): { time: number; units: number } {
  charge(charge(0) - FUEL);
  const began = performance.now();
  run(turns);
  return { time: performance.now() - began, units: FUEL - charge(0) };
}

function measure(mix: Mix): number {
  const bytes = compileWat(mix.text);
  const shape = readShape(bytes);
  const metered = meterModule(bytes, shape, LIMIT, nativeModule.entryPoints(shape, {}));
  const module = new WebAssembly.Module(metered.bytes);
  const costs: number[] = [];
  if (mix.once !== undefined)
    for (let i = 0; i < ONCE; i++) {
      const { time: took, units } = time(start(mix, module, metered.pages), mix.once);
      costs.push(took / units);
    }
  else {
    const guest = start(mix, module, metered.pages);
    let turns = mix.turns ?? 1;
    // Compiles it too. What is optimised away takes no time however long it runs.
    for (let tried = time(guest, turns); tried.time < MILLISECONDS && tried.units < FUEL / 4; turns *= 2)
      tried = time(guest, turns);
    for (let i = 0; i < RUNS; i++) {
      const { time: took, units } = time(guest, turns);
      costs.push(took / units);
    }
  }
  return Math.min(...costs) * 1e6;
}

process.stdout.write(JSON.stringify(Object.fromEntries(MIXES.map((mix) => [mix.name, measure(mix)]))));
