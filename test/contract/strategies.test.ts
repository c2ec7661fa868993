/** Promises of all built-in strategies, in the real host; then those of each. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import fc from "fast-check";
import type { Endpoint } from "../../src/cluster/endpoint.ts";
import type { EndpointView } from "../../src/cluster/endpoint-view.ts";
import type { Exchange } from "../../src/proxy/exchange.ts";
import { builtIn, Endpoints, exchange, type Loaded, load } from "./plugin-harness.ts";

const STRATEGIES = [
  "round-robin",
  "least-connections",
  "random",
  "power-of-two",
  "ip-hash",
  "consistent-hash",
  "fastest-response",
  "adaptive",
] as const;
type Name = (typeof STRATEGIES)[number];

const REQUEST = exchange("GET / HTTP/1.1\nHost: example.com");

/** A strategy on one worker with its endpoints; any report of it fails the test. */
class Strategy {
  readonly #loaded: Loaded;

  constructor(name: Name, config: object = {}) {
    this.#loaded = load(builtIn(name), { configs: [config] });
    open.push(this);
  }

  update(view: EndpointView): this {
    assert.ok(this.#loaded.instances[0]!.update(view), this.#loaded.reports.join("\n"));
    return this;
  }

  pick(view: EndpointView, from: Exchange = REQUEST): number {
    const index = this.#loaded.instances[0]!.pick(from, view);
    assert.deepEqual(this.#loaded.reports, []);
    return index;
  }

  /** The endpoint picked. */
  choose(view: EndpointView, from: Exchange = REQUEST): Endpoint {
    return view.list[this.pick(view, from)]!;
  }

  close(): void {
    this.#loaded.dispose();
  }
}

const open: Strategy[] = [];
after(() => {
  for (const strategy of open) strategy.close();
});

/** The number of times that each index was picked in `picks` picks. */
function count(picks: number, endpoints: number, pick: () => number): number[] {
  const counts = new Array<number>(endpoints).fill(0);
  for (let i = 0; i < picks; i++) counts[pick()]!++;
  return counts;
}

/**
 * Checks that picks match their shares within six standard deviations: for correct picks that fails once
 * in 500 million runs.
 */
function assertShares(counts: readonly number[], shares: readonly number[]): void {
  const picks = counts.reduce((a, b) => a + b, 0);
  const total = shares.reduce((a, b) => a + b, 0);
  for (const [i, got] of counts.entries()) {
    const p = shares[i]! / total;
    const slack = 6 * Math.sqrt(picks * p * (1 - p));
    assert.ok(
      Math.abs(got - picks * p) <= slack,
      `endpoint ${i}: ${got} of ${picks}, expected ${picks * p} ± ${slack}`,
    );
  }
}

function client(n: number): Exchange {
  REQUEST.clientAddress = `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
  return REQUEST;
}

for (const name of STRATEGIES) {
  describe(`${name}, as every strategy`, () => {
    test("returns -1 only without endpoints", () => {
      const strategy = new Strategy(name);
      const none = Endpoints.ofWeights([]);
      assert.equal(strategy.update(none.view()).pick(none.view()), -1);
      const one = Endpoints.ofWeights([7]);
      assert.equal(strategy.update(one.view()).pick(one.view()), 0);
      assert.equal(strategy.update(none.view()).pick(none.view()), -1);
    });

    test("picks one of the list for any weights, load, order and retries", () => {
      const endpoint = fc.record({ weight: fc.integer({ min: 1, max: 1000 }), inFlight: fc.nat(10_000) });
      const strategy = new Strategy(name);
      fc.assert(
        fc.property(fc.array(endpoint, { minLength: 1, maxLength: 40 }), fc.nat(), fc.nat(), (list, from, skip) => {
          const endpoints = Endpoints.ofWeights(list.map(({ weight }) => weight));
          for (const [i, { inFlight }] of list.entries()) endpoints.setInFlight(i, inFlight);
          const turn = from % list.length;
          const order = [...endpoints.all.slice(turn), ...endpoints.all.slice(0, turn)];
          strategy.update(endpoints.view(order));
          for (let i = 0; i < 5; i++) assert.ok(strategy.choose(client(i) && endpoints.view(order), client(i)));
          // A retry: the same list without those that were tried.
          const rest = order.filter((_, i) => ((skip >>> (i % 24)) & 1) === 0);
          const picked = strategy.pick(endpoints.view(rest));
          assert.ok(rest.length === 0 ? picked === -1 : picked >= 0 && picked < rest.length);
        }),
        { numRuns: 200 },
      );
    });

    test("serves 1,000 endpoints within the fuel of one call", () => {
      const endpoints = Endpoints.ofWeights(Array.from({ length: 1000 }, (_, i) => 1 + (i % 10)));
      const strategy = new Strategy(name).update(endpoints.view());
      const shuffled = [...endpoints.all].reverse();
      strategy.update(endpoints.view(shuffled));
      for (let i = 0; i < 50; i++) assert.ok(strategy.choose(endpoints.view(shuffled), client(i)));
      assert.ok(strategy.choose(endpoints.view(shuffled.slice(1))));
    });

    test("continues while endpoints are added and removed", () => {
      const strategy = new Strategy(name);
      const all = Endpoints.ofWeights(Array.from({ length: 60 }, () => 1));
      for (let round = 0; round < 60; round++) {
        const here = all.all.filter((_, i) => (i * 7 + round) % 5 !== 0 || i > round);
        strategy.update(all.view(here));
        for (let i = 0; i < 10; i++) assert.ok(strategy.choose(all.view(here), client(i)));
      }
    });
  });
}

describe("round-robin", () => {
  for (const weights of [
    [1, 1, 1, 1, 1, 1, 1],
    [5, 1, 1],
    [10, 3, 1, 7],
    [1000, 1],
  ]) {
    test(`is exact over each round, by the weights ${weights.join(", ")}`, () => {
      const endpoints = Endpoints.ofWeights(weights);
      const view = endpoints.view();
      const strategy = new Strategy("round-robin").update(view);
      const total = weights.reduce((a, b) => a + b, 0);
      for (let round = 0; round < 5; round++)
        assert.deepEqual(
          count(total, weights.length, () => strategy.pick(view)),
          weights,
        );
    });
  }

  test("distributes the heavy endpoint over the round", () => {
    const view = Endpoints.ofWeights([5, 1, 1]).view();
    const strategy = new Strategy("round-robin").update(view);
    const order = Array.from({ length: 70 }, () => strategy.pick(view)).join("");
    assert.doesNotMatch(order, /00000|11|22|12|21/);
  });

  test("is fair over eight workers used in turn, which do not pick the same endpoint at the same time", () => {
    const weights = Array.from({ length: 16 }, () => 1);
    const view = Endpoints.ofWeights(weights).view();
    const workers = Array.from({ length: 8 }, () => new Strategy("round-robin").update(view));
    const first = workers.map((worker) => worker.pick(view));
    assert.ok(new Set(first).size > 1, `all workers began with ${first[0]}`);
    for (let i = 1; i < 16; i++) for (const worker of workers) worker.pick(view);
    let turn = 0;
    const counts = count(8 * 16 * 3, 16, () => workers[turn++ % 8]!.pick(view));
    assert.deepEqual(
      counts,
      weights.map(() => 8 * 3),
    );
  });

  test("workers with unequal weights do not start with the same endpoint either", () => {
    const view = Endpoints.ofWeights([10, 9, 8, 7, 6, 5]).view();
    const orders = Array.from({ length: 12 }, () => {
      const worker = new Strategy("round-robin").update(view);
      return Array.from({ length: 20 }, () => worker.pick(view)).join("");
    });
    assert.ok(new Set(orders).size > 1);
  });

  test("stays fair while the list is re-ordered at every pick", () => {
    const endpoints = Endpoints.ofWeights([1, 1, 1, 1, 1]);
    const strategy = new Strategy("round-robin");
    const counts = new Map<Endpoint, number>();
    for (let i = 0; i < 100; i++) {
      const turn = (i * 3) % 5;
      const view = endpoints.view([...endpoints.all.slice(turn), ...endpoints.all.slice(0, turn)]);
      const picked = strategy.update(view).choose(view);
      counts.set(picked, (counts.get(picked) ?? 0) + 1);
    }
    for (const got of counts.values()) assert.ok(Math.abs(got - 20) <= 2, [...counts.values()].join(" "));
  });
});

describe("least-connections", () => {
  test("picks the least loaded relative to its weight", () => {
    const endpoints = Endpoints.ofWeights([1, 4, 2]);
    const strategy = new Strategy("least-connections").update(endpoints.view());
    for (const [index, load] of [2, 6, 4].entries()) endpoints.setInFlight(index, load);
    assert.equal(strategy.pick(endpoints.view()), 1); // 3/1, 7/4, 5/2
    endpoints.setInFlight(1, 12);
    assert.equal(strategy.pick(endpoints.view()), 2); // 3/1, 13/4, 5/2
  });

  test("fills endpoints by their weights over eight workers", () => {
    const weights = [1, 2, 3, 4];
    const endpoints = Endpoints.ofWeights(weights);
    const view = endpoints.view();
    const workers = Array.from({ length: 8 }, () => new Strategy("least-connections").update(view));
    const counts = [0, 0, 0, 0];
    for (let i = 0; i < 1000; i++) {
      const index = workers[i % 8]!.pick(view);
      endpoints.setInFlight(index, ++counts[index]!);
    }
    for (const [i, got] of counts.entries()) assert.ok(Math.abs(got - 100 * weights[i]!) <= 2, counts.join(" "));
  });

  test("breaks ties at random", () => {
    const weights = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    const view = Endpoints.ofWeights(weights).view();
    const strategy = new Strategy("least-connections").update(view);
    assertShares(
      count(20_000, 10, () => strategy.pick(view)),
      weights,
    );
  });
});

describe("random", () => {
  test("picks by weight over eight workers", () => {
    const weights = [1, 2, 3, 4, 90];
    const view = Endpoints.ofWeights(weights).view();
    const workers = Array.from({ length: 8 }, () => new Strategy("random").update(view));
    let turn = 0;
    assertShares(
      count(40_000, 5, () => workers[turn++ % 8]!.pick(view)),
      weights,
    );
  });

  test("follows a changed weight", () => {
    const endpoints = Endpoints.ofWeights([1, 1]);
    const strategy = new Strategy("random").update(endpoints.view());
    endpoints.all[1]!.weight = 999;
    strategy.update(endpoints.view());
    assertShares(
      count(20_000, 2, () => strategy.pick(endpoints.view())),
      [1, 999],
    );
  });
});

describe("power-of-two", () => {
  test("picks the less loaded of two", () => {
    const endpoints = Endpoints.ofWeights([1, 1]);
    const strategy = new Strategy("power-of-two").update(endpoints.view());
    endpoints.setInFlight(0, 5);
    for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 1);
    endpoints.all[0]!.weight = 100;
    strategy.update(endpoints.view());
    for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 0);
  });

  test("never picks the most loaded of all", () => {
    const endpoints = Endpoints.ofWeights([1, 1, 1, 1]);
    const strategy = new Strategy("power-of-two").update(endpoints.view());
    endpoints.setInFlight(2, 1);
    const counts = count(20_000, 4, () => strategy.pick(endpoints.view()));
    assert.equal(counts[2], 0);
  });

  test("breaks ties at random", () => {
    const weights = [1, 1, 1, 1, 1];
    const view = Endpoints.ofWeights(weights).view();
    const strategy = new Strategy("power-of-two").update(view);
    assertShares(
      count(20_000, 5, () => strategy.pick(view)),
      weights,
    );
  });

  test("keeps the load nearly even", () => {
    const endpoints = Endpoints.ofWeights(Array.from({ length: 50 }, () => 1));
    const view = endpoints.view();
    const strategy = new Strategy("power-of-two").update(view);
    const counts = new Array<number>(50).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const index = strategy.pick(view);
      endpoints.setInFlight(index, ++counts[index]!);
    }
    // The mean is 400. One choice alone would spread by 100 and more; two keep all within a few.
    assert.ok(Math.max(...counts) - Math.min(...counts) < 40, counts.join(" "));
  });
});

for (const name of ["ip-hash", "consistent-hash"] as const) {
  describe(`${name}, by client address`, () => {
    const CLIENTS = 6000;
    const chosen = (strategy: Strategy, view: EndpointView) =>
      Array.from({ length: CLIENTS }, (_, n) => strategy.choose(view, client(n)).address);

    test("picks the same endpoint for a client on every worker and in every order", () => {
      const endpoints = Endpoints.ofWeights([1, 2, 3, 4, 5]);
      const before = chosen(new Strategy(name).update(endpoints.view()), endpoints.view());
      const reversed = endpoints.view([...endpoints.all].reverse());
      assert.deepEqual(chosen(new Strategy(name).update(reversed), reversed), before);
    });

    test("depends on addresses, not on the process's ids", () => {
      const list = ["a:1", "b:1", "c:1"].map((address) => ({ address }));
      const one = new Endpoints(list);
      const other = new Endpoints(list.map(({ address }, i) => ({ address, slot: 500 - i })));
      const here = chosen(new Strategy(name).update(one.view()), one.view());
      assert.deepEqual(chosen(new Strategy(name).update(other.view()), other.view()), here);
    });

    test("distributes clients by weight", () => {
      const weights = [1, 2, 3, 4, 10];
      const endpoints = Endpoints.ofWeights(weights);
      const strategy = new Strategy(name).update(endpoints.view());
      let n = 0;
      assertShares(
        count(20_000, 5, () => strategy.pick(endpoints.view(), client(n++))),
        weights,
      );
    });

    test("moves only the clients of a removed endpoint, and only to an added one", () => {
      const endpoints = Endpoints.ofWeights([1, 1, 1, 2, 2, 1, 1, 3, 1, 1]);
      const gone = endpoints.all[4]!;
      const rest = endpoints.view(endpoints.all.filter((endpoint) => endpoint !== gone));
      const strategy = new Strategy(name).update(endpoints.view());
      const before = chosen(strategy, endpoints.view());
      const without = chosen(strategy.update(rest), rest);
      let moved = 0;
      for (const [n, address] of before.entries()) {
        if (address === gone.address) moved++;
        else assert.equal(without[n], address);
      }
      // Its share is 2 of 14.
      assert.ok(moved > 0 && moved < (CLIENTS * 2 * 1.2) / 14, `${moved} of ${CLIENTS} moved`);
      assert.deepEqual(chosen(strategy.update(endpoints.view()), endpoints.view()), before);
    });

    test("picks for a retry the endpoint that the client would get if the tried one were removed", () => {
      const endpoints = Endpoints.ofWeights([1, 2, 3, 1, 2, 3]);
      const strategy = new Strategy(name).update(endpoints.view());
      const other = new Strategy(name);
      for (let n = 0; n < 200; n++) {
        const tried = strategy.choose(endpoints.view(), client(n));
        const rest = endpoints.view(endpoints.all.filter((endpoint) => endpoint !== tried));
        assert.equal(strategy.choose(rest, client(n)), other.update(rest).choose(rest, client(n)));
      }
    });
  });
}

describe("consistent-hash", () => {
  const get = (headers: string): Exchange => exchange(`GET /a/b?id=7 HTTP/1.1\nHost: Example.com\n${headers}`);

  test("depends on its key alone", () => {
    const view = Endpoints.ofWeights(Array.from({ length: 50 }, () => 1)).view();
    const parts = ["header:x-user", "cookie:session", "query:id", "method", "path", "host", "client-address"];
    const seen = new Set<number>();
    for (const part of parts) {
      const strategy = new Strategy("consistent-hash", { key: part }).update(view);
      const headers = "X-User: ada\nCookie: session=1";
      const first = strategy.pick(view, get(headers));
      seen.add(first);
      for (let i = 0; i < 5; i++) assert.equal(strategy.pick(view, get(`${headers}\nX-Other: ${i}`)), first, part);
    }
    assert.ok(seen.size > 4, [...seen].join(" "));
    const byUser = new Strategy("consistent-hash", { key: ["header:x-user", "cookie:session"] }).update(view);
    const users = Array.from({ length: 40 }, (_, i) => byUser.pick(view, get(`X-User: user${i}\nCookie: session=1`)));
    assert.ok(new Set(users).size > 15, users.join(" "));
    // The parts of a key are not confused with each other.
    const pairs = [
      "X-User: ab\nCookie: session=c",
      "X-User: a\nCookie: session=bc",
      "X-User: abc",
      "Cookie: session=abc",
    ];
    assert.ok(new Set(pairs.map((pair) => byUser.pick(view, get(pair)))).size > 1);
  });

  test("distributes requests without a key by load", () => {
    const endpoints = Endpoints.ofWeights([1, 1, 1]);
    const strategy = new Strategy("consistent-hash", { key: "header:x-user" }).update(endpoints.view());
    endpoints.setInFlight(1, 5);
    const counts = count(3000, 3, () => strategy.pick(endpoints.view(), get("X-Other: 1")));
    assert.equal(counts[1], 0);
    assert.ok(counts[0]! > 1000 && counts[2]! > 1000, counts.join(" "));
    const byRoute = new Strategy("consistent-hash", { key: ["route", "header:x-user"] }).update(endpoints.view());
    const used = count(100, 3, () => byRoute.pick(endpoints.view(), get("X-User:")));
    assert.ok(used[0]! > 0 && used[2]! > 0, used.join(" "));
  });

  test("bounds the load by balanceFactor, and keeps keys where it is not reached", () => {
    const weights = [1, 2, 3, 4];
    const endpoints = Endpoints.ofWeights(weights);
    const view = endpoints.view();
    const strategy = new Strategy("consistent-hash", { balanceFactor: 125 }).update(view);
    const unbounded = new Strategy("consistent-hash").update(view);
    const hot = client(1);
    const counts = [0, 0, 0, 0];
    for (let i = 1; i <= 1000; i++) {
      const index = strategy.pick(view, hot);
      endpoints.setInFlight(index, ++counts[index]!);
      for (const [e, got] of counts.entries())
        assert.ok(got <= Math.ceil((1.25 * i * weights[e]!) / 10), counts.join(" "));
    }
    for (let e = 0; e < 4; e++) endpoints.setInFlight(e, 100 * weights[e]!);
    for (let n = 0; n < 200; n++) assert.equal(strategy.pick(view, client(n)), unbounded.pick(view, client(n)));
  });

  for (const [config, message] of [
    [{ key: "header:" }, /config key: expected .*header:NAME.*found "header:"/],
    [{ key: "colour" }, /config key: expected .*found "colour"/],
    [{ key: [] }, /key.*at least one part/],
    [{ balanceFactor: 99 }, /balanceFactor.*100 to 10000/],
    [{ balanceFactor: 0 }, /balanceFactor.*100 to 10000/],
    [{ keys: "path" }, /keys/],
  ] as const) {
    test(`refuses ${JSON.stringify(config)}`, () => {
      assert.throws(() => new Strategy("consistent-hash", config), message);
    });
  }
});

/** Latency in milliseconds of each endpoint, and the seconds since. */
function measured(endpoints: Endpoints, latencies: readonly number[], age = 0): void {
  endpoints.columns.moveTo(performance.now() + 3_600_000);
  for (const [i, latency] of latencies.entries())
    endpoints.columns.setLatency(endpoints.all[i]!.slot, latency * 1000, age * 1000);
}

function fail(endpoints: Endpoints, index: number, attempts: number): void {
  for (let i = 0; i < attempts; i++) endpoints.columns.sample(endpoints.all[index]!.slot, 0, true);
}

for (const name of ["fastest-response", "adaptive"] as const) {
  describe(`${name}, by what was measured`, () => {
    test("prefers the faster endpoint, and of equally fast ones the less loaded per weight", () => {
      const endpoints = Endpoints.ofWeights([1, 1]);
      const strategy = new Strategy(name).update(endpoints.view());
      measured(endpoints, [40, 10]);
      for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 1);
      measured(endpoints, [10, 10]);
      endpoints.setInFlight(1, 1);
      for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 0);
      endpoints.all[1]!.weight = 100;
      strategy.update(endpoints.view());
      for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 1);
    });

    test("uses the slower endpoint when the faster one is loaded", () => {
      const endpoints = Endpoints.ofWeights([1, 1]);
      const strategy = new Strategy(name).update(endpoints.view());
      measured(endpoints, [40, 10]);
      endpoints.setInFlight(1, 9);
      for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 0);
    });

    test("an endpoint that fails fast does not attract requests", () => {
      const endpoints = Endpoints.ofWeights([1, 1]);
      const strategy = new Strategy(name).update(endpoints.view());
      measured(endpoints, [5, 10]);
      fail(endpoints, 0, 30);
      for (let i = 0; i < 50; i++) assert.equal(strategy.pick(endpoints.view()), 1);
    });

    test("an endpoint without a sample is taken for a typical one", () => {
      const endpoints = Endpoints.ofWeights([1, 1, 1]);
      const strategy = new Strategy(name).update(endpoints.view());
      measured(endpoints, [10, 20, 0]);
      const counts = count(3000, 3, () => strategy.pick(endpoints.view()));
      assert.ok(counts[0]! > counts[2]! && counts[2]! > counts[1]!, counts.join(" "));
    });

    test("an endpoint that was slow is tried again, but not flooded", () => {
      const endpoints = Endpoints.ofWeights([1, 1, 1]);
      const strategy = new Strategy(name).update(endpoints.view());
      measured(endpoints, [10, 10, 1000]);
      assert.equal(count(500, 3, () => strategy.pick(endpoints.view()))[2], 0);
      // Two minutes later the host's average of the third has decayed to less than that of the others.
      const [, , slow] = endpoints.all;
      endpoints.columns.setLatency(slow!.slot, 1, 120_000);
      let tried = 0;
      for (let i = 0; i < 3000; i++) if (strategy.pick(endpoints.view()) === 2) endpoints.setInFlight(2, ++tried);
      assert.ok(tried > 0 && tried < 3, `${tried}`);
    });
  });
}

describe("adaptive", () => {
  test("follows the influence of each factor", () => {
    const endpoints = Endpoints.ofWeights([1, 1]);
    measured(endpoints, [10, 40]);
    endpoints.setInFlight(0, 3);
    fail(endpoints, 0, 5);
    const [onlyLoad, onlyLatency, onlyErrors] = [
      { load: 1, latency: 0, errors: 0 },
      { load: 0, latency: 1, errors: 0 },
      { load: 0, latency: 0, errors: 1 },
    ].map((config) => new Strategy("adaptive", config).update(endpoints.view()).pick(endpoints.view()));
    assert.deepEqual([onlyLoad, onlyLatency, onlyErrors], [1, 0, 1]);
    assert.throws(() => new Strategy("adaptive", { load: -1 }), /load.*0 to 10/);
    assert.throws(() => new Strategy("adaptive", { latency: 11 }), /latency.*0 to 10/);
  });
});
