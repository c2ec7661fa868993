/**
 * For any input a built-in filter responds or continues: it never fails, since failures are expensive, and its work is
 * linear in the size of the head. Heads are larger than most configurations accept.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { FUEL, HOOK } from "../../src/abi/abi.ts";
import { scanRequest, scanResponse } from "../../src/http1/scan.ts";
import { PLUGIN_CELLS } from "../../src/observe/series.ts";
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { buildModule } from "../../src/plugin/wasm/build.ts";
import { Exchange } from "../../src/proxy/exchange.ts";
import { DEFAULT_MEMORY, loadPlugin } from "../../src/testing/load.ts";
import { builtIn } from "./plugin-harness.ts";

const KIB = 1024;
/** Far more than a listener takes without being configured for it; above 128 KiB and 500 fields a head cannot be edited. */
const LIMITS = { head: 120 * KIB, target: 64 * KIB, headers: 450 };

const HASH = `sha256:${"ab".repeat(32)}`;
const KEYS = [{ alg: "HS256", secret: "0123456789abcdef0123456789abcdef" }];
const FILTERS: readonly [name: string, config: unknown][] = [
  ["api-key", { keys: { a: HASH } }],
  ["api-key", { keys: { a: HASH }, query: "key" }],
  ["basic-auth", { users: { a: HASH } }],
  ["jwt", { keys: KEYS, claims: { "x-user": "sub" } }],
  ["jwt", { keys: KEYS, claims: { "x-user": "sub" }, cookie: "session", keep: false }],
  ["cors", { origins: ["https://a.example", "https://*.b.example"], headers: ["*"] }],
  ["ip-filter", { allow: ["10.0.0.0/8"] }],
  ["rate-limit", { quota: 1_000_000, window: 1, key: ["query:key", "cookie:session", "header:x-a", "path", "host"] }],
  ["rewrite", { prepend: "/prefix" }],
  ["redirect", { https: true }],
  ["redirect", { to: "https://h.example/x{path}{query}" }],
  ["respond", { status: 404, body: "none", headers: { "x-a": "b" } }],
  ["headers", { request: { set: { "x-a": "b" }, add: { "x-b": "c" }, remove: ["x-c"] } }],
  ["request-id", { trust: true }],
  ["fault", { abort: { percent: 0 } }],
  ["grpc-web", {}],
];

const base64 = (text: string) => Buffer.from(text).toString("base64url");
const field = (name: string, value: string) => `GET /a HTTP/1.1\nHost: h\n${name}: ${value}`;
const preflight = (more: string) =>
  `OPTIONS /a HTTP/1.1\nHost: h\nOrigin: https://x.b.example\nAccess-Control-Request-Method: GET\n${more}`;
const lines = (line: (i: number) => string, count = 400) => Array.from({ length: count }, (_, i) => line(i)).join("\n");

/** Heads of about `size` bytes. */
const SHAPES: Readonly<Record<string, (size: number) => string>> = {
  parameters: (n) => `GET /?${"a&".repeat(n / 2)} HTTP/1.1\nHost: h`,
  keys: (n) => `GET /?${"key=%41&".repeat(n / 8)} HTTP/1.1\nHost: h`,
  "escaped names": (n) => `GET /?${"%6bey=%43&".repeat(n / 10)} HTTP/1.1\nHost: h`,
  "escaped others": (n) => `GET /?${"%41%42=%43&".repeat(n / 11)} HTTP/1.1\nHost: h`,
  "one parameter": (n) => `GET /?key=${"%C3%A9".repeat(n / 6)} HTTP/1.1\nHost: h`,
  ampersands: (n) => `GET /?${"&".repeat(n)} HTTP/1.1\nHost: h`,
  path: (n) => `GET /${"b/".repeat(n / 2)} HTTP/1.1\nHost: h`,
  cookies: (n) => field("Cookie", "a=b;".repeat(n / 4)),
  "cookies of that name": (n) => field("Cookie", "session=b; ".repeat(n / 11)),
  semicolons: (n) => field("Cookie", `${";".repeat(n - 9)}session=a`),
  "cookie fields": (n) => `GET / HTTP/1.1\nHost: h\n${lines(() => `Cookie: ${"a=b;".repeat(n / 1600)}session=1`)}`,
  "a token of many claims": (n) =>
    field(
      "Authorization",
      `Bearer ${base64('{"alg":"HS256"}')}.${base64(`{"exp":9e9,${'"a":1,'.repeat(n / 8)}"b":1}`)}.AAAA`,
    ),
  "a token of a large header": (n) =>
    field("Authorization", `Bearer ${base64(`{"alg":"HS256","a":[${"[],".repeat(n / 4)}1]}`)}.e30.AAAA`),
  dots: (n) => field("Authorization", `Bearer ${".".repeat(n)}`),
  credentials: (n) => field("Authorization", `Basic ${"QUJD".repeat(n / 4)}`),
  "header names": (n) => preflight(`Access-Control-Request-Headers: ${"a,".repeat(n / 2)}`),
  "fields of header names": (n) => preflight(lines(() => `Access-Control-Request-Headers: ${"a".repeat(n / 400)}`)),
  origin: (n) => `GET / HTTP/1.1\nHost: h\nOrigin: https://${"x.".repeat(n / 2)}b.example`,
  key: (n) => field("X-Api-Key", "k".repeat(n)),
  "fields of one name": (n) => `GET / HTTP/1.1\nHost: h\n${lines(() => `x-a: ${"v".repeat(n / 400)}`)}`,
  "fields of many names": (n) => `GET / HTTP/1.1\nHost: h\n${lines((i) => `x-${i}: ${"v".repeat(n / 400)}`, 440)}`,
  host: (n) => `GET / HTTP/1.1\nHost: ${"a.".repeat(n / 2)}com`,
  id: (n) => field("X-Request-Id", "a".repeat(n)),
};

/** Null: no listener takes such a head. */
function exchange(request: string): Exchange | null {
  const made = new Exchange();
  made.id = 1;
  made.clientAddress = "192.0.2.1";
  const bytes = Buffer.from(`${request.replaceAll("\n", "\r\n")}\r\n\r\n`, "latin1");
  if (scanRequest(bytes, 0, bytes.length, made.request, LIMITS) !== bytes.length) return null;
  made.keepOriginal();
  const response = Buffer.from("HTTP/1.1 200 OK\r\nVary: a\r\n\r\n");
  scanResponse(response, 0, response.length, made.response, false);
  return made;
}

class Filter {
  readonly reports: string[] = [];
  readonly #cells = new Float64Array(PLUGIN_CELLS.size);
  readonly #instance;

  constructor(name: string, config: unknown) {
    const { set } = loadPlugin(buildModule(builtIn(name), { memory: DEFAULT_MEMORY }), {
      cells: this.#cells,
      report: (level, message) => void (level === "error" && this.reports.push(message)),
      configs: [config],
      namespaces: ["rate-limit"],
      settings: { fuel: FUEL.default, memory: DEFAULT_MEMORY, clusters: null },
    });
    this.#instance = set.instances[0]!;
  }

  /** The fuel of all its hooks. */
  run(x: Exchange): number {
    const before = this.#fuel();
    const outcome = this.#instance.call(HOOK.request_head, x);
    assert.notEqual(outcome, OUTCOME.failed, this.reports.at(-1));
    if (outcome === OUTCOME.continue)
      assert.notEqual(this.#instance.call(HOOK.response_head, x), OUTCOME.failed, this.reports.at(-1));
    assert.deepEqual(this.reports, []);
    return this.#fuel() - before;
  }

  #fuel(): number {
    return this.#cells[PLUGIN_CELLS.fuel + HOOK.request_head]! + this.#cells[PLUGIN_CELLS.fuel + HOOK.response_head]!;
  }
}

/** Units for each byte of a head, and for what does not depend on it. */
const PER_BYTE = FUEL.perByte;
const FIXED = 60_000;

describe("no head makes a built-in filter fail, or use more fuel than in proportion to its size", () => {
  for (const [name, config] of FILTERS)
    test(`${name} ${JSON.stringify(config).slice(0, 60)}`, () => {
      const filter = new Filter(name, config);
      for (const [shape, make] of Object.entries(SHAPES))
        for (const size of [4 * KIB, 16 * KIB, 63 * KIB, 110 * KIB]) {
          const x = exchange(make(size));
          if (x === null) continue;
          const length = x.request.end;
          const fuel = filter.run(x);
          assert.ok(fuel <= FIXED + PER_BYTE * length, `${shape}: ${fuel} units for ${length} bytes`);
        }
      const parts = fc.constantFrom(
        "a",
        "key",
        "session",
        "=",
        "&",
        ";",
        " ",
        "%41",
        "%",
        "+",
        ".",
        ",",
        "/",
        "\xff",
        "b".repeat(3000),
      );
      const text = fc.array(parts, { maxLength: 30 }).map((some) => some.join(""));
      const names = fc.constantFrom("Cookie", "Authorization", "Origin", "X-Api-Key", "x-a", "X-Request-Id", "X.User");
      const prefix = fc.constantFrom("", "Bearer ", "Basic ", "https://");
      fc.assert(
        fc.property(text, fc.array(fc.tuple(names, prefix, text), { maxLength: 20 }), (target, fields) => {
          const rest = fields.map(([field, start, value]) => `\n${field}: ${start}${value}`).join("");
          const x = exchange(
            `GET /${target.replaceAll(/[ %\xff]/g, "")}?${target.replaceAll(" ", "")} HTTP/1.1\nHost: h${rest}`,
          );
          if (x !== null) filter.run(x);
        }),
      );
    });
});
