import { createServer } from "node:net";

// Below the range of ephemeral ports, so that no outgoing connection takes the port in the meantime.
const FIRST = 10_240;
const BLOCK = 50;
const BLOCKS = 400;

/** The next port of this process's block, and the end of the block. */
let next = 0;
let end = 0;

/** A free loopback port, for programs with a port number as argument. No other test process gets the same one. */
export async function findFreePort(): Promise<number> {
  for (;;) {
    if (next === end) await takeBlock();
    const port = next++;
    if (await listens(port, false)) return port;
  }
}

/** Takes a block of ports by listening on its first one until the process ends. */
async function takeBlock(): Promise<void> {
  for (let block = Math.floor(Math.random() * BLOCKS); ; block = (block + 1) % BLOCKS) {
    const first = FIRST + block * BLOCK;
    if (!(await listens(first, true))) continue;
    next = first + 1;
    end = first + BLOCK;
    return;
  }
}

/** Whether the port was free. `keeps`: it is kept until the process ends. */
async function listens(port: number, keeps: boolean): Promise<boolean> {
  const server = createServer();
  const free = await new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false)).listen(port, "127.0.0.1", () => resolve(true));
  });
  if (keeps) server.unref();
  else await new Promise((resolve) => server.close(resolve));
  return free;
}
