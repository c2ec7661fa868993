/** An example of `examples/`, started as described in its README. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type IncomingHttpHeaders, type OutgoingHttpHeaders, type RequestOptions, request } from "node:http";
import { join } from "node:path";
import { findFreePort } from "./free-port.ts";
import { bounded, environment, type LiveTest, launcher } from "./program.ts";

export const examples = join(import.meta.dirname, "../../examples");
/** Those that start the launcher of the tests. */
const besideLauncher = join(launcher, "../../examples");

type ExampleResponse = { status: number; headers: IncomingHttpHeaders; body: string };
type Seen = { upstream: string; headers: Record<string, string> };
type Example = {
  get(path: string, headers?: OutgoingHttpHeaders, method?: string): Promise<ExampleResponse>;
  /** What it wrote so far. */
  printed(): string;
};

/** Where the examples are, and by which Node and with which PATH they are run; or the whole command line. */
type Place = {
  readonly root?: string;
  readonly node?: string;
  readonly path?: string | undefined;
  readonly command?: readonly [string, ...string[]];
};

/**
 * Starts an example on free ports. After the test it gets SIGTERM, at which it must exit with 0, and so must end the
 * processes that it has started: they have its output.
 */
export async function startExample(
  t: LiveTest,
  name: string,
  { root = besideLauncher, node = process.execPath, path = process.env.PATH, command }: Place = {},
): Promise<Example> {
  const env: NodeJS.ProcessEnv = { ...environment(t), PATH: path };
  for (const port of portVariables(name)) env[port] = String(await findFreePort());
  const [program, ...args] = command ?? [node, join(root, name, "start.mjs")];
  const example = spawn(program, args, { env });
  const output = collect(example);
  const ended = once(example, "close");
  t.after(async () => {
    example.kill("SIGTERM");
    const [code, signal] = await bounded(ended, "all its processes to end").finally(() => {
      example.stdout.destroy();
      example.stderr.destroy();
    });
    assert.deepEqual([code, signal], [0, null], output.text);
  });
  const started = await Promise.race([output.has("Try, in another terminal"), ended.then(() => false)]);
  assert.ok(started, output.text);
  const port = Number(env.WEB_PORT);
  return {
    get: (path, headers = {}, method = "GET") => get(port, { method, path, headers }),
    printed: () => output.text,
  };
}

/** The environment variables by which an example's ports can be set. */
function portVariables(name: string): string[] {
  const text = readFileSync(join(examples, name, "sluice.yaml"), "utf8");
  return Array.from(text.matchAll(/\$\{(\w+_PORT):-\d+\}/g), ([, variable]) => variable!);
}

function collect(child: ChildProcess) {
  const output = {
    text: "",
    has: (part: string) =>
      new Promise<boolean>((resolve) => {
        child.stdout!.on("data", () => output.text.includes(part) && resolve(true));
      }),
  };
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      output.text += text;
    });
  }
  return output;
}

async function get(port: number, what: RequestOptions): Promise<ExampleResponse> {
  const sent = request({ ...what, host: "127.0.0.1", port, agent: false }).end();
  const [response] = await once(sent, "response");
  return { status: response.statusCode, headers: response.headers, body: (await response.toArray()).join("") };
}

/** The request as the upstream received it, which it returns as JSON. */
export function seenBy(response: ExampleResponse): Seen {
  assert.equal(response.status, 200, response.body);
  return JSON.parse(response.body);
}
