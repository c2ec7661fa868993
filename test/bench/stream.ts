/** Memory while a large body flows through, to a client that stops reading now and then. */
import { connect } from "node:net";
import { join } from "node:path";
import { setInterval } from "node:timers";
import type { Options } from "./options.ts";
import { startSluice } from "./peers/sluice.ts";
import { readRss, readTimes, waitForPort } from "./programs.ts";
import { freePorts, type Site } from "./site.ts";
import { renderTable } from "./table.ts";

const PAUSES = 4;
const PAUSE = 500;
const SAMPLE = 50;

export async function runStream(site: Site, options: Options): Promise<string> {
  const [port = 0] = await freePorts(1);
  const run = [process.execPath, join(import.meta.dirname, "generator.ts"), String(port), String(options.size)];
  const generator = site.programs.start({ name: "generator", run, core: site.loadCore });
  await waitForPort(generator, port);
  const settings = { name: "Sluice", listener: "cluster: app", groups: { app: [`127.0.0.1:${port}`] } };
  const subject = await startSluice(site, settings);
  const before = readRss(subject.pid);
  let most = before;
  const sampling = setInterval(() => {
    most = Math.max(most, readRss(subject.pid));
  }, SAMPLE);
  try {
    const spent = readTimes(subject.pid).ran;
    const received = await download(subject.port, options.size);
    if (received !== options.size) throw new Error(`Sluice: ${received} of ${options.size} bytes came`);
    const gibibytes = options.size / 1024 ** 3;
    const cpu = (readTimes(subject.pid).ran - spent) / 1000 / gibibytes;
    const cells = [before, most].map((bytes) => (bytes / 1024 ** 2).toFixed(1));
    const head = ["proxy", "GiB", "RSS before, MiB", "RSS at most, MiB", "ms of processor time a GiB"];
    const table = renderTable(head, [["Sluice", gibibytes.toFixed(0), ...cells, cpu.toFixed(0)]]);
    return `${table}\n\nThe client stops reading ${PAUSES} times for ${PAUSE} ms.`;
  } finally {
    clearInterval(sampling);
    await Promise.all([subject.close(), generator.close()]);
  }
}

/** Reads one response; returns the bytes of its body. */
function download(port: number, size: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let body = -1;
    let pauses = 0;
    const socket = connect(port, "127.0.0.1");
    socket.on("data", (bytes: Buffer) => {
      const end = body < 0 ? bytes.indexOf("\r\n\r\n") + 4 : 0;
      body = Math.max(body, 0) + bytes.length - end;
      if (body >= size) socket.end();
      else if (body > ((pauses + 1) * size) / (PAUSES + 1)) {
        pauses++;
        socket.pause();
        setTimeout(() => socket.resume(), PAUSE);
      }
    });
    socket.once("error", reject);
    socket.once("close", () => resolve(body));
    socket.write("GET / HTTP/1.1\r\nHost: stream.example\r\n\r\n");
  });
}
