/** The built-in rate-limit, in the real host with a separate store and clock. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { HOOK } from "../../src/abi/abi.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { fieldsOf } from "../unit/plugin/kit.ts";
import { builtIn, exchange, type Loaded, load } from "./plugin-harness.ts";

const START = 1_800_000_000_000;

/** A loaded rate limit with a settable clock. */
class Limit {
  time = START;
  readonly loaded: Loaded;

  constructor(...configs: object[]) {
    this.loaded = load(builtIn("rate-limit"), { configs, namespaces: ["rate-limit"], now: () => this.time });
  }

  send({ from = "192.0.2.1", head = "GET / HTTP/1.1\nHost: a", use = 0 } = {}): Exchange {
    const on = exchange(head, "HTTP/1.1 200 OK");
    on.clientAddress = from;
    for (const hook of [HOOK.request_head, HOOK.response_head]) {
      const outcome = this.loaded.instances[use]!.call(hook, on);
      assert.notEqual(outcome, OUTCOME.failed, this.loaded.reports.join("\n"));
      // As in the proxy: a plugin that responds does not see its own response.
      if (on.localStatus !== 0) break;
    }
    return on;
  }

  /** The number of `count` requests that pass. */
  passes(count: number, request = {}): number {
    let passed = 0;
    for (let i = 0; i < count; i++) if (this.send(request).localStatus === 0) passed++;
    return passed;
  }
}

const responseHeader = (on: Exchange, name: string) => on.response.get(name);

function refuses(config: object, message: RegExp): void {
  assert.throws(() => new Limit(config).loaded.dispose(), { message });
}

describe("rate-limit", () => {
  test("a worker whose clock is behind another's admits as much", () => {
    const limit = new Limit({ quota: 20, window: 36_000 });
    assert.equal(limit.passes(10), 10);
    limit.time -= 50;
    assert.equal(limit.passes(20), 10);
  });

  test("admits the quota, and then one request for each part of the window", () => {
    const limit = new Limit({ quota: 10, window: 5 });
    assert.equal(limit.passes(15), 10);
    limit.time += 499;
    assert.equal(limit.passes(2), 0);
    limit.time += 1;
    assert.equal(limit.passes(3), 1);
    limit.time += 2000;
    assert.equal(limit.passes(9), 4);
    limit.time += 3_600_000;
    assert.equal(limit.passes(20), 10);
  });

  test("never admits more than the quota and its burst, for any times of arrival", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 10 }),
        fc.array(fc.nat(3000), { minLength: 1, maxLength: 80 }),
        (quota, window, gaps) => {
          const limit = new Limit({ quota, window });
          // The algorithm in one line, on exact numbers.
          let full = 0;
          for (const gap of gaps) {
            limit.time += gap;
            const after = Math.max(full, limit.time) + (window * 1000) / quota;
            const passes = after - limit.time <= window * 1000 + 1e-3;
            if (passes) full = after;
            assert.equal(limit.send().localStatus, passes ? 0 : 429);
          }
          limit.loaded.dispose();
        },
      ),
      { numRuns: 60 },
    );
  });

  test("returns the policy, the remaining quota, and when to retry", () => {
    const limit = new Limit({ quota: 4, window: 60, name: "minute" });
    const first = limit.send();
    assert.equal(responseHeader(first, "ratelimit-policy"), '"minute";q=4;w=60');
    assert.equal(responseHeader(first, "ratelimit"), '"minute";r=3;t=15');
    limit.passes(2);
    assert.equal(responseHeader(limit.send(), "ratelimit"), '"minute";r=0;t=60');
    limit.time += 5000;
    const refused = limit.send();
    assert.equal(refused.localStatus, 429);
    assert.equal(responseHeader(refused, "retry-after"), "10");
    assert.equal(responseHeader(refused, "ratelimit"), '"minute";r=0;t=55');
    assert.equal(responseHeader(refused, "content-type"), "application/problem+json");
    const problem = JSON.parse(String(refused.localBody));
    assert.deepEqual([problem.status, problem["violated-policies"]], [429, ["minute"]]);
    assert.match(problem.type, /#quota-exceeded$/);
    limit.time += 10_000;
    assert.equal(limit.passes(2), 1);
  });

  test("admits no more than the burst at once", () => {
    const limit = new Limit({ quota: 60, window: 60, burst: 5 });
    assert.equal(limit.passes(60), 5);
    limit.time += 3000;
    assert.equal(limit.passes(60), 3);
  });

  test("counts by client address, IPv6 by its /64, and IPv4 in IPv6 as IPv4", () => {
    const limit = new Limit({ quota: 1, window: 60 });
    for (const from of ["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"])
      assert.equal(limit.passes(2, { from }), 1, from);
    for (const from of ["::ffff:192.0.2.1", "2001:db8::2", "2001:db8::ffff:1:2:3"])
      assert.equal(limit.passes(1, { from }), 0, from);
    const wide = new Limit({ quota: 1, window: 60, v4: 24, v6: 48 });
    assert.equal(wide.passes(1, { from: "198.51.100.1" }) + wide.passes(1, { from: "198.51.100.2" }), 1);
    assert.equal(wide.passes(1, { from: "2001:db8:0:1::1" }) + wide.passes(1, { from: "2001:db8:0:2::1" }), 1);
  });

  test("counts by the configured keys, also several together", () => {
    const cases: [key: string | string[], one: string, other: string][] = [
      ["header:x-api-key", "X-Api-Key: a", "X-Api-Key: b"],
      ["cookie:sid", "Cookie: a=1; sid=a", "Cookie: a=1; sid=b"],
      [["client-address", "header:x-a"], "X-A: 1", "X-A: 2"],
      [["header:x-a", "header:x-b"], "X-A: 1\nX-B: 2", "X-A: 12"],
    ];
    for (const [key, one, other] of cases) {
      const limit = new Limit({ quota: 1, window: 60, key });
      const head = (field: string) => ({ head: `GET / HTTP/1.1\nHost: a\n${field}` });
      assert.deepEqual(
        [limit.passes(2, head(one)), limit.passes(2, head(other)), limit.passes(1, head(one))],
        [1, 1, 0],
        `${key}`,
      );
    }
    const lines: [key: string, one: string, same: string, other: string][] = [
      ["query:k", "GET /?k=a%62 HTTP/1.1\nHost: a", "GET /x?z=1&k=ab HTTP/1.1\nHost: a", "GET /?k=b HTTP/1.1\nHost: a"],
      ["method", "GET / HTTP/1.1\nHost: a", "GET /x HTTP/1.1\nHost: a", "POST / HTTP/1.1\nHost: a"],
      ["path", "GET /x?a HTTP/1.1\nHost: a", "POST /x HTTP/1.1\nHost: a", "GET /y HTTP/1.1\nHost: a"],
      ["host", "GET / HTTP/1.1\nHost: a:1", "GET / HTTP/1.1\nHost: A:2", "GET / HTTP/1.1\nHost: b"],
    ];
    for (const [key, one, same, other] of lines) {
      const limit = new Limit({ quota: 1, window: 60, key });
      assert.deepEqual(
        [one, same, other].map((head) => limit.passes(1, { head })),
        [1, 0, 1],
        key,
      );
    }
  });

  test("two policies count separately, and each reports itself", () => {
    const limit = new Limit({ quota: 5, window: 1, name: "burst" }, { quota: 2, window: 3600, name: "hour" });
    const on = exchange("GET / HTTP/1.1\nHost: a", "HTTP/1.1 200 OK");
    for (const hook of [HOOK.request_head, HOOK.response_head])
      for (const instance of limit.loaded.instances) assert.equal(instance.call(hook, on), OUTCOME.continue);
    const fields = fieldsOf(on.response).filter((field) => field.startsWith("ratelimit:"));
    assert.deepEqual(fields, ['ratelimit: "burst";r=4;t=1', 'ratelimit: "hour";r=1;t=1800']);
    assert.equal(limit.passes(4, { use: 1 }), 1);
    assert.equal(limit.passes(9, { use: 0 }), 4);
  });

  test("in a dry run rejects nothing, and reports what it would reject", () => {
    const limit = new Limit({ quota: 1, window: 60, dryRun: true });
    assert.equal(limit.passes(3), 3);
    assert.equal(
      limit.loaded.reports.filter((line) => line.includes('dry run: over the limit "default";q=1;w=60')).length,
      2,
    );
  });

  test("rejects an invalid limit", () => {
    refuses({ window: 1 }, /config quota: expected a whole number, found nothing/);
    refuses({ quota: 0, window: 1 }, /config quota: expected 1 or more/);
    refuses({ quota: 1, window: 0 }, /config window: expected 1 or more/);
    refuses({ quota: 1, window: 1, burst: 2 }, /config burst: expected at most the quota/);
    refuses({ quota: 1, window: 1, v6: 129 }, /config v6: expected 0 to 128/);
    refuses({ quota: 1, window: 1, name: 'a"b' }, /config name: expected a token/);
    refuses({ quota: 1, window: 1, key: [] }, /config key: expected at least one part/);
    for (const key of ["address", "header:", "header:a b", "query:", "cookie:a;b"])
      refuses({ quota: 1, window: 1, key }, /config key: expected client-address, header:NAME/);
  });
});
