import { createPrivateKey, sign } from "node:crypto";
import { runExample } from "../run-example.mjs";

/** Only for this example: this key is public. */
const KEY = createPrivateKey({
  format: "jwk",
  key: {
    kty: "OKP",
    crv: "Ed25519",
    x: "bv0IRbs9PJzC7kHjJhqIPa9m2NgsTM9ua-FiU9GI8sw",
    d: "1wpl0Q_Wt5SaUvofRMyhzB0x2ls5vns7G7veTdHPs14",
  },
});

/** @param {string} audience */
function makeToken(audience) {
  /** @param {object} part */
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: "https://id.example.com",
    aud: audience,
    sub: "ann",
    exp: now + 3600,
    realm: { roles: "buyer" },
  };
  const signed = `${encode({ alg: "EdDSA", kid: "example", typ: "JWT" })}.${encode(claims)}`;
  return `${signed}.${sign(null, Buffer.from(signed), KEY).toString("base64url")}`;
}

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001 },
  commands: [
    "curl -i $URL/                    # 401",
    `curl -s -H 'Authorization: Bearer ${makeToken("shop")}' $URL/      # x-user: ann`,
    `curl -i -H 'Authorization: Bearer ${makeToken("another")}' $URL/   # 401: another audience`,
  ],
});
