/** The SDK's cookies, in the real host. */
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import type { Exchange } from "../../../src/proxy/exchange.ts";
import { call, compileSource, exchange, load } from "../../contract/plugin-harness.ts";

const wasm = await compileSource(`
import { Cookies, Request, SetCookie } from "sluice/sdk";
export function onRequest(req: Request): void {
  const wanted = req.headers.get("x-get"), unwanted = req.headers.get("x-remove"), made = req.headers.get("x-set");
  if (wanted) req.headers.set("x-value", Cookies.get(req.headers, wanted) || "none");
  if (unwanted) req.headers.set("x-removed", Cookies.remove(req.headers, unwanted).toString());
  if (made) req.respond(200).headers.set("set-cookie", make(made));
}
function make(words: string): string {
  const list = words.split(" ");
  const cookie = new SetCookie(list[0], list[1]);
  for (let i = 2; i < list.length; i++) {
    const word = list[i].split("=")[0], value = list[i].substring(word.length + 1);
    if (word == "path") cookie.path(value);
    else if (word == "domain") cookie.domain(value);
    else if (word == "age") cookie.maxAge(<i32>parseInt(value));
    else if (word == "expires") cookie.expires(parseFloat(value));
    else if (word == "secure") cookie.secure();
    else if (word == "http") cookie.httpOnly();
    else if (word == "site") cookie.sameSite(value);
    else cookie.partitioned();
  }
  return cookie.toString();
}`);
const loaded = load(wasm);
after(() => loaded.dispose());

function run(headers: string): Exchange {
  const on = exchange(`GET / HTTP/1.1\nHost: a\n${headers}`);
  call(loaded, "request_head", on);
  return on;
}

describe("a cookie of the request", () => {
  const get = (cookies: string, name: string) => run(`${cookies}\nX-Get: ${name}`).request.get("x-value");

  test("is found by its whole name, in every field; the first one counts", () => {
    assert.equal(get("Cookie: a=1; b=2", "b"), "2");
    assert.equal(get("Cookie: ab=1;b=2", "b"), "2");
    assert.equal(get("Cookie: b=1; b=2", "b"), "1");
    assert.equal(get("Cookie: a=1\nCookie: c=3", "c"), "3");
    assert.equal(get("Cookie: a=b=c", "a"), "b=c");
    assert.equal(get('Cookie: a="x y"', "a"), '"x y"');
    assert.equal(get("Cookie:  a = 1 ;  b", "a"), "1");
    assert.equal(get(`Cookie: big=${"x".repeat(4000)}; a=1`, "a"), "1");
  });

  test("is absent under another name, in another case, or without =", () => {
    for (const cookies of ["Cookie: xa=1; ax=2; A=3", "Cookie: a", "Cookie: ; ;", "X-Cookie: a=1", 'Cookie: x="; a'])
      assert.equal(get(cookies, "a"), "none", cookies);
  });

  test("is removed, and the others are unchanged", () => {
    const remove = (cookies: string, name: string) => {
      const { request } = run(`${cookies}\nX-Remove: ${name}`);
      return [request.get("x-removed"), request.get("cookie")];
    };
    assert.deepEqual(remove("Cookie: a=1; b= x ;a=2; c", "a"), ["true", "b= x; c"]);
    assert.deepEqual(remove("Cookie: a=1", "a"), ["true", undefined]);
    assert.deepEqual(remove("Cookie: b=1;c", "a"), ["false", "b=1;c"]);
    assert.deepEqual(remove("Cookie: a=1\nCookie: b=2", "a"), ["true", "b=2"]);
  });
});

describe("a cookie to be set", () => {
  /** The cookie, or why there is none. A host reports one failure of a plugin, and the next of the same kind later. */
  const set = (words: string): string => {
    const own = load(wasm);
    const on = exchange(`GET / HTTP/1.1\nHost: a\nX-Set: ${words}`);
    call(own, "request_head", on);
    own.dispose();
    return on.response.get("set-cookie") ?? own.reports.join("\n");
  };

  test("has the attributes that were set", () => {
    assert.equal(set("a 1"), "a=1");
    assert.equal(
      set("sid x-1 path=/app domain=example.com age=60 expires=784111777000 secure http site=Lax"),
      "sid=x-1; Path=/app; Domain=example.com; Max-Age=60; Expires=Sun, 06 Nov 1994 08:49:37 GMT; Secure; HttpOnly; SameSite=Lax",
    );
    assert.equal(
      set("__Host-a 1 secure path=/ site=None part"),
      "__Host-a=1; Secure; Path=/; SameSite=None; Partitioned",
    );
    assert.equal(set('a "quoted"'), 'a="quoted"');
  });

  test("is rejected if browsers would reject or misread it", () => {
    const cases: [words: string, message: RegExp][] = [
      ["a;b 1", /invalid cookie name "a;b"/],
      ["a=b 1", /invalid cookie name "a=b"/],
      ["a x;y", /invalid cookie value "x;y"/],
      ["a x,y", /invalid cookie value/],
      ['a x"y', /invalid cookie value/],
      ["a x\\y", /invalid cookie value/],
      ["a 1 path=x", /invalid cookie Path "x"/],
      ["a 1 path=/;x", /invalid cookie Path/],
      ["a 1 domain=", /invalid cookie Domain ""/],
      ["a 1 domain=a/b", /invalid cookie Domain/],
      ["a 1 site=lax", /invalid cookie SameSite "lax"/],
      ["a 1 site=None", /cookie a: SameSite=None requires secure\(\)/],
      ["a 1 part", /Partitioned requires secure/],
      ["__Secure-a 1", /__Secure-a requires secure/],
      ["__HOST-a 1 path=/", /requires secure/],
      ["__Host-a 1 secure", /requires path\("\/"\) and no domain/],
      ["__Host-a 1 secure path=/x", /requires path/],
      ["__Host-a 1 secure path=/ domain=a.b", /requires path/],
    ];
    for (const [words, message] of cases) assert.match(set(words), message, words);
  });
});
