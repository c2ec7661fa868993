import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { PART } from "../../../src/http/head.ts";
import { AccessLog, DEFAULT_ACCESS_LOG, meetsCondition } from "../../../src/observe/access-log.ts";
import { WORKER_CELLS } from "../../../src/observe/series.ts";
import { ThrottledLog } from "../../../src/observe/throttled-log.ts";
import { Exchange } from "../../../src/proxy/exchange.ts";

type Parts = { method?: Uint8Array; host?: Uint8Array; path?: Uint8Array; query?: Uint8Array };

function exchangeOf({ method, host, path, query }: Parts): Exchange {
  const x = new Exchange();
  const parts: [number, Uint8Array | undefined][] = [
    [PART.method, method],
    [PART.authority, host],
    [PART.path, path],
    [PART.query, query],
  ];
  for (const [part, bytes] of parts) if (bytes !== undefined) x.request.setPart(part, bytes, 0, bytes.length);
  x.keepOriginal();
  x.clientAddress = "127.0.0.1";
  x.listenerName = "web";
  x.response.status = 200;
  x.startedAt = performance.now();
  return x;
}

/** An access log that writes to a file, and the content of that file once it is closed. */
function openLog(t: TestContext): { log: AccessLog; cells: Float64Array; close(): Promise<string[]> } {
  const directory = mkdtempSync(join(tmpdir(), "sluice-log-"));
  const file = join(directory, "access.log");
  const fd = openSync(file, "a");
  t.after(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
  const cells = new Float64Array(WORKER_CELLS.size);
  const log = new AccessLog({ fd, cells });
  log.enabled = true;
  const close = async () => {
    await log.close();
    const text = readFileSync(file, "latin1");
    assert.ok(text === "" || text.endsWith("\n"));
    return text.split("\n").slice(0, -1);
  };
  return { log, cells, close };
}

const bytes = (text: string) => Buffer.from(text, "latin1");

test("a line has the request and its result", async (t) => {
  const { log, close } = openLog(t);
  const x = exchangeOf({ method: bytes("GET"), host: bytes("a.example:80"), path: bytes("/x"), query: bytes("y=1") });
  const started = Date.now();
  x.attempts = 2;
  x.bytesSent = 12;
  x.clusterName = "app";
  log.line(x, x.startedAt + 1.5);
  const [line, ...more] = await close();
  assert.deepEqual(more, []);
  const { time, ...rest } = JSON.parse(line!);
  assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.ok(Math.abs(Date.parse(time) - started) < 5000);
  assert.deepEqual(rest, {
    client: "127.0.0.1",
    method: "GET",
    host: "a.example:80",
    path: "/x?y=1",
    status: 200,
    bytes_received: 0,
    bytes_sent: 12,
    duration_ms: 1.5,
    listener: "web",
    route: "",
    cluster: "app",
    endpoint: "",
    attempts: 2,
    outcome: "ok",
    version: 0,
  });
});

test("for any bytes of a client an entry is one line of printable ASCII that decodes to those bytes", async (t) => {
  const { log, close } = openLog(t);
  const sent: Uint8Array[][] = [];
  const part = fc.uint8Array({ minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(part, part, part, (method, host, path) => {
      const x = exchangeOf({ method: method.subarray(0, 32), host, path });
      log.line(x, performance.now());
      sent.push([method.subarray(0, 32), host, path]);
    }),
  );
  const lines = await close();
  assert.equal(lines.length, sent.length);
  for (const [index, line] of lines.entries()) {
    assert.match(line, /^[\x20-\x7e]+$/);
    const read = JSON.parse(line);
    assert.deepEqual(
      [read.method, read.host, read.path].map(bytes),
      sent[index]!.map((part) => Buffer.from(part)),
    );
  }
});

test("a rejected empty head is logged without fields, in particular without another request's bytes", async (t) => {
  const { log, close } = openLog(t);
  const x = exchangeOf({ method: bytes("GET"), host: bytes("secret.example"), path: bytes("/secret") });
  x.request.end = 0;
  log.line(x, performance.now());
  assert.doesNotMatch((await close())[0]!, /secret/);
});

test("lines are written in order while others are added, and a disabled line is not written", async (t) => {
  const { log, close } = openLog(t);
  for (let i = 0; i < 2000; i++) {
    log.line(exchangeOf({ method: bytes("GET"), path: bytes(`/${i}`) }), performance.now());
    if (i % 500 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  log.enabled = false;
  log.line(exchangeOf({ path: bytes("/off") }), performance.now());
  assert.deepEqual(
    (await close()).map((line) => JSON.parse(line).path),
    Array.from({ length: 2000 }, (_, i) => `/${i}`),
  );
});

const WRITER = `
import { AccessLog } from ${JSON.stringify(new URL("../../../src/observe/access-log.ts", import.meta.url).href)};
import { Exchange } from ${JSON.stringify(new URL("../../../src/proxy/exchange.ts", import.meta.url).href)};
const cells = new Float64Array(8);
const log = new AccessLog({ fd: 1, cells });
log.enabled = true;
const x = new Exchange();
for (let i = 0; i < 20000; i++) log.line(x, performance.now());
process.stderr.write(String(cells[${WORKER_CELLS.logDropped}]) + "\\n");
process.on("message", async () => { await log.close(); process.disconnect(); });
`;

test("for a blocked reader at most 1 MiB is buffered; further lines are dropped and counted", async (t) => {
  const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER], {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  t.after(() => child.kill("SIGKILL"));
  const [text] = await once(child.stderr!, "data");
  const dropped = Number(String(text));
  assert.ok(dropped > 0);
  let out = "";
  child.stdout!.setEncoding("latin1").on("data", (chunk: string) => {
    out += chunk;
  });
  child.send("close");
  await once(child, "close");
  const lines = out.split("\n").slice(0, -1);
  for (const line of lines) JSON.parse(line);
  assert.equal(lines.length, 20000 - dropped);
});

test("the file changes with the configuration, and is opened again on request", async (t) => {
  const { log, close } = openLog(t);
  const directory = mkdtempSync(join(tmpdir(), "sluice-log-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const read = (file: string) => (existsSync(file) ? readFileSync(file, "latin1") : "");
  const write = async (file: string, method: string) => {
    log.configure({ ...DEFAULT_ACCESS_LOG, path: file });
    log.line(exchangeOf({ method: bytes(method) }), performance.now());
    while (!read(file).includes(`"${method}"`)) {
      log.tick(performance.now() + 1000);
      await nextTurn();
    }
  };
  const [first, second, rotated] = ["first", "second", "rotated"].map((name) => join(directory, name));
  await write(first!, "A");
  await write(second!, "B");
  renameSync(second!, rotated!);
  log.reopen();
  await write(second!, "C");
  assert.deepEqual(await close(), []);
  const methods = [first!, rotated!, second!].map((file) =>
    Array.from(read(file).matchAll(/"method":"(\w)"/g), ([, m]) => m),
  );
  assert.deepEqual(methods, [["A"], ["B"], ["C"]]);
});

test("lines that cannot be written are counted, and logged with the cause", async (t) => {
  const fd = openSync("/dev/full", "w");
  t.after(() => closeSync(fd));
  const cells = new Float64Array(WORKER_CELLS.size);
  const logged: Record<string, unknown>[] = [];
  const warnings = new ThrottledLog(
    (_level, _message, fields) => void logged.push(fields),
    () => performance.now(),
  );
  const log = new AccessLog({ fd, cells, warnings });
  log.enabled = true;
  log.line(exchangeOf({ method: bytes("GET") }), performance.now());
  await log.close();
  assert.equal(cells[WORKER_CELLS.logDropped], 1);
  assert.deepEqual(
    logged.map(({ event, file }) => [event, file]),
    [["log_dropped", "standard output"]],
  );
  assert.match(String(logged[0]!.cause), /ENOSPC/);
});

test("a closed reader is not a failure", async (t) => {
  const child = spawn(process.execPath, ["--input-type=module", "-e", WRITER], {
    stdio: ["ignore", "pipe", "pipe", "ipc"],
  });
  t.after(() => child.kill("SIGKILL"));
  child.stdout!.destroy();
  await once(child.stderr!, "data");
  child.send("close");
  const [code] = await once(child, "close");
  assert.equal(code, 0);
});

test("a request that took exactly slowerThan is logged, and one that took less is not", () => {
  const exchange = new Exchange();
  exchange.startedAt = 1000;
  const where = [{ statuses: [], grpc: 0, slowerThan: 100, share: 1 }];
  assert.deepEqual(
    [1099, 1099.999, 1100, 1101].map((now) => meetsCondition(where, exchange, now)),
    [false, false, true, true],
  );
});

test("a call is logged by its status of gRPC, and a request that is no call never", () => {
  const exchange = new Exchange();
  const meets = (grpc: number, status: number) => {
    exchange.grpcStatus = status;
    return meetsCondition([{ statuses: [], grpc, slowerThan: 0, share: 1 }], exchange, 0);
  };
  const unavailable = 1 << 14;
  assert.deepEqual(
    [14, 13, 0, 17, -1].map((status) => meets(unavailable, status)),
    [true, false, false, false, false],
  );
  assert.deepEqual(
    [0, 17, -1].map((status) => meets(1 | (1 << 17), status)),
    [true, true, false],
  );
});
