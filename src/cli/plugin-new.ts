/** `sluice plugin new NAME`: creates a project with an example plugin, its test, and a configuration to try it. */
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { chooseFreePorts } from "./free-ports.ts";
import { UsageError } from "./usage.ts";

/** The files of a project: those of all kinds in `common`, the others in a directory for each kind. */
const TEMPLATES = join(import.meta.dirname, "../../sdk/templates");
/** In the templates; a project gets the first free ones from there on. */
const PORTS = { web: 8080, admin: 9901, first: 9001, second: 9002 } as const;

const KINDS = { filter: "filter", router: "router", strategy: "strategy", health: "health check" } as const;
type Kind = keyof typeof KINDS;

export async function run(args: string[]): Promise<number> {
  const { directory, kind } = readArguments(args);
  if (existsSync(directory)) throw new Error(`${directory} already exists`);
  await mkdir(directory, { recursive: true });
  const ports = await chooseFreePorts(PORTS);
  const values: Record<string, string> = { NAME: basename(directory), KIND: KINDS[kind] };
  for (const name of ["web", "admin", "first", "second"] as const) values[PORTS[name]] = String(ports[name]);
  for (const folder of ["common", kind])
    for (const file of await readdir(join(TEMPLATES, folder))) {
      const text = await readFile(join(TEMPLATES, folder, file), "utf8");
      await writeFile(
        join(directory, file),
        text.replace(/\b(NAME|KIND|\d{4})\b/g, (word) => values[word] ?? word),
      );
    }
  process.stdout.write(`created ${directory}, a ${KINDS[kind]}. Next steps:

  npx sluice plugin test ${directory}
  node ${join(directory, "upstream.mjs")}
  npx sluice dev -c ${join(directory, "sluice.yaml")}    # in another terminal
  curl -i http://127.0.0.1:${ports.web}/
`);
  return 0;
}

function readArguments(args: string[]): { directory: string; kind: Kind } {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { kind: { type: "string", default: "filter" } },
  });
  const kinds = Object.keys(KINDS) as Kind[];
  const kind = kinds.find((k) => k === values.kind);
  if (!kind) throw new UsageError(`invalid --kind "${values.kind}": expected one of ${kinds.join(", ")}`);
  const [directory, ...rest] = positionals;
  if (directory === undefined || rest.length > 0) throw new UsageError("plugin new takes one NAME");
  const name = basename(directory);
  if (!/^[a-z][a-z0-9-]*$/.test(name))
    throw new UsageError(`invalid plugin name "${name}": expected lower-case letters, digits and dashes`);
  return { directory, kind };
}
