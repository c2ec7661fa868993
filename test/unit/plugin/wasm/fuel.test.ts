/** How much fuel a call has: `limits.fuel`, and more for each byte that it can read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { FUEL, HOOK, HOOKS, type Hook } from "../../../../src/abi/abi.ts";
import { fuelFor } from "../../../../src/abi/prices.ts";
import { scanRequest, scanResponse } from "../../../../src/http1/scan.ts";
import { OUTCOME } from "../../../../src/plugin/host/host.ts";
import { buildModule } from "../../../../src/plugin/wasm/build.ts";
import { Exchange } from "../../../../src/proxy/exchange.ts";
import { type FilteredBody, requestBody, responseBody } from "../../../../src/proxy/filtered-body.ts";
import { compileWat, MEMORY, makeView, planOf, TestHost } from "../kit.ts";

const SPINS = buildModule(
  compileWat(`(module (memory (export "memory") 1) (func (export "sluice_abi") (result i32) i32.const 1)
    (func $spin (param i32 i32) (result i32) (loop br 0) unreachable)
    ${HOOKS.filter((hook) => hook !== "configure")
      .map((hook) => `(export "${hook}" (func $spin))`)
      .join(" ")})`),
  { memory: MEMORY },
);
const REQUEST = "GET /path?a=1 HTTP/1.1\r\nhost: example.com\r\nx-long: 0123456789\r\n\r\n";
const RESPONSE = "HTTP/1.1 200 OK\r\ncontent-length: 77000\r\n\r\n";
const BASE = 5000;

function makeExchange(response = false): Exchange {
  const exchange = new Exchange();
  const limits = { head: 65_536, target: 8192, headers: 100 };
  assert.ok(scanRequest(Buffer.from(REQUEST), 0, REQUEST.length, exchange.request, limits) > 0);
  if (response) assert.ok(scanResponse(Buffer.from(RESPONSE), 0, RESPONSE.length, exchange.response, false) > 0);
  return exchange;
}

function fill({ chunk }: FilteredBody, bytes: number): void {
  chunk.set(Buffer.alloc(bytes + 10), 5, 5 + bytes, true);
}

/** The fuel of one call of a guest that loops, and the message of its failure. */
function spend(hook: Hook, exchange: Exchange, fuel = BASE): { fuel: number; message: string } {
  const host = new TestHost();
  const { instances } = host.prepare([SPINS], [planOf({ fuel })]);
  if (hook === "pick") instances[0]!.pick(exchange, makeView(1));
  else assert.equal(instances[0]!.call(HOOK[hook], exchange), OUTCOME.failed);
  return { fuel: host.fuel(hook), message: host.lines[0]!.message };
}

test("the fuel of a call grows with the bytes of the heads and of the chunk", () => {
  const perByte = (seen: number) => BASE + FUEL.perByte * seen;
  for (const hook of ["request_head", "route", "pick"] as const)
    assert.equal(spend(hook, makeExchange()).fuel, perByte(REQUEST.length), hook);
  const both = REQUEST.length + RESPONSE.length;
  for (const hook of ["response_head", "log"] as const)
    assert.equal(spend(hook, makeExchange(true)).fuel, perByte(both), hook);
  for (const size of [0, 1, 77_013, 1_048_576]) {
    const request = makeExchange();
    fill(requestBody(request), size);
    fill(responseBody(request), 3);
    assert.equal(spend("request_body", request).fuel, perByte(REQUEST.length + size));
    const response = makeExchange(true);
    fill(responseBody(response), size);
    fill(requestBody(response), 3);
    assert.equal(spend("response_body", response).fuel, perByte(both + size));
  }
});

test("headers added by a plugin give no fuel, nor do those of another exchange", () => {
  const exchange = makeExchange();
  exchange.request.append(Buffer.alloc(50_000, 97), 0, 50_000);
  assert.equal(spend("request_head", exchange).fuel, BASE + FUEL.perByte * REQUEST.length);
  exchange.request.reset();
  assert.equal(spend("request_head", exchange).fuel, BASE);
});

test("no call has more fuel than a guest can count", () => {
  assert.equal(fuelFor(2_000_000_000, 1_000_000_000), 2 ** 31 - 1);
});

test("a failure reports the fuel spent, the hook, the bytes and the limit", () => {
  const exchange = makeExchange();
  fill(requestBody(exchange), 1000);
  const seen = REQUEST.length + 1000;
  const spent = `${BASE + FUEL.perByte * seen} units for ${seen} bytes`;
  assert.equal(
    spend("request_body", exchange).message,
    `plugin test failed in request_body: the fuel for one call is used up: ${spent} (limits.fuel: ${BASE}, and ${FUEL.perByte} for each byte)`,
  );
});

test("start-up code and configure have more fuel for each byte of the configuration", () => {
  const spins = (name: string) =>
    buildModule(
      compileWat(`(module (memory (export "memory") 1) (func (export "sluice_abi") (result i32) i32.const 1)
        (func (export "pick") (param i32 i32) (result i32) i32.const 0)
        (func (export "${name}") ${name === "configure" ? "(param i32 i32) (result i32)" : ""} (loop br 0) unreachable))`),
      { memory: MEMORY },
    );
  const config = { keys: ["ü".repeat(50), 1, null, 12n] };
  const bytes = Buffer.byteLength(
    JSON.stringify({ ...config, keys: config.keys.map((key) => (typeof key === "bigint" ? "12" : key)) }),
  );
  for (const name of ["_initialize", "configure"]) {
    const units = FUEL.start + FUEL.perConfigByte * bytes;
    assert.throws(
      () => new TestHost().prepare([spins(name)], [planOf({ config })]),
      new RegExp(`the fuel for one call is used up: ${units} units for ${bytes} bytes of configuration`),
    );
  }
});
