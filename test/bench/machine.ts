/** Where and with what a run was made. */
import { execFileSync } from "node:child_process";
import { cpus, loadavg, release, totalmem } from "node:os";

const VERSIONS: readonly (readonly [name: string, command: string, pattern: RegExp])[] = [
  ["nginx", "nginx -v 2>&1", /nginx\/(\S+)/],
  ["HAProxy", "haproxy -v", /version (\S+)/],
  ["Caddy", "caddy version", /^v?(\S+)/],
  ["wrk", "wrk -v 2>&1", /^wrk (?:debian\/)?(\S+)/],
];

export function describeMachine(): string {
  const cores = cpus();
  const memory = (totalmem() / 1024 ** 3).toFixed(0);
  const programs = VERSIONS.map(([name, command, pattern]) => `${name} ${readVersion(command, pattern)}`);
  const busy = loadavg()[0]?.toFixed(2);
  return `${cores.length} × ${cores[0]?.model.trim()}, ${memory} GiB, Linux ${release()}; Node ${process.versions.node}, ${programs.join(", ")}; load average before: ${busy}`;
}

function readVersion(command: string, pattern: RegExp): string {
  // Some of these end with a code other than 0 after they have printed their version.
  const printed = execFileSync("sh", ["-c", `${command} || true`], { encoding: "utf8" });
  return pattern.exec(printed)?.[1] ?? "unknown";
}
