/** Peers that are small programs of this directory, run by the same Node. */
import { join } from "node:path";
import { waitForPort } from "../programs.ts";
import { freePorts, type Site, type Work } from "../site.ts";
import type { Peer, Subject } from "../subject.ts";

async function startNode(site: Site, name: string, file: string, work: Work): Promise<Subject> {
  const [port = 0] = await freePorts(1);
  const { app, canary } = site.groups;
  const program = site.programs.start({
    name,
    run: [
      process.execPath,
      ...site.nodeFlags,
      join(import.meta.dirname, file),
      work,
      String(port),
      app.join(),
      canary.join(),
    ],
    core: site.proxyCore,
  });
  await waitForPort(program, port);
  return { name, port, pid: program.pid, close: program.close };
}

function peerOf(name: string, file: string, work: Work): Peer {
  return { name, work, start: (site) => startNode(site, name, file, work) };
}

export const floor = peerOf("floor", "../floor.ts", "plain");
export const floorChain = peerOf("floor", "../floor.ts", "chain");
export const nodeHttp = peerOf("node:http", "node-http.ts", "plain");
export const nodeHttpChain = peerOf("node:http", "node-http.ts", "chain");
export const undici = peerOf("undici", "undici.ts", "plain");
export const undiciChain = peerOf("undici", "undici.ts", "chain");
