import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  isAuthority,
  isFieldValue,
  isProtected,
  isToken,
  mayTrail,
  nameId,
  resistsNomination,
  setAuthority,
} from "../../../src/http/fields.ts";
import { Head, HOP_BY_HOP, NAME, PART } from "../../../src/http/head.ts";

type Check = (bytes: Buffer, start: number, end: number) => boolean;
// The bytes around the area would change the result if they were read.
const on = (check: Check, text: string): boolean => {
  const bytes = Buffer.from(`\0${text}\0`, "latin1");
  return check(bytes, 1, 1 + text.length);
};
const idOf = (name: string): number => nameId(Buffer.from(`-${name}-`, "latin1"), 1, 1 + name.length);
const randomCase = (name: string, bits: number): string =>
  [...name].map((char, i) => ((bits >> (i % 31)) & 1 ? char.toUpperCase() : char.toLowerCase())).join("");

test("every known name is recognised in any case, and no similar one", () => {
  const known = Object.entries(NAME).filter(([, id]) => id > 0 && id < NAME.lookalike);
  assert.ok(known.length > 20);
  for (const [name, id] of known) {
    const forwards = name.startsWith("x-forwarded-");
    const near = forwards ? NAME["x-forwarded-other"] : NAME.other;
    const owned = forwards || id === NAME["x-real-ip"] || HOP_BY_HOP.includes(id);
    fc.assert(
      fc.property(fc.nat(), fc.nat(name.length - 1), (bits, at) => {
        assert.equal(idOf(randomCase(name, bits)), id);
        assert.equal(idOf(`${name}s`), near);
        assert.equal(idOf(name.slice(0, -1)), near);
        const imitates = owned && name[at] === "-";
        const other = `${name.slice(0, at)}!${name.slice(at + 1)}`;
        assert.equal(idOf(other), imitates || (forwards && at > 11) ? NAME.lookalike : NAME.other, other);
      }),
      { numRuns: 20 },
    );
  }
  for (const name of ["", "x", "accept", "x-forwarded", "x-forwarded-", "x".repeat(300)])
    assert.equal(idOf(name), NAME.other, name);
  for (const name of ["x-forwarded-prefix", "X-Forwarded-Ssl", "x-forwarded-client-cert", "x-forwarded-x".repeat(30)])
    assert.equal(idOf(name), NAME["x-forwarded-other"], name);
});

test("no spelling imitates a name that the core itself writes or obeys", () => {
  for (const name of [
    ...["X_Forwarded_For", "x-forwarded_for", "x_forwarded-proto", "X-FORWARDED-CLIENT_CERT", "x_real_ip"],
    ...["X.Forwarded.For", "x~forwarded!for", "x*forwarded-prefix", "X-Forwarded-Client.Cert", "X.Real-IP"],
    ...["Content_Length", "transfer.encoding", "keep_alive", "Proxy~Connection"],
  ])
    assert.equal(idOf(name), NAME.lookalike, name);
  for (const name of ["x_forwarded", "xx_forwarded_for", "x_forwardedfor", "8_forwarded_for", "x_realip", "set_cookie"])
    assert.equal(idOf(name), NAME.other, name);
});

test("tokens and values accept what RFC 9110 allows", () => {
  for (let byte = 0; byte < 256; byte++) {
    const char = String.fromCharCode(byte);
    assert.equal(on(isToken, `a${char}`), /[!#$%&'*+.^_`|~0-9A-Za-z-]/.test(char), `token ${byte}`);
    assert.equal(on(isFieldValue, `a${char}`), byte === 9 || (byte >= 32 && byte !== 127), `value ${byte}`);
  }
  assert.equal(on(isToken, ""), false);
  assert.equal(on(isFieldValue, ""), true);
});

test("an authority is a host, perhaps with a port", () => {
  for (const good of [
    ..."a|a.b|A-b_c~d|1.2.3.4|a:0|a:80|a:65535|a:00080|x!$&'()*+;=y".split("|"),
    ..."[::]|[::1]:8080|[1:2:3:4:5:6:7:8]|[fe80::a:b]|[::ffff:1.2.3.4]|[1::]|[1:2:3:4:5:6:1.2.3.4]".split("|"),
    "a".repeat(255),
  ])
    assert.ok(on(isAuthority, good), good);
  for (const bad of [
    ..."|:|:80|a:|a:b|a:65536|a:000080|a:8 0|a,b|a@b|a/|a?|a#|a\\b|a b|a%41|é|a:80:80|::1|[|[]|[::1|[::1]x|[::1]:".split(
      "|",
    ),
    ..."[:]|[1]|[1:2]|[:::]|[1::2::3]|[1:2:3:4:5:6:7:8:9]|[12345::]|[g::]|[::1%25eth0]|[::1.2.3]|[::1.2.3.4.5]".split(
      "|",
    ),
    ..."[::256.1.1.1]|[1:2:3:4:5:6:7:1.2.3.4]|[1:]|[:1]|[::1:]|[v1.a]|[1.2.3.4]|[1:2:3:4:5:6:7::8]".split("|"),
    "a".repeat(262),
  ])
    assert.equal(on(isAuthority, bad), false, bad);
});

test("a plugin cannot set framing and hop-by-hop headers", () => {
  for (const name of [
    ...["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"],
    ...["content-length", "expect", "http2-settings", "proxy-authorization", "X_Forwarded_For"],
  ])
    assert.ok(isProtected(idOf(name)), name);
  for (const name of ["host", "via", "cookie", "set-cookie", "date", "server", "x-forwarded-for", "accept"])
    assert.equal(isProtected(idOf(name)), false, name);
});

test("Connection cannot remove headers for authorization and routing", () => {
  const resists = (name: string): boolean => {
    const bytes = Buffer.from(name, "latin1");
    return resistsNomination(nameId(bytes, 0, bytes.length), bytes, 0, bytes.length);
  };
  for (const name of ["Host", "Authorization", "X-Forwarded-Port", "x-forwarded-for", "Cookie", "Content-Length"])
    assert.ok(resists(name), name);
  for (const name of ["x-tenant", "authorizations", "x-forwarded", "keep-alives"]) assert.equal(resists(name), false);
  assert.ok(resists("X-Real-IP"));
});

test("trailers may not frame, route or authenticate", () => {
  const passes = (name: string): boolean => on((bytes, start, end) => mayTrail(bytes, start, end), name);
  for (const name of ["grpc-status", "x-checksum", "Server-Timing", "ETag", "digest"]) assert.ok(passes(name), name);
  for (const name of [
    ...["Content-Length", "transfer-encoding", "HOST", "Authorization", "Set-Cookie", "content-type", "trailer"],
    ...["Content-Encoding", "cache-control", "te", "x-forwarded-for", "X-Forwarded-Port", "x_forwarded_for", "range"],
  ])
    assert.equal(passes(name), false, name);
});

test("authority and Host are set together, or not at all", () => {
  const head = new Head(16, 1);
  const set = (text: string): boolean => setAuthority(head, Buffer.from(text, "latin1"), 0, text.length);
  assert.ok(set("a.example:81"));
  assert.equal(head.partText(PART.authority), "a.example:81");
  assert.equal(head.get("host"), "a.example:81");
  assert.ok(set("b"));
  assert.equal(head.get("host"), "b");
  assert.equal(head.count, 1);
  assert.equal(set("c/d"), false);
  assert.equal(head.get("host"), "b");
  assert.equal(head.partText(PART.authority), "b");
});
