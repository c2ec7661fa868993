/** The protocol is the same for every division of the first bytes into reads, and all bytes reach its handler. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PREFACE } from "../../../src/http2/frames.ts";
import type { AcceptedConnection, Port, ServerHandler } from "../../../src/proxy/port.ts";
import { ProtocolStart } from "../../../src/worker/protocol-start.ts";

const TARGET = 64;

/** Feeds the chunks; the protocol and the bytes that its handler received. */
function detect(
  chunks: readonly Buffer[],
  last: "more" | "time" | "end" = "more",
): { protocol: string; bytes: string } {
  const found = { protocol: "", bytes: "" };
  const connection = { alive: true, deadline: 0, arm: () => {} } as unknown as AcceptedConnection;
  const plan = { timeouts: { head: 1 }, limits: { target: TARGET }, relay: { detect: 1 } };
  const port = { idleLimit: (limit: number) => limit, state: { plan } } as unknown as Port;
  const make = (protocol: string): ServerHandler => {
    assert.equal(found.protocol, "", "once");
    found.protocol = protocol;
    const receive = (bytes: Buffer, start: number, end: number) => {
      found.bytes += bytes.toString("latin1", start, end);
    };
    return { receive, timedOut() {}, ended() {} } as unknown as ServerHandler;
  };
  const makers = {
    makeHttp: (_accepted: unknown, isHttp2: boolean) => make(isHttp2 ? "http2" : "http1"),
    makeTcp: () => make("tcp"),
    internal: (error: unknown) => assert.fail(String(error)),
  };
  connection.handler = new ProtocolStart({ connection, port, choice: null, passed: null }, makers, true);
  for (const chunk of chunks)
    connection.handler.receive(Buffer.concat([Buffer.from("xx"), chunk]), 2, 2 + chunk.length);
  if (last === "time") connection.handler.timedOut();
  if (last === "end") connection.handler.ended();
  return found;
}

const CASES: readonly (readonly [bytes: string, protocol: string])[] = [
  ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "http1"],
  ["GET / HTTP/1.0\n", "http1"],
  ["M-SEARCH * HTTP/1.1\r\n", "http1"],
  ["PRI * HTTP/2.0\r\n\r\nXX", "http1"],
  [`GET /${"a".repeat(200)}`, "http1"],
  [`${PREFACE.toString("latin1")}\0\0\0`, "http2"],
  ["PING\r\n", "tcp"],
  ["SET a b\r\n", "tcp"],
  ["GET /\r\n", "tcp"],
  ["GET / HTTP/1.1 \r\n", "tcp"],
  [" GET / HTTP/1.1\r\n", "tcp"],
  ["GET\t/ HTTP/1.1\r\n", "tcp"],
  ["\r\nGET / HTTP/1.1\r\n", "tcp"],
  [`${"A".repeat(33)} / HTTP/1.1\r\n`, "tcp"],
  ["\0", "tcp"],
];

test("each protocol is recognised by its first bytes, however they are divided", () => {
  for (const [text, protocol] of CASES)
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 30 }), (cuts) => {
        const at = [0, ...cuts.toSorted((a, b) => a - b), text.length];
        const chunks = at.slice(1).map((end, i) => Buffer.from(text.slice(at[i], end), "latin1"));
        assert.deepEqual(
          detect(chunks.filter((chunk) => chunk.length > 0)),
          { protocol, bytes: text },
          JSON.stringify(text),
        );
      }),
      { numRuns: 50 },
    );
});

test("without a decision in time, a method and its space are HTTP, all else TCP; nothing is lost", () => {
  for (const last of ["time", "end"] as const)
    for (const [text, protocol] of [
      ["", "tcp"],
      ["GE", "tcp"],
      ["GET ", "http1"],
      ["GET /a", "http1"],
      ["PRI * HT", "tcp"],
      ["HELO", "tcp"],
    ] as const)
      assert.deepEqual(
        detect(text === "" ? [] : [Buffer.from(text)], last),
        { protocol, bytes: text },
        `${text} ${last}`,
      );
});

test("any bytes are of one protocol, and arrive whole", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 20 }), (parts) => {
      const chunks = parts.map((part) => Buffer.from(part));
      const { bytes } = detect(chunks, "time");
      assert.equal(bytes, Buffer.concat(chunks).toString("latin1"));
    }),
  );
});
