import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chooseFreePorts } from "./free-ports.ts";
import { UsageError } from "./usage.ts";

function configuration({ web, admin }: { readonly web: number; readonly admin: number }): string {
  return `# Sluice: run it with \`sluice run\`, check it with \`sluice check\`.
# Every key: \`sluice schema\`, or docs/configuration.md.

# Metrics and the API. Other machines reach it only with \`token\`. \`false\` turns it off.
admin: 127.0.0.1:${admin}

# Where clients connect.
listeners:
  web:
    address: 127.0.0.1:${web}     # ":8080" listens on every address
    chain: [request-id]         # plugins that run for every request, in order
    routes:                     # the first match wins
      # - match: { host: "*.example.com", prefix: /api/ }
      #   cluster: api
      - cluster: app            # without \`match\`: every request

# What the requests go to.
clusters:
  app:
    strategy: least-connections # or round-robin, random, power-of-two, ip-hash, or a plugin of your own
    endpoints:
      - 127.0.0.1:9001
      # - { address: 127.0.0.1:9002, weight: 3 }

# WebAssembly of your own: \`sluice plugin new NAME\` makes a project.
# plugins:
#   tenant: { wasm: ./plugins/tenant.wasm }
`;
}

export async function run(args: string[]): Promise<number> {
  const { positionals } = parseArgs({ args, options: {}, allowPositionals: true });
  if (positionals.length > 1) throw new UsageError(`expected one directory, not ${positionals.length}`);
  const directory = positionals[0] ?? ".";
  const file = join(directory, "sluice.yaml");
  const ports = await chooseFreePorts({ web: 8080, admin: 9901 });
  await mkdir(directory, { recursive: true });
  try {
    await writeFile(file, configuration(ports), { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST")
      throw new Error(`${file} is there already, and is left as it is`);
    throw error;
  }
  process.stdout.write(`${file} is written\nsluice run -c ${file}\n`);
  return 0;
}
