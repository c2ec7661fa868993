import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { chooseFreePorts } from "./free-ports.ts";
import { UsageError } from "./usage.ts";

function configuration({ web, admin }: { readonly web: number; readonly admin: number }): string {
  return `# Configuration of Sluice. Validate it by \`sluice check\`, run it by \`sluice run\`.
# All keys: docs/configuration.md, or \`sluice schema\`.

# Metrics, API and status page. To allow other hosts, set a \`token\`; \`false\` turns it off.
admin: 127.0.0.1:${admin}

# Sockets for clients.
listeners:
  web:
    address: 127.0.0.1:${web}     # ":8080" listens on every address
    chain: [request-id]         # plugins for every request, in order
    routes:                     # the first match wins
      - match: { path: /ping }
        respond: { body: pong } # or redirect: { https: true }; no cluster is needed
      # - match: { host: "*.example.com", prefix: /api/ }
      #   cluster: api
      - cluster: app            # no \`match\`: matches every request

# Groups of endpoints.
clusters:
  app:
    strategy: least-connections # or round-robin, fastest-response, consistent-hash (docs/strategies.md), or a plugin
    endpoints:
      - 127.0.0.1:9001
      # - { address: 127.0.0.1:9002, weight: 3 }

# WebAssembly plugins; \`sluice plugin new NAME\` creates a project.
# plugins:
#   tenant: { wasm: ./plugins/tenant.wasm }
`;
}

export async function run(args: string[]): Promise<number> {
  const { positionals } = parseArgs({ args, options: {}, allowPositionals: true });
  if (positionals.length > 1) throw new UsageError(`init takes one DIRECTORY`);
  const directory = positionals[0] ?? ".";
  const file = join(directory, "sluice.yaml");
  const ports = await chooseFreePorts({ web: 8080, admin: 9901 });
  await mkdir(directory, { recursive: true });
  try {
    await writeFile(file, configuration(ports), { flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST")
      throw new Error(`${file} already exists and was not changed`);
    throw error;
  }
  process.stdout.write(`created ${file}\nsluice run -c ${file}\n`);
  return 0;
}
