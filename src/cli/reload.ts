import { callAdmin, findAdmin } from "./admin-client.ts";

/** Reloads the configuration of a running proxy and prints the result. */
export async function run(args: string[]): Promise<number> {
  const admin = await findAdmin(args);
  const { body } = await callAdmin(admin, "POST", "/api/v1/reload");
  const [problems = [], warnings = []] = [body.problems, body.warnings].map((lines) =>
    Array.isArray(lines) ? lines.map(String) : [],
  );
  if (body.result === "accepted") process.stdout.write(`version ${body.version} serves\n`);
  else if (body.result === "unchanged") process.stdout.write(`unchanged: keeping version ${body.version}\n`);
  else {
    const lines = problems.length > 0 ? problems : [String(body.error ?? JSON.stringify(body))];
    for (const line of lines) process.stderr.write(`${line}\n`);
    if (body.version !== undefined) process.stderr.write(`reload rejected, keeping version ${body.version}\n`);
    return 1;
  }
  for (const warning of warnings) process.stdout.write(`warning: ${warning}\n`);
  return 0;
}
