import { createServer } from "node:net";

// Below the range that systems hand out by themselves, so that no one else takes the port in the meantime.
const FIRST = 10_240;
const COUNT = 20_000;
let next = Math.floor(Math.random() * COUNT);

/** A free loopback port, for programs that take a port number. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    const port = FIRST + (next++ % COUNT);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
    });
    await new Promise((resolve) => server.close(resolve));
    if (free) return port;
  }
}
