/** `npm run bench`: runs rows in order and prints their tables. */
import { type LoadRow, runLoadRow, Unavailable } from "./compare.ts";
import { runFlood } from "./flood.ts";
import { runGrpcMessages } from "./grpc.ts";
import { runHandshakes } from "./handshakes.ts";
import { runHooks } from "./hooks.ts";
import { runIdle } from "./idle.ts";
import { describeMachine } from "./machine.ts";
import { type Options, readOptions, USAGE } from "./options.ts";
import { runPrices } from "./prices.ts";
import { writeBlock } from "./report.ts";
import { LOAD_ROWS } from "./rows.ts";
import { openSite, type Site } from "./site.ts";
import { runSoak } from "./soak.ts";
import { runStream } from "./stream.ts";
import { renderOutcome } from "./table.ts";
import { runTcp } from "./tcp.ts";
import { runAtOnce, runIdleStreams } from "./waiting.ts";
import { runWebSockets } from "./websockets.ts";
import { runWhere } from "./where.ts";

type Row = { readonly name: string; readonly title: string; run(site: Site, options: Options): Promise<string> };

const ROWS: readonly Row[] = [
  ...LOAD_ROWS.map(rowOfLoad),
  { name: "where", title: "Where the time of a request goes", run: runWhere },
  { name: "hooks", title: "One call of a hook", run: runHooks },
  { name: "prices", title: "How long a unit of fuel can take", run: runPrices },
  { name: "idle", title: "Memory for an idle connection of each protocol", run: runIdle },
  { name: "idle-streams", title: "Memory for 10,000 idle streams of HTTP/2", run: runIdleStreams },
  { name: "at-once", title: "Memory for 5,000 requests that wait at once", run: runAtOnce },
  { name: "grpc-messages", title: "Messages of gRPC streams", run: runGrpcMessages },
  { name: "handshakes", title: "TLS handshakes, full and resumed", run: runHandshakes },
  { name: "websockets", title: "WebSocket messages", run: runWebSockets },
  { name: "tcp", title: "TCP: messages and new connections", run: runTcp },
  { name: "stream", title: "Memory while a large body flows", run: runStream },
  { name: "soak", title: "One reload of a plugin after another, under load", run: runSoak },
  { name: "flood", title: "Other traffic beside a hostile plugin", run: runFlood },
];

function rowOfLoad(row: LoadRow): Row {
  const run = async (site: Site, options: Options): Promise<string> => {
    const outcome = await runLoadRow(site, row, options);
    const method = `${options.turns} turns of ${options.seconds} s, ${options.connections} connections`;
    return `${renderOutcome(outcome)}\n\n${method}.`;
  };
  return { name: row.name, title: row.title, run };
}

function chooseRows(names: readonly string[]): readonly Row[] {
  const unknown = names.find((name) => !ROWS.some((row) => row.name === name));
  if (unknown !== undefined)
    throw new RangeError(`no row is named "${unknown}"; there are ${ROWS.map((row) => row.name).join(", ")}`);
  return names.length === 0 ? ROWS : ROWS.filter((row) => names.includes(row.name));
}

async function runRows(site: Site, rows: readonly Row[], options: Options): Promise<void> {
  const machine = describeMachine();
  console.log(machine);
  for (const row of rows) {
    const result = await runRow(site, row, options);
    if (result === null) continue;
    console.log(`\n## ${row.title}\n\n${result}`);
    const place = `Measured ${new Date().toISOString().slice(0, 10)} on ${machine}.`;
    if (options.write) writeBlock(row.name, `${result}\n${place}`);
  }
}

/** Null: it cannot be measured here, and that was said. */
async function runRow(site: Site, row: Row, options: Options): Promise<string | null> {
  try {
    return await row.run(site, options);
  } catch (error) {
    if (!(error instanceof Unavailable)) throw error;
    console.log(`\n## ${row.title}\n\npassed over: ${error.message}`);
    return null;
  }
}

async function main(args: readonly string[]): Promise<number> {
  if (args.includes("--help")) {
    console.log(USAGE);
    return 0;
  }
  const options = readOptions(args);
  const rows = chooseRows(options.rows);
  const site = await openSite();
  const leave = (): void => {
    site.programs.kill();
    process.exit(130);
  };
  process.once("SIGINT", leave).once("SIGTERM", leave);
  try {
    await runRows(site, rows, options);
  } finally {
    await site.close();
  }
  return 0;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error(`bench: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
