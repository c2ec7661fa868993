import assert from "node:assert/strict";
import { test } from "node:test";
import { Mask } from "../../../src/proxy/mask.ts";

const mask = new Mask(["X-Internal-Id", "ref"]);

test("values of names that say that they are secret are masked, and of those that are configured", () => {
  for (const name of [
    "Authorization",
    "proxy-authorization",
    "cookie",
    "Set-Cookie",
    "x-api-key",
    "X-Auth-Token",
    "x-csrf-token",
    "jsessionid",
    "client_secret",
    "password",
    "x-internal-id",
    "sig",
    "code",
  ])
    assert.equal(mask.value(name, "s3cret"), "***", name);
  for (const name of ["host", "content-type", "x-user", "accept-encoding", "x-status-code", "author", "monkey", "path"])
    assert.equal(mask.value(name, "plain"), "plain", name);
});

test("secrets in queries and in URLs are masked wherever a value holds one", () => {
  assert.equal(mask.query("a=1&access_token=abc&b=2"), "a=1&access_token=***&b=2");
  assert.equal(mask.query("access%5Ftoken=abc&ref=9&flag"), "access%5Ftoken=***&ref=***&flag");
  assert.equal(
    mask.value("location", "https://ann:pw@id.example/cb?code=xyz&state=1#api_key=2"),
    "https://***@id.example/cb?code=***&state=***#api_key=***",
  );
  assert.equal(mask.text("no query here"), "no query here");
});

test("what a client sends is masked in a time that grows with its length alone", () => {
  const mask = new Mask([]);
  for (const text of ["a", "%41", "a=", "auth-", "://", "://a", "a ", "?a"]) {
    const long = text.repeat(120_000 / text.length);
    const began = performance.now();
    mask.text(`?${long}`);
    mask.text(`https://${long}`);
    mask.value(long, long);
    assert.ok(performance.now() - began < 1000, text);
  }
  for (const [text, shown] of [
    ["?=token=abc", "?=token=***"],
    ["?a=1&&token=abc", "?a=1&&token=***"],
    ["?a=b=token=abc&x", "?a=b=token=abc&x"],
    ["?a token=abc", "?a token=***"],
    ["?x?token=abc", "?x?token=***"],
  ])
    assert.equal(mask.text(text!), shown);
});
