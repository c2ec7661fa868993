import { parseArgs } from "node:util";
import { makeJsonSchema } from "../config/json-schema.ts";

export async function run(args: string[]): Promise<number> {
  parseArgs({ args, options: {} });
  process.stdout.write(`${JSON.stringify(makeJsonSchema(), null, 2)}\n`);
  return 0;
}
