import assert from "node:assert/strict";
import { test } from "node:test";
import { WantedCertificates } from "../../../src/worker/wanted-certificates.ts";

function make() {
  const requested: string[] = [];
  const resumed: string[] = [];
  const wanted = new WantedCertificates((name) => requested.push(name));
  const waiting = (label: string) => ({ resume: () => resumed.push(label) });
  return { wanted, requested, resumed, waiting };
}

test("a name is requested once; all of its handshakes resume when it is decided", () => {
  const { wanted, requested, resumed, waiting } = make();
  const gone = waiting("gone");
  assert.ok(wanted.wait("a", waiting("first")));
  assert.ok(wanted.wait("a", gone));
  assert.ok(wanted.wait("a", waiting("second")));
  wanted.cancel("a", gone);
  assert.deepEqual([requested, resumed], [["a"], []]);
  wanted.decided("a", null);
  assert.deepEqual(resumed, ["first", "second"]);
  assert.ok(wanted.wait("a", waiting("third")));
  assert.deepEqual(requested, ["a", "a"]);
});

test("a denied name is not requested again until its time", () => {
  const { wanted, requested, waiting } = make();
  wanted.wait("a", waiting("first"));
  wanted.decided("a", Date.now() + 60_000);
  assert.equal(wanted.wait("a", waiting("second")), false);
  wanted.decided("a", Date.now() - 1);
  assert.ok(wanted.wait("a", waiting("third")));
  assert.equal(requested.length, 2);
});

test("handshakes that wait are bounded, and names too, also those whose clients have gone", () => {
  const { wanted, requested, waiting } = make();
  for (let i = 0; i < 128; i++) assert.ok(wanted.wait("a", waiting("")));
  assert.equal(wanted.wait("a", waiting("")), false);
  assert.equal(wanted.wait("b", waiting("")), false);
  wanted.decided("a", null);
  for (let i = 0; i < 1000; i++) {
    const one = waiting("");
    if (wanted.wait(`name-${i}`, one)) wanted.cancel(`name-${i}`, one);
  }
  assert.equal(requested.length, 1 + 128);
  for (let i = 0; i < 128; i++) wanted.decided(`name-${i}`, Date.now() + 60_000);
  assert.ok(wanted.wait("c", waiting("")));
});

test("of many denied names the oldest are forgotten", () => {
  const { wanted, waiting } = make();
  for (let i = 0; i < 2001; i++) wanted.decided(`name-${i}`, Date.now() + 60_000);
  assert.ok(wanted.wait("name-0", waiting("")));
  assert.equal(wanted.wait("name-1", waiting("")), false);
});
