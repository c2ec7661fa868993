/** The configurations of docs/strategies.md, run as they are printed, behave as documented. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { atEnd, type LiveTest, type Program, startSluice, testInUsualMode } from "./program.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/strategies.md"), "utf8");
const files = Array.from(page.matchAll(/^```yaml\n(.*?)^```$/gms), ([, text]) => text!);

/** Endpoints that respond with their number: the last one after some milliseconds. */
async function startEndpoints(t: LiveTest): Promise<number[]> {
  const ports: number[] = [];
  for (const number of [1, 2, 3]) {
    const server = createServer((_, response) => {
      setTimeout(() => response.end(`${number}`), number === 3 ? 40 : 0);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    atEnd(t, () => void server.close());
    ports.push((server.address() as AddressInfo).port);
  }
  return ports;
}

const start = (t: LiveTest, file: number, ports: readonly number[]): Promise<Program> =>
  startSluice(t, ({ web }) =>
    files[file]!.replace("127.0.0.1:8080", `127.0.0.1:${web}`).replace(
      /127\.0\.0\.1:900(\d)/g,
      (_, number) => `127.0.0.1:${ports[number - 1]}`,
    ),
  );

const ask = async (sluice: Program, user?: string): Promise<string> =>
  (await fetch(sluice.url, { headers: user === undefined ? {} : { "x-user": user } })).text();

testInUsualMode("strategies-docs: a key has one endpoint, and a popular one does not overload it", async (t) => {
  const sluice = await start(t, 0, await startEndpoints(t));
  const users = Array.from({ length: 12 }, (_, i) => `user${i}`);
  const first: string[] = [];
  for (const user of users) first.push(await ask(sluice, user));
  for (const [i, user] of users.entries()) assert.equal(await ask(sluice, user), first[i], user);
  assert.ok(new Set(first).size > 1, first.join(" "));
  const crowd = await Promise.all(Array.from({ length: 60 }, () => ask(sluice, "ada")));
  assert.ok(new Set(crowd).size > 1, crowd.join(""));
  const without = await Promise.all(Array.from({ length: 60 }, () => ask(sluice)));
  assert.equal(new Set(without).size, 3, without.join(""));
});

for (const [file, name] of [
  [1, "fastest-response"],
  [2, "adaptive"],
] as const) {
  testInUsualMode(`strategies-docs: ${name} prefers endpoints that respond fast`, async (t) => {
    const sluice = await start(t, file, await startEndpoints(t));
    const counts: Record<string, number> = { 1: 0, 2: 0, 3: 0 };
    for (let i = 0; i < 100; i++) counts[await ask(sluice)]!++;
    assert.ok(counts[1]! > 20 && counts[2]! > 20 && counts[3]! < 20, JSON.stringify(counts));
  });
}
