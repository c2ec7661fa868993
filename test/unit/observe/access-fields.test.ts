import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import fc from "fast-check";
import { NAME, PART } from "../../../src/http/head.ts";
import { setTarget } from "../../../src/http/target.ts";
import { scanRequest } from "../../../src/http1/scan.ts";
import type { AccessLogPlan } from "../../../src/observe/access-fields.ts";
import { AccessLog, DEFAULT_ACCESS_LOG } from "../../../src/observe/access-log.ts";
import { ACCESS_FIELDS, DEFAULT_ACCESS_FIELDS, WORKER_CELLS } from "../../../src/observe/series.ts";
import { ERROR } from "../../../src/proxy/error.ts";
import { Exchange } from "../../../src/proxy/exchange.ts";

const LIMITS = { head: 64 * 1024, target: 16 * 1024, headers: 100 };

/** An exchange whose request was received in these bytes, and has ended. */
function exchangeOf(head: string | Buffer): Exchange {
  const x = new Exchange();
  const bytes = Buffer.from(head as string, "latin1");
  assert.equal(scanRequest(bytes, 0, bytes.length, x.request, LIMITS), bytes.length, x.request.problem);
  x.begun = true;
  x.keepOriginal();
  x.clientAddress = "192.0.2.7";
  x.startedAt = performance.now();
  x.headAt = x.startedAt + 1;
  x.response.status = 200;
  return x;
}

/** Writes the lines of these exchanges, and reads them back. */
async function write(t: TestContext, plan: Partial<AccessLogPlan>, xs: readonly Exchange[], took = 10) {
  const directory = mkdtempSync(join(tmpdir(), "sluice-log-"));
  const file = join(directory, "access.log");
  const fd = openSync(file, "a");
  t.after(() => {
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
  const log = new AccessLog({ fd, cells: new Float64Array(WORKER_CELLS.size) });
  log.configure({ ...DEFAULT_ACCESS_LOG, ...plan });
  for (const x of xs) log.line(x, x.startedAt + took);
  await log.close();
  return readFileSync(file, "latin1").split("\n").slice(0, -1);
}

const fieldsOf = (...sources: string[]): AccessLogPlan["fields"] => sources.map((source) => ({ key: source, source }));

async function fieldsWritten(t: TestContext, x: Exchange, ...sources: string[]): Promise<Record<string, unknown>> {
  const [line] = await write(t, { fields: fieldsOf(...sources) }, [x]);
  return JSON.parse(line!);
}

test("a header is logged as the client sent it, and as the endpoint got it", async (t) => {
  const x = exchangeOf("GET / HTTP/1.1\r\nHost: a\r\nX-User:  eve \r\nUser-Agent: curl\r\nReferer: /from\r\n\r\n");
  const name = Buffer.from("x-user");
  x.request.removeAt(x.request.find(name, 0, name.length));
  x.request.add(name, Buffer.from("alice"), NAME.other);
  x.request.add(Buffer.from("x-added"), Buffer.from("1"), NAME.other);
  x.response.add(Buffer.from("Server"), Buffer.from("nginx"), NAME.server);
  const fields = ["header:x-user", "upstream:x-user", "header:x-added", "upstream:x-added", "response:server"];
  assert.deepEqual(await fieldsWritten(t, x, ...fields, "response:x-none", "user_agent", "referer"), {
    "header:x-user": "eve",
    "upstream:x-user": "alice",
    "header:x-added": null,
    "upstream:x-added": "1",
    "response:server": "nginx",
    "response:x-none": null,
    user_agent: "curl",
    referer: "/from",
  });
});

test("identifiers, protocol, who responded, and the phases of the request's life", async (t) => {
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";
  const x = exchangeOf(
    `GET / HTTP/1.0\r\nHost: a\r\nX-Request-Id: r1\r\nTraceparent: 00-${trace}-00f067aa0ba902b7-01\r\n\r\n`,
  );
  x.attempts = 1;
  x.attempt.startedAt = x.headAt + 2;
  x.attempt.respondedAt = x.attempt.startedAt + 3;
  const read = await fieldsWritten(
    t,
    x,
    ...["request_id", "trace_id", "protocol", "scheme", "peer", "responded_by", "outcome"],
    ...["receive_ms", "request_ms", "upstream_ms", "response_ms", "duration_ms"],
  );
  assert.deepEqual(read, {
    request_id: "r1",
    trace_id: trace,
    protocol: "HTTP/1.0",
    scheme: "http",
    peer: "",
    responded_by: "",
    outcome: "ok",
    receive_ms: 1,
    request_ms: 2,
    upstream_ms: 3,
    response_ms: 4,
    duration_ms: 10,
  });
});

test("phases that a request did not reach are null; one that failed ends with the attempt", async (t) => {
  const phases = ["receive_ms", "request_ms", "upstream_ms", "response_ms"];
  const local = exchangeOf("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.deepEqual(Object.values(await fieldsWritten(t, local, ...phases)), [1, 9, null, null]);
  const failed = exchangeOf("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  failed.attempts = 1;
  failed.attempt.startedAt = failed.headAt + 2;
  failed.attempt.latency = 5000;
  assert.deepEqual(Object.values(await fieldsWritten(t, failed, ...phases)), [1, 2, 5, null]);
});

test("the request id may be that of the response; a traceparent that is too short has no trace id", async (t) => {
  const x = exchangeOf("GET / HTTP/1.1\r\nHost: a\r\nTraceparent: 00-4bf92f\r\n\r\n");
  assert.deepEqual(await fieldsWritten(t, x, "request_id", "trace_id"), { request_id: null, trace_id: null });
  x.response.add(Buffer.from("X-Request-Id"), Buffer.from("r2"), NAME.other);
  assert.deepEqual(await fieldsWritten(t, x, "request_id"), { request_id: "r2" });
});

test("the request is logged as it was received, not as plugins changed it", async (t) => {
  const x = exchangeOf("GET /a?b=1 HTTP/1.1\r\nHost: a.example\r\nReferer: https://r/\r\n\r\n");
  assert.ok(setTarget(x.request, Buffer.from("/changed?c=2"), 0, 12));
  x.request.setPart(PART.authority, Buffer.from("other"), 0, 5);
  const referer = Buffer.from("referer");
  x.request.removeAt(x.request.find(referer, 0, referer.length));
  x.request.add(referer, Buffer.from("https://changed/"), NAME.other);
  assert.deepEqual(await fieldsWritten(t, x, "host", "path"), { host: "a.example", path: "/a?b=1" });
  const [line] = await write(t, { format: "combined" }, [x]);
  assert.match(line!, /"GET \/a\?b=1 HTTP\/1\.1" 200 0 "https:\/\/r\/" "-"$/);
});

test("a plugin's own 503 is not the endpoint's", async (t) => {
  const [endpoint, plugin, busy] = [1, 2, 3].map(() => exchangeOf("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
  for (const x of [endpoint!, plugin!, busy!]) x.response.status = 503;
  plugin!.localStatus = 503;
  plugin!.respondedBy = "gate";
  busy!.localStatus = 503;
  busy!.error = ERROR.pluginBusy;
  busy!.respondedBy = "gate";
  const lines = await write(t, { fields: fieldsOf("status", "outcome", "responded_by") }, [endpoint!, plugin!, busy!]);
  assert.deepEqual(
    lines.map((line) => Object.values(JSON.parse(line))),
    [
      [503, "ok", ""],
      [503, "plugin_response", "gate"],
      [503, "plugin_busy", "gate"],
    ],
  );
});

test("keys can be configured; fields of plugins follow, and cannot replace configured keys", async (t) => {
  const x = exchangeOf("GET / HTTP/1.1\r\nHost: a\r\nX-T: 1\r\n\r\n");
  x.logFields = new Map([
    ["tenant", 'ä"\u2028'],
    ["t", "of the plugin"],
  ]);
  const fields = [
    { key: "t", source: "header:x-t" },
    { key: "s", source: "status" },
  ];
  const [line, empty] = [...(await write(t, { fields }, [x])), ...(await write(t, { fields: [] }, [x]))];
  assert.deepEqual(JSON.parse(line!), { t: "1", s: 200, tenant: 'ä"\u2028' });
  assert.match(line!, /^[\x20-\x7e]+$/);
  assert.deepEqual(JSON.parse(empty!), { tenant: 'ä"\u2028', t: "of the plugin" });
});

test("for any input, all fields together are one line of printable ASCII", async (t) => {
  const printable = fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) });
  const value = printable.filter((text) => !/[\x7f]/.test(text));
  const all = [...ACCESS_FIELDS, "header:x-a", "upstream:x-a", "response:x-a"];
  const xs: Exchange[] = [];
  fc.assert(
    fc.property(value, value, (a, agent) => {
      const x = exchangeOf(`GET /?q=%22 HTTP/1.1\r\nHost: a\r\nX-A: ${a}\r\nUser-Agent: ${agent}\r\n\r\n`);
      x.logFields = new Map([["field", a.repeat(20).slice(0, 1000)]]);
      xs.push(x);
    }),
  );
  const long = exchangeOf(`GET /${"x".repeat(5000)} HTTP/1.1\r\nHost: a\r\nX-A: ${"\xff".repeat(20_000)}\r\n\r\n`);
  const lines = [...(await write(t, { fields: fieldsOf(...all) }, [...xs, long]))];
  assert.equal(lines.length, xs.length + 1);
  for (const [index, x] of xs.entries()) {
    assert.match(lines[index]!, /^[\x20-\x7e]+$/);
    const read = JSON.parse(lines[index]!);
    assert.equal(read["header:x-a"], x.request.get("x-a"));
  }
  JSON.parse(lines.at(-1)!);
  const combined = await write(t, { format: "combined" }, xs);
  assert.match((await write(t, { format: "combined" }, [long]))[0]!, /^.{4000,5000}" 200 0 "-" "-"$/);
  for (const line of combined) {
    assert.match(
      line,
      /^192\.0\.2\.7 - - \[\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "(GET [^" ]+ HTTP\/1\.1)" 200 0 "-" "[^"]*"$/,
    );
    assert.match(line, /^[\x20-\x7e]+$/);
  }
});

test("a combined line is that of nginx: request line as received, user of Basic, referer, agent", async (t) => {
  const x = exchangeOf(
    `GET /a/../b?c=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ${btoa('bo"b:pw')}\r\nReferer: https://r/\r\nUser-Agent: a "b"\r\n\r\n`,
  );
  x.bytesSent = 12;
  const [line] = await write(t, { format: "combined" }, [x]);
  assert.equal(
    line!.replace(/\[.*?\]/, "[time]"),
    '192.0.2.7 - bo\\x22b [time] "GET /a/../b?c=1 HTTP/1.1" 200 12 "https://r/" "a \\x22b\\x22"',
  );
  const [, day, month, year, clock] = /\[(\d\d)\/(\w{3})\/(\d{4}):([\d:]{8}) \+0000\]/.exec(line!)!;
  assert.ok(Math.abs(Date.parse(`${day} ${month} ${year} ${clock} UTC`) - Date.now()) < 60_000, line!);
  const forger = exchangeOf(
    `GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ${btoa("root [01/Jan/2026] 200:pw")}\r\n\r\n`,
  );
  assert.match(
    (await write(t, { format: "combined" }, [forger]))[0]!,
    /^192\.0\.2\.7 - root\\x20\[01\/Jan\/2026\]\\x20200 \[[^ ]+ \+0000\] "GET \/ HTTP\/1\.1" 200 0 "-" "-"$/,
  );
});

test("where: all keys of a condition must hold, and one condition is enough", async (t) => {
  const make = (status: number) => {
    const x = exchangeOf("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    x.response.status = status;
    return x;
  };
  const classes = [{ least: 500, most: 599 }];
  const count = async (where: AccessLogPlan["where"], status: number, took = 10) =>
    (await write(t, { where }, [make(status)], took)).length;
  const failed = { statuses: classes, grpc: 0, slowerThan: 0, share: 1 };
  const slow = { statuses: [], grpc: 0, slowerThan: 100, share: 1 };
  assert.deepEqual([await count([failed], 500), await count([failed], 200)], [1, 0]);
  assert.deepEqual([await count([slow], 200, 101), await count([slow], 200, 99)], [1, 0]);
  assert.deepEqual(
    [await count([failed, slow], 200, 200), await count([failed, slow], 503), await count([failed, slow], 200)],
    [1, 1, 0],
  );
  assert.equal(await count([{ ...failed, slowerThan: 100 }], 500), 0);
  assert.equal(await count([{ ...failed, share: 0 }], 500), 0);
  const half = [{ statuses: [], grpc: 0, slowerThan: 0, share: 0.5 }];
  const lines = await write(
    t,
    { where: half, fields: fieldsOf("status") },
    Array.from({ length: 2000 }, () => make(200)),
  );
  assert.ok(lines.length > 800 && lines.length < 1200);
});

test("without a configuration a line has the default fields", () => {
  assert.deepEqual(DEFAULT_ACCESS_LOG.fields, fieldsOf(...DEFAULT_ACCESS_FIELDS));
});
