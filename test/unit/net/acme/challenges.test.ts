import assert from "node:assert/strict";
import { test } from "node:test";
import { makeChallengeCertificate } from "../../../../src/net/acme/certificates.ts";
import { type Challenge, Challenges } from "../../../../src/net/acme/challenges.ts";

const PREFIX = "/.well-known/acme-challenge/";

test("only the exact path of a pending challenge has a response", () => {
  const challenges = new Challenges();
  const challenge: Challenge = { type: "http-01", name: "a.example", token: "token", content: "token.print" };
  const read = (path: string) => {
    const bytes = Buffer.from(`xx${path}yy`);
    return challenges.contentFor(bytes, 2, bytes.length - 2)?.toString() ?? null;
  };
  assert.deepEqual([challenges.hasContents, read(`${PREFIX}token`)], [false, null]);
  challenges.add(challenge);
  assert.deepEqual([challenges.hasContents, read(`${PREFIX}token`)], [true, "token.print"]);
  for (const path of [PREFIX, `${PREFIX}toke`, `${PREFIX}token/`, `${PREFIX}../token`, "/", "", `/x${PREFIX}token`])
    assert.equal(read(path), null, path);
  assert.equal(read(PREFIX + "x".repeat(100_000)), null);
  challenges.remove(challenge);
  assert.deepEqual([challenges.hasContents, read(`${PREFIX}token`)], [false, null]);
});

test("a certificate is served for its name until it is removed, and kept if another order has replaced it", () => {
  const challenges = new Challenges();
  const make = (token: string): Challenge => {
    return { type: "tls-alpn-01", name: "a.example", token, ...makeChallengeCertificate("a.example", token) };
  };
  const [first, second] = [make("1"), make("2")];
  challenges.add(first);
  challenges.add(second);
  assert.equal(challenges.hasContents, false);
  challenges.remove(first);
  assert.ok(challenges.contextFor("a.example"));
  assert.equal(challenges.contextFor("b.example"), null);
  challenges.remove(second);
  assert.equal(challenges.contextFor("a.example"), null);
});
