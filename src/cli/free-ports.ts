/** Ports for what the command line writes: what it makes is to run beside what runs already. */
import { once } from "node:events";
import { createServer } from "node:net";

/** For each port that is wanted the first from there on that is free on loopback, none of them twice. */
export async function chooseFreePorts<const T extends Readonly<Record<string, number>>>(
  wanted: T,
): Promise<Record<keyof T, number>> {
  const chosen: Record<string, number> = {};
  for (const [name, first] of Object.entries(wanted)) {
    let port = first;
    while (port <= MOST && (Object.values(chosen).includes(port) || !(await isFree(port)))) port++;
    if (port > MOST) throw new Error(`no port from ${first} on is free`);
    chosen[name] = port;
  }
  return chosen as Record<keyof T, number>;
}

const MOST = 65_535;

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen({ port, host: "127.0.0.1", exclusive: true }), "listening");
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}
