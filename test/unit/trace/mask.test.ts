import assert from "node:assert/strict";
import { test } from "node:test";
import { Mask } from "../../../src/trace/mask.ts";
import { assertLinear } from "../../support/steps.ts";

const mask = new Mask(["X-Internal-Id", "ref"]);

test("values of names that suggest a secret are masked, and of configured names", () => {
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

test("secrets in queries and in URLs are masked anywhere in a value", () => {
  assert.equal(mask.query("a=1&access_token=abc&b=2"), "a=1&access_token=***&b=2");
  assert.equal(mask.query("access%5Ftoken=abc&ref=9&flag"), "access%5Ftoken=***&ref=***&flag");
  assert.equal(
    mask.value("location", "https://ann:pw@id.example/cb?code=xyz&state=1#api_key=2"),
    "https://***@id.example/cb?code=***&state=***#api_key=***",
  );
  assert.equal(mask.text("no query here"), "no query here");
});

/** Names under which a value is a secret, of headers, parameters, form fields and members of JSON alike. */
const SECRET_NAMES = [
  ...["authorization", "Proxy-Authorization", "x-original-authorisation", "x-api-key", "apikey", "ApiKey", "api.key"],
  ...["pwd", "db_pwd", "userPwd", "pass", "user_pass", "userPass", "dbpass", "password", "newPassword", "passwd"],
  ...["passphrase", "passcode", "accesskey", "AWSAccessKeyId", "access_key", "secretKey", "privateKey", "ssh-key"],
  ...["sshkey", "hmac", "X-Hmac-Sha256", "dpop", "DPoP-Proof", "sk", "x-sk", "sig", "X-Amz-Signature", "sas", "jwt"],
  ...["id_token", "refreshToken", "x-csrf-token", "xsrf", "csrfmiddleware", "sessionid", "PHPSESSID", "connect.sid"],
  ...["sid", "otp", "totp", "mfa-code-otp", "pin", "client_secret", "clientSecret", "client_assertion", "SAMLResponse"],
  ...["code_verifier", "oauth_nonce", "X-Amz-Credential", "creds", "x-auth", "auth", "authn", "x-wsse", "ticket"],
  ...["Cookie", "set-cookie", "remember_token", "bearer", "webhook_url", "mnemonic", "seed", "webauthn-passkey"],
];
const PLAIN_NAMES = [
  ...[
    "host",
    "content-type",
    "accept",
    "user-agent",
    "x-request-id",
    "x-forwarded-for",
    "if-none-match",
    "etag",
    "range",
  ],
  ...[
    "passenger",
    "compass",
    "bypass",
    "author",
    "monkey",
    "keyboard",
    "sketch",
    "design",
    "opinion",
    "spinner",
    "page",
  ],
  ...["side", "considered", "x-status-code", "statement", "digest", "content-digest", "tags", "shipping", "authorId"],
];

test("a secret is masked by its name at any position", () => {
  assert.ok(SECRET_NAMES.length > 60);
  const forms: ((name: string, value: string) => string)[] = [
    (name, value) => mask.value(name, value),
    (name, value) => mask.query(`a=1&${name}=${value}&b=2`),
    (name, value) => mask.value("location", `https://a.example/x?${name}=${value}#top`),
    (name, value) => mask.value("x-body", `a=1&${name}=${value}`),
    (name, value) => mask.value("x-params", `realm="a b", ${name}="${value}", b=2`),
    (name, value) => mask.value("x-data", JSON.stringify({ a: 1, [name]: value, b: "kept" })),
    (name, value) => mask.value("x-data", JSON.stringify({ a: [{ [name]: { deep: [value, "x"] } }], b: "kept" })),
    (name, value) => mask.value("x-data", `v1 { "${name}" :\t"${value}", "b": "kept" }`),
    (name, value) => mask.value("x-data", JSON.stringify({ a: JSON.stringify({ [name]: value }), b: "kept" })),
    (name, value) => mask.value("x-data", `{"a":1,"${name}":"${value}`),
    (name, value) => mask.query(`q=${encodeURIComponent(JSON.stringify({ [name]: value }))}&b=2`),
    (name, value) => mask.query(`next=${encodeURIComponent(`https://a.example/?${name}=${value}`)}&b=2`),
  ];
  for (const name of SECRET_NAMES)
    for (const [i, form] of forms.entries()) {
      const shown = form(name, "planted7value");
      assert.ok(!shown.includes("planted7value"), `${i}: ${shown}`);
      assert.ok(shown.includes("***"), `${i}: ${shown}`);
      if (i >= 5 && i < 9) assert.ok(shown.includes("kept"), `${i}: ${shown}`);
    }
  for (const name of PLAIN_NAMES)
    for (const [i, form] of forms.entries()) {
      const shown = form(name, "planted7value");
      assert.ok(!shown.includes("***"), `${i}: ${shown}`);
    }
});

test("a secret of a known form is masked under any name", () => {
  const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.c2lnbmF0dXJl";
  for (const [text, shown] of [
    ["Basic YW5uOnB3", "Basic ***"],
    ["Bearer abcDEF123", "Bearer ***"],
    ["dpop abcDEF123, x", "dpop ***, x"],
    [`a ${jwt} b`, "a *** b"],
    [`{"t":"${jwt}","u":1}`, '{"t":"***","u":1}'],
    ["AKIAIOSFODNN7EXAMPLE", "***"],
    [`ghp_${"a1".repeat(18)}`, "***"],
    ["xoxb-1234567890-abc", "***"],
    [`x=sk_live_${"a1".repeat(12)}`, "x=***"],
    [`AIza${"a1".repeat(17)}b`, "***"],
    ["https://ann:p@ss@db.example/x", "https://***@db.example/x"],
    ["postgres://ann:pw@db/x?a=1", "postgres://***@db/x?a=1"],
    ["-----BEGIN RSA PRIVATE KEY-----MIIE", "***"],
    ["sent password: hunter2 to it", "sent password: *** it"],
    ["X-Api-Key: abc", "X-Api-Key: ***"],
  ] as const)
    assert.equal(mask.value("x-any", text), shown, text);
  for (const text of [
    ...["basic authentication", "bearer of news", "token ring", "https://a.example/x:y@z", "key", "a: b, c: d"],
    ...['{"a":"b","c":[1,2,{"d":null}]}', '{"a', '"', "{", '{"a":"b\\"c"}', "text/html;q=0.9, */*;q=0.8", 'W/"abc"'],
    ...["Mon, 30 Nov 2026 02:00:00 GMT", "eyJ", "sk-ip", "max-age=3600, must-revalidate", "v1,t=1"],
  ])
    assert.equal(mask.value("x-any", text), text);
});

test("masking takes work linear in the length of the input", () => {
  const mask = new Mask([]);
  for (const text of [
    "a",
    "%41",
    "a=",
    "auth-",
    "://",
    "://a",
    "a ",
    "?a",
    '"',
    '{"a":',
    '{"pin":',
    "[",
    '{"a":"\\\\',
    "%7B",
    "a: ",
    "basic ",
    "basic a",
    "eyJ",
    "a=%7B%22",
  ]) {
    const run = (size: number): void => {
      const long = text.repeat(size / text.length);
      mask.text(`?${long}`);
      mask.text(`https://${long}`);
      mask.value(long, long);
    };
    assertLinear(300, run, text);
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
