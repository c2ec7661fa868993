/**
 * SIGUSR1 reopens log files, and never opens Node's inspector, not even before the program has started; and SIGHUP does
 * not end a program that starts.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { startUpstream } from "./peers.ts";
import { type Ports, simpleConfig, startSluice, testInUsualMode } from "./program.ts";

/** Whether SIGUSR1 would not end the process: it is blocked or has a handler. Node does this as soon as it runs. */
function isReadyForSignal(pid: number): boolean {
  const masks = readFileSync(`/proc/${pid}/status`, "utf8").matchAll(/^Sig(?:Blk|Cgt):\s*(\w+)$/gm);
  return Array.from(masks).some(([, mask]) => (BigInt(`0x${mask}`) & (1n << 9n)) !== 0n);
}

/** TCP ports at which a process listens. */
function listPorts(pid: number): number[] {
  const own = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      own.add(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? "");
    } catch {
      // Closed meanwhile.
    }
  }
  const ports: number[] = [];
  for (const line of readFileSync(`/proc/${pid}/net/tcp`, "utf8").trim().split("\n").slice(1)) {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    if (state === "0A" && own.has(inode)) ports.push(Number.parseInt(local.split(":")[1]!, 16));
  }
  return [...new Set(ports)].sort((a, b) => a - b);
}

testInUsualMode("no-signal-opens-the-inspector: SIGUSR1 from the start on", async (t) => {
  if (process.platform !== "linux") return t.skip("reads /proc");
  const upstream = await startUpstream(t);
  let hangup = false;
  let address = 0;
  const config = (ports: Ports) => {
    address = ports.admin;
    return simpleConfig(upstream.port, { rest: "log: { level: debug }" })(ports);
  };
  let signals: NodeJS.Timeout | undefined;
  const onSpawn = (pid: number) => {
    signals = setInterval(() => {
      if (isReadyForSignal(pid)) process.kill(pid, "SIGUSR1");
      // The admin interface listens, and nothing serves yet.
      if (hangup || !listPorts(pid).includes(address)) return;
      process.kill(pid, "SIGHUP");
      hangup = true;
    }, 2);
  };
  const sluice = await startSluice(t, config, { onSpawn }).finally(() => clearInterval(signals));
  const expected = [sluice.ports.web, sluice.ports.admin].sort((a, b) => a - b);
  assert.deepEqual(listPorts(sluice.pid), expected);
  assert.ok(hangup, "SIGHUP while it starts");
  await sluice.logged(({ reason }) => reason === "SIGHUP", "the reload that was asked for");

  const count = () => sluice.lines.filter(({ msg }) => msg === "log files reopened").length;
  const before = count();
  sluice.kill("SIGUSR1");
  await sluice.logged(() => count() > before, "that log files were opened again");
  assert.deepEqual(listPorts(sluice.pid), expected);
  assert.equal((await fetch(sluice.url)).status, 200);
});
