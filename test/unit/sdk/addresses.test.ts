/** The SDK's percent-encoding, queries, URLs and IP addresses, against those of Node. */
import assert from "node:assert/strict";
import { BlockList, isIP, isIPv4 } from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import { loadSdkGuest } from "./sdk-guest.ts";

const guest = await loadSdkGuest("sdk-addresses.as.ts");
const runs = { numRuns: 2000 };
/** Without the two characters that fixtures put between what they return. */
const text = fc.string({ unit: "binary", maxLength: 12 }).map((given) => given.replace(/[\u0001\u0002]/g, "."));
/** What a query may contain on the wire. */
const wire = fc.string({
  unit: fc.constantFrom(..."ab=&&+%%", "%20", "%2B", "%26", "%3D", "%c3%a9", "%C3", "%ff", "%e2%82%ac", "%2", "/", "?"),
  maxLength: 12,
});

describe("percent-encoding", () => {
  test("round-trips, and is read by decodeURIComponent", () => {
    assert.equal(guest.text("percentEncode", "AZaz09-._~!*'()"), "AZaz09-._~%21%2A%27%28%29");
    fc.assert(
      fc.property(text, (given) => {
        const encoded = guest.text("percentEncode", given)!;
        const oracle = encodeURIComponent(given).replace(
          /[!'()*]/g,
          (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`,
        );
        assert.equal(encoded, oracle);
        assert.equal(decodeURIComponent(encoded), given);
        assert.equal(guest.text("percentDecode", encoded), given);
      }),
      runs,
    );
  });

  test("is rejected where decodeURIComponent throws", () => {
    fc.assert(
      fc.property(wire, (given) => {
        let expected: string | null = null;
        try {
          expected = decodeURIComponent(given);
        } catch {}
        assert.equal(guest.text("percentDecode", given), expected);
      }),
      runs,
    );
  });
});

describe("a query", () => {
  const pairs = (query: string): string[][] =>
    (guest.text("queryPairs", query) || null)?.split("\u0002").map((pair) => pair.split("\u0001")) ?? [];

  test("has the parameters that URLSearchParams has", () => {
    fc.assert(
      fc.property(wire, fc.constantFrom("a", "b", "", "a b", "é"), (query, name) => {
        // It would remove a question mark.
        const oracle = new URLSearchParams(`?${query}`);
        assert.deepEqual(pairs(query), [...oracle]);
        assert.equal(guest.text("queryGet", query, name), oracle.get(name));
        assert.equal(guest.text("queryHas", query, name), String(oracle.has(name)));
        assert.equal(guest.text("queryGetAll", query, name), oracle.getAll(name).join("\u0001"));
      }),
      runs,
    );
  });

  test("is changed as URLSearchParams is", () => {
    fc.assert(
      fc.property(wire, fc.oneof(fc.constantFrom("a", "b"), text), text, (query, name, value) => {
        for (const verb of ["Set", "Add", "Remove"] as const) {
          const oracle = new URLSearchParams(`?${query}`);
          if (verb === "Set") oracle.set(name, value);
          else if (verb === "Add") oracle.append(name, value);
          else oracle.delete(name);
          const args = verb === "Remove" ? [query, name] : [query, name, value];
          assert.deepEqual(pairs(guest.text(`query${verb}`, ...args)!), [...oracle], verb);
        }
      }),
      runs,
    );
  });

  test("keeps unchanged parts as they were written", () => {
    assert.equal(guest.text("queryRemove", "x=%7e+&utm=1&y&=z&utm=2&%61=b", "utm"), "x=%7e+&y&=z&%61=b");
    assert.equal(guest.text("querySet", "b=%7e&a=1&c&a=2", "a", "1 & 2"), "b=%7e&a=1%20%26%202&c");
  });
});

describe("a URL", () => {
  test("has the parts that a WHATWG URL has, where that changes none", () => {
    const host = fc.oneof(
      fc.domain(),
      fc.ipV4(),
      fc.ipV6().map((ip) => `[${ip}]`),
    );
    const port = fc.option(fc.integer({ min: 1, max: 65_535 }), { nil: undefined });
    const path = fc.string({ unit: fc.constantFrom(..."/ab;=:@-~"), maxLength: 9 }).map((rest) => `/${rest}`);
    const rest = fc.string({ unit: fc.constantFrom(..."ab/?=&"), maxLength: 9 });
    fc.assert(
      fc.property(
        fc.constantFrom("http", "https", "HTTPS"),
        host,
        port,
        path,
        rest,
        rest,
        (scheme, name, at, way, query, hash) => {
          const url = `${scheme}://${name}${at ? `:${at}` : ""}${way}${query && `?${query}`}${hash && `#${hash}`}`;
          const oracle = new URL(url);
          const number = oracle.port || (oracle.protocol === "http:" ? "80" : "443");
          const found = guest.text("urlParts", url)!.split(" ");
          assert.deepEqual(found.slice(2, 6), [number, oracle.pathname, oracle.search.slice(1), oracle.hash.slice(1)]);
          if (!name.startsWith("[")) assert.deepEqual([found[1], found[6]], [oracle.hostname, oracle.origin]);
          assert.equal(new URL(found[7]!).href, oracle.href);
        },
      ),
      runs,
    );
  });

  test("is null if it is invalid or ambiguous", () => {
    const texts = [
      "",
      "null",
      "example.com",
      "ftp://a",
      "http://",
      "http:///a",
      "http://a b",
      "http://u@a",
      "http://u:p@a",
    ];
    texts.push(
      "http://a/\\b",
      "http://a/?\\",
      "http://a:0",
      "http://a:65536",
      "http://a:x",
      "http://a:123456",
      "http://[::1",
      "http://[1]",
      "http://a\\b",
    );
    texts.push("http://é", "http://a%41", "//a/b", "http:a", "http://[::1]x", "http://a:1:2");
    for (const url of texts) assert.equal(guest.text("urlParts", url), null, url);
    assert.equal(guest.text("urlParts", "HTTP://Ex.com?"), "http ex.com 80 /   http://ex.com http://ex.com/");
    assert.equal(guest.text("urlParts", "https://a:/x"), "https a 443 /x   https://a https://a/x");
  });
});

/** Similar to an address, and to what Node accepts. */
const nearIp = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.string({ unit: fc.constantFrom(..."0123f:::...", "10", "255", "256", "::ffff:"), maxLength: 12 }),
);

describe("an IP address", () => {
  test("is accepted as by net.isIP, without zones", () => {
    fc.assert(
      fc.property(nearIp, (given) => assert.equal(guest.text("ipText", given) !== null, isIP(given) !== 0, given)),
      { numRuns: 5000 },
    );
    assert.equal(guest.text("ipText", "fe80::1%eth0"), null);
    assert.equal(guest.text("ipText", "[::1]"), null);
  });

  test("is written in its canonical form", () => {
    fc.assert(
      fc.property(fc.ipV6(), (given) => {
        const written = guest.text("ipText", given)!;
        // WHATWG writes the parts of a mapped address as hexadecimal; RFC 5952 section 5 as IPv4.
        if (isIPv4(written)) assert.match(new URL(`http://[${given}]`).hostname, /^\[::ffff:[0-9a-f]+:[0-9a-f]+\]$/);
        else assert.equal(`[${written}]`, new URL(`http://[${given}]`).hostname);
      }),
      runs,
    );
    fc.assert(fc.property(fc.ipV4(), (given) => assert.equal(guest.text("ipText", given), given)));
    assert.equal(guest.text("ipText", "::ffff:192.0.2.1"), "192.0.2.1");
    assert.equal(guest.text("ipText", "2001:DB8:0:0:1:0:0:1"), "2001:db8::1:0:0:1");
    assert.equal(guest.text("ipText", "2001:db8:0:1:1:1:1:1"), "2001:db8:0:1:1:1:1:1");
    assert.equal(guest.number("ipIsV4", "::ffff:1.2.3.4"), 1);
    assert.equal(guest.number("ipIsV4", "::1.2.3.4"), 0);
  });

  test("is reduced to its network", () => {
    assert.equal(guest.text("ipNetwork", "192.0.2.77", 24, 64), "192.0.2.0");
    assert.equal(guest.text("ipNetwork", "192.0.2.77", 32, 64), "192.0.2.77");
    assert.equal(guest.text("ipNetwork", "2001:db8:1:2:3:4:5:6", 24, 64), "2001:db8:1:2::");
    assert.equal(guest.text("ipNetwork", "2001:db8:1:2:3:4:5:6", 24, 128), "2001:db8:1:2:3:4:5:6");
    assert.equal(guest.text("ipNetwork", "2001:db8:1:2:3:4:5:6", 24, 0), "::");
    assert.equal(guest.text("ipNetwork", "::ffff:192.0.2.77", 0, 64), "0.0.0.0");
  });
});

describe("a set of networks", () => {
  const few4 = fc.tuple(fc.constantFrom(10, 11, 192), fc.constantFrom(0, 1, 128), fc.constantFrom(0, 5), fc.nat(255));
  const ip4 = few4.map((parts) => parts.join("."));
  const ip6 = fc
    .tuple(fc.constantFrom("2001:db8", "fe80:0", "::ffff"), fc.nat(3), fc.nat(3))
    .map(([a, b, c]) => (a === "::ffff" ? `::ffff:10.0.${b}.${c}` : `${a}::${b}:${c}`));
  const network = fc.oneof(
    fc.tuple(ip4, fc.integer({ min: 1, max: 32 })),
    fc.tuple(ip6, fc.integer({ min: 97, max: 128 })),
  );

  test("has the addresses that net.BlockList has", () => {
    fc.assert(
      fc.property(fc.array(network, { maxLength: 8 }), fc.oneof(ip4, ip6), (list, address) => {
        const oracle = new BlockList();
        const cidrs = list.map(([ip, bits]) => {
          const cut = isIPv4(ip)
            ? guest.text("ipNetwork", ip, bits, 128)!
            : ip.startsWith("::ffff")
              ? `::ffff:${guest.text("ipNetwork", ip, bits - 96, 0)}`
              : guest.text("ipNetwork", ip, 32, bits)!;
          oracle.addSubnet(cut, bits, isIPv4(cut) ? "ipv4" : "ipv6");
          // It does not treat an IPv4-mapped address as that IPv4 address.
          if (cut.startsWith("::ffff:")) oracle.addSubnet(cut.slice(7), bits - 96, "ipv4");
          return `${cut}/${bits}`;
        });
        const plain = address.startsWith("::ffff:") ? address.slice(7) : address;
        const expected = oracle.check(plain, isIPv4(plain) ? "ipv4" : "ipv6");
        assert.equal(guest.number("ipSetHas", cidrs.join(" "), address), expected ? 1 : 0, `${cidrs} ${address}`);
      }),
      runs,
    );
  });

  test("has the addresses between its networks after a network around them is added", () => {
    const ends = "11.0.0.0/8 10.0.0.0/9";
    assert.equal(guest.number("ipSetHas", ends, "10.128.0.0"), 0);
    for (const wide of ["10.0.0.0/7", "::ffff:10.0.0.0/103"])
      assert.equal(guest.number("ipSetHas", `${ends} ${wide}`, "10.128.0.0"), 1, wide);
  });

  test("rejects an invalid network", () => {
    for (const bad of [
      "",
      "x",
      "10.0.0.1/8",
      "10.0.0.0/33",
      "10.0.0.0/",
      "10.0.0.0/08",
      "10.0.0.0/-1",
      "2001:db8::1/64",
      "::/129",
      "10.0.0.0/8/8",
    ])
      assert.equal(guest.number("ipSetHas", bad === "" ? " " : bad, "10.0.0.1"), -1, bad);
    assert.equal(guest.number("ipSetHas", "0.0.0.0/0", "10.0.0.1"), 1);
    assert.equal(guest.number("ipSetHas", "0.0.0.0/0", "::1"), 0);
    assert.equal(guest.number("ipSetHas", "::/0", "10.0.0.1"), 1);
    assert.equal(guest.number("ipSetHas", "::/0", "no address"), 0);
    assert.equal(guest.number("ipSetHas", "", "10.0.0.1"), 0);
  });
});
