import assert from "node:assert/strict";
import crypto from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { test } from "node:test";
import { makeExchange } from "../../../src/testing/messages.ts";
import { makeTracer } from "../../../src/trace/tracer.ts";

const TOKEN = "a-token-that-nobody-guesses";
const plan = { header: "x-sluice-debug", token: TOKEN, sample: 0, keep: 1, mask: [] };

test("tokens are compared in constant time: all bytes of two texts of one length", (t) => {
  const compare = t.mock.method(crypto, "timingSafeEqual");
  syncBuiltinESMExports();
  t.after(() => {
    compare.mock.restore();
    syncBuiltinESMExports();
  });
  const tracer = makeTracer(plan, () => {})!;
  for (const value of [TOKEN, `${TOKEN}x`, TOKEN.slice(0, -1), "x".repeat(TOKEN.length), "x", ""]) {
    const x = makeExchange({ headers: { "x-sluice-debug": value } });
    const before = compare.mock.callCount();
    tracer.consider(x);
    assert.equal(x.trace !== null, value === TOKEN, value);
    assert.equal(compare.mock.callCount(), before + 1);
    const lengths = compare.mock.calls[before]!.arguments.map(({ byteLength }) => byteLength);
    assert.deepEqual(lengths, [32, 32], value);
  }
});

test("without a configured token no header is accepted as one, not even an empty header", () => {
  assert.equal(
    makeTracer({ ...plan, token: "" }, () => {}),
    null,
  );
  const tracer = makeTracer({ ...plan, token: "", sample: Number.MIN_VALUE }, () => {})!;
  for (const value of ["", TOKEN]) {
    const x = makeExchange({ headers: { "x-sluice-debug": value } });
    tracer.consider(x);
    assert.equal(x.trace, null);
    assert.equal(x.request.get("x-sluice-debug"), value);
  }
});
