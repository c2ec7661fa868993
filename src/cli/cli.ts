/** The command line: selects the command, handles --help and --version, and maps errors to exit codes. */
import { readFile } from "node:fs/promises";
import { EXIT_USAGE, UsageError } from "./usage.ts";

type Command = {
  /** Synopsis, without `sluice`. */
  readonly usage: string;
  readonly summary: string;
  /** Lines of `--help`, below the usage. */
  readonly options?: readonly string[];
  /** Imports the module of the command: late, so that each command loads only what it needs. */
  readonly load: () => Promise<{ run(args: string[]): Promise<number> }>;
};

const FILE_OPTION = "-c, --config FILE   configuration file (default: sluice.yaml)";
const RUN_OPTIONS = [
  FILE_OPTION,
  "--workers N         number of workers, overrides the configuration",
  "--log-level L       debug, info, warn, error or silent, overrides the configuration",
];
const ADMIN_OPTIONS = [
  "-c, --config FILE   configuration file with the admin address (default: sluice.yaml)",
  "--admin ADDRESS     admin address, instead of the configuration; token from SLUICE_ADMIN_TOKEN",
];

const CONTEXT_OPTIONS = [
  "--config JSON       configuration of the plugin, instead of that in the sluice.yaml of its project",
  "--clusters A,B      existing clusters, in addition to those in that file",
  "--kv A,B            permitted key-value namespaces, in addition to those in that file",
];

const COMMANDS: Readonly<Record<string, Command>> = {
  run: {
    usage: "run [-c sluice.yaml] [--workers N] [--log-level L]",
    summary: "run the proxy until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 reopens log files",
    options: RUN_OPTIONS,
    load: () => import("./run.ts"),
  },
  dev: {
    usage: "dev [-c sluice.yaml] [--workers N] [--log-level L]",
    summary: "run, and rebuild a plugin when its source is saved",
    options: RUN_OPTIONS,
    load: () => import("./dev.ts"),
  },
  check: {
    usage: "check [-c sluice.yaml]",
    summary: "validate a configuration and its plugins",
    options: [FILE_OPTION],
    load: () => import("./check.ts"),
  },
  schema: {
    usage: "schema",
    summary: "print the JSON Schema of the configuration",
    load: () => import("./schema.ts"),
  },
  init: {
    usage: "init [DIRECTORY]",
    summary: "create a minimal sluice.yaml",
    load: () => import("./init.ts"),
  },
  explain: {
    usage: "explain [METHOD] URL [-H LINE] [-d BODY] [-c sluice.yaml | --admin ADDRESS]",
    summary: "trace a request through plugins, routes and clusters in a dry run",
    options: [
      "-c, --config FILE   use this configuration file, instead of the running proxy",
      "--admin ADDRESS     admin address of the running proxy",
      '-H, --header LINE   "name: value", repeatable',
      "-d, --data TEXT     request body; @FILE reads a file",
      "--client ADDRESS    client address (default: 127.0.0.1)",
      "--listener NAME     listener (default: the one at the URL's address or port, or the first)",
      "--status STATUS     status of the endpoint's simulated response (default: 200)",
      "--allow-fetch       send subrequests of plugins, and really sleep",
      "--fetch-status S    status of simulated responses to subrequests (default: 503)",
      "--trace ID          print a recorded trace of the running proxy instead",
      "--json              print JSON",
    ],
    load: () => import("./explain.ts"),
  },
  status: {
    usage: "status [-c sluice.yaml | --admin ADDRESS]",
    summary: "show the state of a running proxy",
    options: ADMIN_OPTIONS,
    load: () => import("./status.ts"),
  },
  top: {
    usage: "top [-c sluice.yaml | --admin ADDRESS]",
    summary: "show the state of a running proxy every two seconds",
    options: ADMIN_OPTIONS,
    load: () => import("./top.ts"),
  },
  drain: {
    usage: "drain CLUSTER ENDPOINT [-c sluice.yaml | --admin ADDRESS]",
    summary: "send no new requests to an endpoint of a running proxy, and drain its tunnels",
    options: [
      ...ADMIN_OPTIONS,
      "--wait              return when no request is in flight there",
      "--undo              send requests to it again",
    ],
    load: () => import("./drain.ts"),
  },
  reload: {
    usage: "reload [-c sluice.yaml | --admin ADDRESS]",
    summary: "reload the configuration of a running proxy",
    options: ADMIN_OPTIONS,
    load: () => import("./reload.ts"),
  },
  "plugin new": {
    usage: "plugin new NAME [--kind filter|router|strategy|health]",
    summary: "create a plugin project: source, test, configuration",
    options: ["--kind KIND         filter (default), router, strategy, or health (a health check)"],
    load: () => import("./plugin-new.ts"),
  },
  "plugin build": {
    usage: "plugin build [PATH]",
    summary: "compile a plugin to .wasm with a source map, and report its size by source file",
    options: [
      "-o, --out FILE      output file (default: next to the source)",
      "--runtime KIND      arena or gc, overrides the comment `// runtime:` in the source",
    ],
    load: () => import("./plugin-build.ts"),
  },
  "plugin test": {
    usage: "plugin test [PATH]",
    summary: "run the tests of a plugin: a file or a directory",
    options: [
      "--watch             rerun when a file changes",
      "--name PATTERN      run only tests with a matching name",
      "--clusters A,B      existing clusters, for tests that do not set them",
    ],
    load: () => import("./plugin-test.ts"),
  },
  "plugin bench": {
    usage: "plugin bench [PATH]",
    summary: "measure one call of each hook: time, fuel, memory",
    options: [
      ...CONTEXT_OPTIONS,
      "-X, --method M      method of the request",
      "--url URL           URL of the request",
      '-H, --header LINE   "name: value" of the request, repeatable',
    ],
    load: () => import("./plugin-bench.ts"),
  },
  "plugin inspect": {
    usage: "plugin inspect FILE",
    summary: "show hooks, permissions, limits, size, and the cost of each hook",
    options: [...CONTEXT_OPTIONS],
    load: () => import("./plugin-inspect.ts"),
  },
};

/** Runs one command and returns the exit code. `args`: the arguments after the program name. */
export async function cli(args: readonly string[]): Promise<number> {
  const [first, second] = args;
  // `run` and `dev` write logs, and handle a closed output themselves.
  if (first !== "run" && first !== "dev") process.stdout.on("error", ignoreClosedOutput);
  if (first === undefined) {
    process.stderr.write(helpOfAll());
    return EXIT_USAGE;
  }
  if (first === "--help" || first === "-h" || first === "help") return print(helpOfAll());
  if (first === "--version" || first === "-v") return print(`sluice ${await readVersion()}\n`);
  const name = Object.hasOwn(COMMANDS, first) ? first : `${first} ${second}`;
  const rest = args.slice(name === first ? 1 : 2);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) return handleUnknown(first, args.slice(1));
  if (wantsHelp(rest)) return print(helpOf(command));
  return runCommand(name, command, rest);
}

/** A reader such as `head` may close the pipe early; that is not an error. */
function ignoreClosedOutput(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

async function runCommand(name: string, command: Command, args: string[]): Promise<number> {
  try {
    const module = await command.load();
    return await module.run(args);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (!isUsageError(error)) return fail(error.message, 1);
    // The first sentence of Node's message is enough; the rest is about `--`.
    const problem = error.message.split(". ")[0]!;
    const file = /^Unexpected argument '(.+\.ya?ml)'$/.exec(problem)?.[1];
    const advice = file === undefined ? "" : `: write -c ${file}`;
    return fail(`${problem}${advice} (see sluice ${name} --help)`, EXIT_USAGE);
  }
}

/** Lists the commands of a group (`sluice plugin --help`), or reports an unknown command. */
function handleUnknown(first: string, rest: readonly string[]): number {
  const group = Object.keys(COMMANDS).filter((name) => name.startsWith(`${first} `));
  if (group.length === 0) return fail(`unknown command "${first}" (see sluice --help)`, EXIT_USAGE);
  if (wantsHelp(rest)) return print(helpOfAll(group));
  return fail(
    `"${first}" requires a subcommand: ${group.map((name) => name.slice(first.length + 1)).join(", ")}`,
    EXIT_USAGE,
  );
}

function wantsHelp(args: readonly string[]): boolean {
  const end = args.indexOf("--");
  return (end < 0 ? args : args.slice(0, end)).some((arg) => arg === "--help" || arg === "-h");
}

function isUsageError(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return error instanceof UsageError || code?.startsWith("ERR_PARSE_ARGS") === true;
}

function helpOfAll(names = Object.keys(COMMANDS)): string {
  const commands = names.map((name) => COMMANDS[name]!);
  const width = Math.max(...commands.map(({ usage }) => usage.length));
  const lines = commands.map(({ usage, summary }) => `  sluice ${usage.padEnd(width)}  ${summary}`);
  return `Sluice: a load balancer and reverse proxy programmed with WebAssembly plugins\n\n${lines.join("\n")}\n\nsluice COMMAND --help shows its options; sluice --version prints the version.\n`;
}

function helpOf({ usage, summary, options = [] }: Command): string {
  const lines = [...options, "-h, --help          show this help"].map((line) => `  ${line}\n`);
  return `sluice ${usage}\n\n${summary}\n\n${lines.join("")}`;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function fail(message: string, code: number): number {
  process.stderr.write(`sluice: ${message}\n`);
  return code;
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
