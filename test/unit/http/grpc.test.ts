import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  encodeMessage,
  findGrpcType,
  formatTimeout,
  GRPC_STATUSES,
  GRPC_TIMEOUT,
  grpcOfHttp,
  httpOfGrpc,
  readStatus,
  readTimeout,
} from "../../../src/http/grpc.ts";
import { Head, NAME } from "../../../src/http/head.ts";

function headOf(name: string, ...values: string[]): Head {
  const head = new Head();
  const id = name === "content-type" ? NAME["content-type"] : NAME.other;
  for (const value of values) head.add(Buffer.from(name), Buffer.from(value, "latin1"), id);
  return head;
}

test("only application/grpc, with or without a message format, is gRPC", () => {
  const isGrpc = (type: string) => findGrpcType(headOf("content-type", type)) >= 0;
  for (const type of ["application/grpc", "application/grpc+proto", "APPLICATION/gRPC+json", "application/grpc;x=y"])
    assert.equal(isGrpc(type), true, type);
  for (const type of ["", "application/grp", "application/grpc-web", "application/grpc-web+proto", "application/grpcx"])
    assert.equal(isGrpc(type), false, type);
  assert.equal(findGrpcType(new Head()), -1);
});

test("timeouts are read strictly", () => {
  const read = (...values: string[]) => readTimeout(headOf("grpc-timeout", ...values));
  assert.equal(readTimeout(new Head()), -1);
  const valid = {
    "1H": 3_600_000,
    "2M": 120_000,
    "3S": 3000,
    "99999999m": 99_999_999,
    "5u": 0.005,
    "1n": 1e-6,
    "0S": 0,
  };
  for (const [text, ms] of Object.entries(valid)) assert.equal(read(text), ms, text);
  for (const text of ["", "S", "1", "123456789m", "1s", "-1S", "+1S", "1.5S", " 1S", "1 S", "0x1S", "1SS", "\xb9S"])
    assert.equal(read(text), -2, text);
  assert.equal(read("1S", "1S"), -2);
});

test("a written timeout is at most the given one, and loses no more than a thousandth of it", () => {
  fc.assert(
    fc.property(fc.double({ min: 1e-3, max: 3e11, noNaN: true }), (ms) => {
      const read = readTimeout(headOf("grpc-timeout", formatTimeout(ms)));
      assert.ok(read > 0 && read <= ms, `${ms} ${formatTimeout(ms)}`);
      assert.ok(ms < 1 || ms - read <= ms / 1000, `${ms} ${formatTimeout(ms)}`);
    }),
  );
  assert.equal(formatTimeout(1e-9), "1n");
  assert.equal(readTimeout(headOf(GRPC_TIMEOUT.toString(), formatTimeout(1e15))), 99_999_999 * 3_600_000);
});

test("statuses map as gRPC defines it", () => {
  const mapping = { 400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14, 200: 2, 500: 2, 418: 2 };
  for (const [http, grpc] of Object.entries(mapping)) assert.equal(grpcOfHttp(Number(http)), grpc, http);
  assert.deepEqual([0, 1, 4, 8, 13, 14].map(httpOfGrpc), [200, 499, 504, 429, 500, 503]);
  assert.equal(httpOfGrpc(GRPC_STATUSES), 500);
  const read = (text: string) => readStatus(headOf("grpc-status", text));
  assert.deepEqual(["0", "16", "17", "99", "-1", "x", ""].map(read), [0, 16, 17, 17, 17, 17, 17]);
  assert.equal(readStatus(new Head()), -1);
});

test("messages are percent-encoded", () => {
  assert.equal(encodeMessage(Buffer.from("a b%c\né~")).toString(), "a b%25c%0A%C3%A9~");
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      const encoded = encodeMessage(Buffer.from(bytes)).toString("latin1");
      assert.match(encoded, /^[\x20-\x7e]*$/);
      const decoded = encoded.replace(/%(..)/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
      assert.deepEqual(Buffer.from(decoded, "latin1"), Buffer.from(bytes));
    }),
  );
});
