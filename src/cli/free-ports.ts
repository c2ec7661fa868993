/** Chooses free ports for generated configurations. */
import { once } from "node:events";
import { createServer } from "node:net";

/** Returns for each wanted port the first free one from there on, on loopback, without duplicates. @throws Error */
export async function chooseFreePorts<const T extends Readonly<Record<string, number>>>(
  wanted: T,
): Promise<Record<keyof T, number>> {
  const chosen: Record<string, number> = {};
  for (const [name, first] of Object.entries(wanted)) {
    let port = first;
    while (port <= MAX_PORT && (Object.values(chosen).includes(port) || !(await isFree(port)))) port++;
    if (port > MAX_PORT) throw new Error(`no port from ${first} on is free`);
    chosen[name] = port;
  }
  return chosen as Record<keyof T, number>;
}

const MAX_PORT = 65_535;

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
