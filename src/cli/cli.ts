/** The command line: finds the command, answers --help and --version, and turns what is thrown into an exit code. */
import { readFile } from "node:fs/promises";
import { EXIT_USAGE, UsageError } from "./usage.ts";

type Command = {
  /** What stands after `sluice`. */
  readonly usage: string;
  readonly summary: string;
  /** Lines of `--help`, below the usage. */
  readonly options?: readonly string[];
  /** The module that runs it; loaded only then, so that `--help` needs no WebAssembly and `schema` no sockets. */
  readonly load: () => Promise<{ run(args: string[]): Promise<number> }>;
};

const FILE_OPTION = "-c, --config FILE   the configuration; sluice.yaml without it";
const RUN_OPTIONS = [
  FILE_OPTION,
  "--workers N         workers, instead of what the configuration says",
  "--log-level L       debug, info, warn, error or silent, instead of what the configuration says",
];
const ADMIN_OPTIONS = [
  "-c, --config FILE   the configuration that names the admin interface; sluice.yaml without it",
  "--admin ADDRESS     the admin interface, instead; its token is read from SLUICE_ADMIN_TOKEN",
];

const SURROUNDING_OPTIONS = [
  "--config JSON       the configuration to measure it with, instead of that in the sluice.yaml beside it",
  "--clusters A,B      names of clusters that it may look for, besides those in that file",
  "--kv A,B            key-value namespaces that it may use, besides those in that file",
];

const COMMANDS: Readonly<Record<string, Command>> = {
  run: {
    usage: "run [-c sluice.yaml] [--workers N] [--log-level L]",
    summary: "run the proxy until SIGTERM or SIGINT; SIGHUP reloads, SIGUSR1 opens log files again",
    options: RUN_OPTIONS,
    load: () => import("./run.ts"),
  },
  dev: {
    usage: "dev [-c sluice.yaml] [--workers N] [--log-level L]",
    summary: "run, and build a plugin anew when its source is saved",
    options: RUN_OPTIONS,
    load: () => import("./dev.ts"),
  },
  check: {
    usage: "check [-c sluice.yaml]",
    summary: "check a configuration and every plugin it names",
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
    summary: "write a small sluice.yaml that runs",
    load: () => import("./init.ts"),
  },
  explain: {
    usage: "explain METHOD URL [-H LINE] [-d BODY] [-c sluice.yaml | --admin ADDRESS]",
    summary: "tell what plugins would do to a request and where it would go, and send nothing",
    options: [
      "-c, --config FILE   explain this configuration, instead of what a running proxy serves",
      "--admin ADDRESS     the admin interface of the running proxy",
      '-H, --header LINE   "name: value", as often as needed',
      "-d, --data TEXT     the body; @FILE reads it from a file",
      "--client ADDRESS    the client's address; 127.0.0.1 without it",
      "--listener NAME     where it comes in; without it: at the URL's port, else the first",
      "--status STATUS     status of the endpoint's simulated response (default 200)",
      "--allow-fetch       really send what plugins ask, and sleep",
      "--fetch-status S    status of simulated responses to subrequests (default 503)",
      "--trace ID          print a trace that the running proxy has recorded, instead",
      "--json              as JSON",
    ],
    load: () => import("./explain.ts"),
  },
  status: {
    usage: "status [-c sluice.yaml | --admin ADDRESS]",
    summary: "tell what a running proxy serves",
    options: ADMIN_OPTIONS,
    load: () => import("./status.ts"),
  },
  reload: {
    usage: "reload [-c sluice.yaml | --admin ADDRESS]",
    summary: "have a running proxy read its configuration again",
    options: ADMIN_OPTIONS,
    load: () => import("./reload.ts"),
  },
  "plugin new": {
    usage: "plugin new NAME [--kind filter|router|strategy|health]",
    summary: "make a plugin project: source, test, and a configuration to try it",
    options: ["--kind KIND         filter (without it), router, strategy or health: a health check"],
    load: () => import("./plugin-new.ts"),
  },
  "plugin build": {
    usage: "plugin build [PATH]",
    summary: "compile a plugin to a .wasm with a source map, and tell what its size is made of",
    options: [
      "-o, --out FILE      the .wasm; beside the source without it",
      "--runtime KIND      arena or gc, instead of what the source says",
    ],
    load: () => import("./plugin-build.ts"),
  },
  "plugin test": {
    usage: "plugin test [PATH]",
    summary: "run the tests of a plugin: a file, or all of a directory",
    options: [
      "--watch             run them again when a file changes",
      "--name PATTERN      only tests whose name matches",
      "--clusters A,B      names of clusters that exist, for tests that name none",
    ],
    load: () => import("./plugin-test.ts"),
  },
  "plugin bench": {
    usage: "plugin bench [PATH]",
    summary: "measure a call of each hook of a plugin: time, fuel, memory",
    options: [
      ...SURROUNDING_OPTIONS,
      "-X, --method M      of the request that it is called with",
      "--url URL           the same",
      "-H, --header LINE   the same, as often as needed",
    ],
    load: () => import("./plugin-bench.ts"),
  },
  "plugin inspect": {
    usage: "plugin inspect FILE.wasm",
    summary: "tell what a plugin is, what it may do, and what a call of each hook costs",
    options: [...SURROUNDING_OPTIONS],
    load: () => import("./plugin-inspect.ts"),
  },
};

/** Runs one command; the exit code. `args` is what stands after the program's name. */
export async function cli(args: readonly string[]): Promise<number> {
  const [first, second] = args;
  // The log's own writer of these two copes with a closed output.
  if (first !== "run" && first !== "dev") process.stdout.on("error", passOverClosedOutput);
  if (first === undefined) {
    process.stderr.write(helpOfAll());
    return EXIT_USAGE;
  }
  if (first === "--help" || first === "-h" || first === "help") return print(helpOfAll());
  if (first === "--version" || first === "-v") return print(`sluice ${await readVersion()}\n`);
  const name = Object.hasOwn(COMMANDS, first) ? first : `${first} ${second}`;
  const rest = args.slice(name === first ? 1 : 2);
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) return answerUnknown(first, args.slice(1));
  if (asksForHelp(rest)) return print(helpOf(command));
  return runCommand(name, command, rest);
}

/** A reader such as `head` closes the pipe before the end of the output: no failure of the command. */
function passOverClosedOutput(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
}

async function runCommand(name: string, command: Command, args: string[]): Promise<number> {
  try {
    const module = await command.load();
    return await module.run(args);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    if (!isUsageError(error)) return complain(error.message, 1);
    // Node's own message goes on for sentences about `--`.
    return complain(`${error.message.split(". ")[0]} (sluice ${name} --help tells more)`, EXIT_USAGE);
  }
}

/** `sluice plugin` and `sluice plugin --help` list what begins so; anything else is not known. */
function answerUnknown(first: string, rest: readonly string[]): number {
  const group = Object.keys(COMMANDS).filter((name) => name.startsWith(`${first} `));
  if (group.length === 0) return complain(`unknown command "${first}" (sluice --help lists them)`, EXIT_USAGE);
  if (asksForHelp(rest)) return print(helpOfAll(group));
  return complain(
    `"${first}" needs one of ${group.map((name) => name.slice(first.length + 1)).join(", ")}`,
    EXIT_USAGE,
  );
}

function asksForHelp(args: readonly string[]): boolean {
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
  return `a load balancer and reverse proxy programmed with WebAssembly plugins\n\n${lines.join("\n")}\n\nEach command takes --help; sluice --version prints the version.\n`;
}

function helpOf({ usage, summary, options = [] }: Command): string {
  const lines = [...options, "-h, --help          this text"].map((line) => `  ${line}\n`);
  return `sluice ${usage}\n\n${summary}\n\n${lines.join("")}`;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
}

function complain(message: string, code: number): number {
  process.stderr.write(`sluice: ${message}\n`);
  return code;
}

async function readVersion(): Promise<string> {
  const text = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
