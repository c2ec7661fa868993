import assert from "node:assert/strict";
import { createPrivateKey, createPublicKey, verify } from "node:crypto";
import { test } from "node:test";
import { makeKey } from "../../../../src/net/acme/certificates.ts";
import { authorizeKey, signRequest, thumbprint } from "../../../../src/net/acme/jws.ts";

const decode = (text: string) => Buffer.from(text, "base64url").toString();

test("a request is signed by ES256, with the key or the account", () => {
  const key = makeKey();
  for (const account of [null, "https://ca.example/account/1"])
    for (const payload of [{ a: 1 }, null]) {
      const text = signRequest(payload, { key, url: "https://ca.example/order", nonce: "n-1", account });
      const { protected: head, payload: body, signature } = JSON.parse(text);
      const header = JSON.parse(decode(head));
      const { kty, crv, x, y } = createPublicKey(key).export({ format: "jwk" });
      const identity = account === null ? { jwk: { crv, kty, x, y } } : { kid: account };
      assert.deepEqual(header, { alg: "ES256", ...identity, nonce: "n-1", url: "https://ca.example/order" });
      assert.equal(decode(body), payload === null ? "" : '{"a":1}');
      const signed = Buffer.from(`${head}.${body}`);
      const bytes = Buffer.from(signature, "base64url");
      assert.equal(bytes.length, 64);
      assert.ok(verify("sha256", signed, { key: createPublicKey(key), dsaEncoding: "ieee-p1363" }, bytes));
      assert.doesNotMatch(decode(head), /"d"/);
    }
});

test("the thumbprint of a key is that of RFC 7638", () => {
  // The key of RFC 7517 appendix A.2.
  const jwk = {
    kty: "EC",
    crv: "P-256",
    x: "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    y: "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    d: "870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE",
  };
  const key = createPrivateKey({ key: jwk, format: "jwk" });
  assert.equal(thumbprint(key), "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s");
  assert.equal(authorizeKey("token", key), `token.${thumbprint(key)}`);
});
