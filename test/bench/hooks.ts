/**
 * What one call of a hook costs, in this process, through the plugin host as a worker uses it: metered guest,
 * counters, host calls. The head is scanned anew before each call, and the time of the scan alone is taken off.
 */
import { type Bench, CHUNK_BYTES, makeBenches, REQUEST } from "./hook-benches.ts";
import type { Options } from "./options.ts";
import { type Spread, spreadOf } from "./statistics.ts";
import { renderTable } from "./table.ts";

const BATCH = 20_000;
/** Of what takes long. */
const SLOW_BATCH = 2000;
const WARM_UP = 10;
const BATCHES = 41;

export async function runHooks(_: unknown, options: Options): Promise<string> {
  const lines: string[][] = [];
  const batches = Math.min(BATCHES, options.turns * 6);
  for (const bench of await makeBenches()) {
    const { low, median, high } = await timeBench(bench, batches);
    lines.push([bench.name, median.toFixed(0), `${low.toFixed(0)} – ${high.toFixed(0)}`]);
  }
  const table = renderTable(["hook", "ns a call", "quartiles"], lines);
  const method = `${batches} batches of ${BATCH} calls, of ${SLOW_BATCH} for bodies, suspension and update`;
  return `${table}\n\n${method}; request headers of ${REQUEST.length} bytes, 7 fields; chunks of ${CHUNK_BYTES} bytes.`;
}

async function timeBench(bench: Bench, batches: number): Promise<Spread> {
  const times: number[] = [];
  for (let i = -WARM_UP; i < batches; i++) {
    const time = (await timeCalls(bench)) - timeBase(bench);
    if (i >= 0) times.push(time);
  }
  return spreadOf(times);
}

/** ns a call. */
function timeBase({ base, slow }: Bench): number {
  return timeLoop(base, slow ? SLOW_BATCH : BATCH);
}

function timeCalls({ call, slow, onEnd }: Bench): number | Promise<number> {
  const count = slow ? SLOW_BATCH : BATCH;
  return onEnd === undefined ? timeLoop(call, count) : timeChain(call, onEnd, count);
}

function timeLoop(call: () => void, count: number): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < count; i++) call();
  return Number(process.hrtime.bigint() - start) / count;
}

/** Each call begins when the one before has ended, as the next phase of an exchange does. */
async function timeChain(call: () => void, onEnd: NonNullable<Bench["onEnd"]>, count: number): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = count;
  onEnd(() => {
    if (--left > 0) call();
    else resolve();
  });
  const start = process.hrtime.bigint();
  call();
  await promise;
  return Number(process.hrtime.bigint() - start) / count;
}
