import assert from "node:assert/strict";
import nodeCrypto, { constants, createHash, createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { syncBuiltinESMExports } from "node:module";
import { beforeEach, describe, test } from "node:test";
import fc from "fast-check";
import { CRYPTO_FUEL, DIGEST, LIMIT, SIGNATURE, STATUS } from "../../../../../src/abi/abi.ts";
import { CallContext } from "../../../../../src/plugin/abi/call-context.ts";
import { STARTING } from "../../../../../src/plugin/abi/hook-scope.ts";
import { makeImports } from "../../../../../src/plugin/abi/native/imports.ts";

const KEY_AT = 1024;
const DATA_AT = 65_536;
const SIGNATURE_AT = 262_144;
const OUT = 400_000;
const PAGES = 16;

let context: CallContext;
let crypto: ReturnType<typeof makeImports>["sluice:crypto/1"];
/** Fuel that was taken from the guest. */
let taken: number;

beforeEach(() => {
  context = new CallContext(() => 0);
  context.memory.attach(new WebAssembly.Memory({ initial: PAGES }));
  taken = 0;
  context.charge = (units) => 10_000_000 - (taken += units);
  crypto = makeImports(context)["sluice:crypto/1"];
  context.begin(STARTING, null, null, null);
  // Every unit is settled at once.
  context.allow(0);
});

function put(at: number, bytes: Uint8Array | string): number {
  const buffer = Buffer.from(bytes as Uint8Array);
  buffer.copy(context.memory.bytes, at);
  return buffer.length;
}

const out = (length: number): string => context.memory.bytes.toString("hex", OUT, OUT + length);

function verify(name: keyof typeof SIGNATURE, key: string, data: Uint8Array | string, signature: Uint8Array): number {
  const lengths = [put(KEY_AT, key), put(DATA_AT, data), put(SIGNATURE_AT, signature)] as const;
  return crypto.verify(SIGNATURE[name], KEY_AT, lengths[0], DATA_AT, lengths[1], SIGNATURE_AT, lengths[2]);
}

describe("hashes", () => {
  test("are those of node:crypto, at any length", () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    fc.assert(
      fc.property(fc.constantFrom("sha256", "sha384", "sha512"), bytes, bytes, (name, key, data) => {
        const length = put(DATA_AT, data);
        assert.equal(
          out(crypto.digest(DIGEST[name], DATA_AT, length, OUT, 64)),
          createHash(name).update(data).digest("hex"),
        );
        const made = crypto.hmac(DIGEST[name], KEY_AT, put(KEY_AT, key), DATA_AT, length, OUT, 64);
        assert.equal(out(made), createHmac(name, key).update(data).digest("hex"));
      }),
    );
  });

  test("of an unknown number are invalid, and a hash that does not fit is not written", () => {
    for (const number of [-1, 3, 1 << 30]) {
      assert.equal(crypto.digest(number, DATA_AT, 1, OUT, 64), STATUS.invalid);
      assert.equal(crypto.hmac(number, KEY_AT, 1, DATA_AT, 1, OUT, 64), STATUS.invalid);
    }
    context.memory.bytes.fill(0xaa, OUT, OUT + 32);
    assert.equal(crypto.digest(DIGEST.sha256, DATA_AT, 1, OUT, 31), 32);
    assert.equal(out(32), "aa".repeat(32));
  });

  test("cost by length, before they are made", () => {
    crypto.digest(DIGEST.sha256, DATA_AT, 65_536, OUT, 64);
    assert.equal(taken, 10 + 65_536 / 64 + CRYPTO_FUEL.digest + 65_536 / CRYPTO_FUEL.bytesPerUnit);
    context.charge = () => -1;
    assert.throws(() => crypto.digest(DIGEST.sha256, DATA_AT, 65_536, OUT, 64), /fuel/);
  });

  test("with a key cost by the length of both", () => {
    crypto.hmac(DIGEST.sha256, KEY_AT, 1024, DATA_AT, 65_536, OUT, 64);
    const bytes = 1024 + 65_536;
    assert.equal(taken, 10 + bytes / 64 + CRYPTO_FUEL.hmac + bytes / CRYPTO_FUEL.bytesPerUnit);
    context.charge = () => -1;
    assert.throws(() => crypto.hmac(DIGEST.sha256, KEY_AT, 1, DATA_AT, 65_536, OUT, 64), /fuel/);
  });

  test("a range outside of memory ends the guest", () => {
    const end = PAGES * 65_536;
    const calls: (() => number)[] = [
      () => crypto.digest(0, end, 1, OUT, 64),
      () => crypto.digest(0, DATA_AT, 1, end - 10, 64),
      () => crypto.hmac(0, KEY_AT, -1, DATA_AT, 1, OUT, 64),
      () => crypto.equal(KEY_AT, 1, end, 1),
      () => crypto.verify(0, KEY_AT, 1, DATA_AT, 1, end, 1),
      () => crypto.random_bytes(end - 1, 2),
    ];
    for (const call of calls) {
      assert.throws(call, /outside of the memory/);
      context.busy = false;
    }
  });
});

test("equal compares bytes, and texts of different lengths are not equal", () => {
  const equal = (a: string, b: string) => crypto.equal(KEY_AT, put(KEY_AT, a), DATA_AT, put(DATA_AT, b));
  assert.equal(equal("secret", "secret"), 1);
  assert.equal(equal("secret", "secreT"), 0);
  assert.equal(equal("secret", "secret "), 0);
  assert.equal(equal("", ""), 1);
  assert.equal(equal("", "a"), 0);
});

test("equal takes the same time for every position at which two secrets differ", (t) => {
  const compare = t.mock.method(nodeCrypto, "timingSafeEqual");
  syncBuiltinESMExports();
  t.after(() => {
    compare.mock.restore();
    syncBuiltinESMExports();
  });
  const pairs = [
    ["secret", "secret"],
    ["secret", "Secret"],
    ["secret", "secreT"],
  ] as const;
  for (const [a, b] of pairs) crypto.equal(KEY_AT, put(KEY_AT, a), DATA_AT, put(DATA_AT, b));
  assert.equal(compare.mock.callCount(), pairs.length);
});

test("random bytes fill the range and nothing else, up to their limit", () => {
  assert.equal(crypto.random_bytes(OUT, 32), STATUS.ok);
  const first = out(32);
  assert.equal(crypto.random_bytes(OUT, 32), STATUS.ok);
  assert.notEqual(out(32), first);
  assert.equal(context.memory.bytes[OUT + 32], 0);
  assert.equal(context.memory.bytes[OUT - 1], 0);
  assert.equal(crypto.random_bytes(OUT, LIMIT.randomBytes), STATUS.ok);
  assert.equal(crypto.random_bytes(OUT, LIMIT.randomBytes + 1), STATUS.tooLarge);
});

const DATA = "the signed words";
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const ed = generateKeyPairSync("ed25519");
const pss = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };

const signers: readonly [keyof typeof SIGNATURE, KeyObject, (data: string) => Buffer][] = [
  ["rs256", rsa.publicKey, (data) => sign("sha256", Buffer.from(data), rsa.privateKey)],
  ["ps256", rsa.publicKey, (data) => sign("sha256", Buffer.from(data), { key: rsa.privateKey, ...pss })],
  [
    "es256",
    ec.publicKey,
    (data) => sign("sha256", Buffer.from(data), { key: ec.privateKey, dsaEncoding: "ieee-p1363" }),
  ],
  ["eddsa", ed.publicKey, (data) => sign(null, Buffer.from(data), ed.privateKey)],
];

const pem = (key: KeyObject): string => key.export({ type: "spki", format: "pem" }) as string;
const jwk = (key: KeyObject, more: object = {}): string =>
  JSON.stringify({ ...key.export({ format: "jwk" }), ...more });

describe("verify", () => {
  for (const [name, key, make] of signers) {
    test(`${name}: accepts the signature of the data, with a key as PEM or JWK, and no other`, () => {
      const signature = make(DATA);
      for (const text of [pem(key), jwk(key), `\n${pem(key)}`, jwk(key, { use: "sig", key_ops: ["verify"] })]) {
        assert.equal(verify(name, text, DATA, signature), 1);
        assert.equal(verify(name, text, `${DATA}.`, signature), 0);
        for (const at of [0, signature.length - 1]) {
          const changed = Buffer.from(signature);
          changed[at]! ^= 1;
          assert.equal(verify(name, text, DATA, changed), 0);
        }
        for (const wrong of [Buffer.alloc(0), signature.subarray(1), Buffer.concat([signature, Buffer.alloc(1)])])
          assert.equal(verify(name, text, DATA, wrong), 0);
        assert.equal(verify(name, text, DATA, Buffer.alloc(signature.length)), 0);
      }
    });

    test(`${name}: a key of another kind, or for another use, is invalid`, () => {
      const signature = make(DATA);
      for (const [, other] of signers)
        if (other.asymmetricKeyType !== key.asymmetricKeyType)
          assert.equal(verify(name, pem(other), DATA, signature), STATUS.invalid);
      assert.equal(verify(name, jwk(key, { use: "enc" }), DATA, signature), STATUS.invalid);
      assert.equal(verify(name, jwk(key, { alg: "HS256" }), DATA, signature), STATUS.invalid);
      assert.equal(verify(name, jwk(key, { key_ops: ["sign"] }), DATA, signature), STATUS.invalid);
    });
  }

  test("accepts the signatures of RFC 7515 A.3 and RFC 8037 A.4", () => {
    const cases = [
      [
        "es256",
        '{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}',
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
      ],
      [
        "eddsa",
        '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
        "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
      ],
    ] as const;
    for (const [name, key, token] of cases) {
      const dot = token.lastIndexOf(".");
      assert.equal(verify(name, key, token.slice(0, dot), Buffer.from(token.slice(dot + 1), "base64url")), 1);
    }
  });

  test("rejects private, weak and oversized keys, slow exponents, other curves and text that is not a key", () => {
    const signature = Buffer.alloc(256, 1);
    const weak = generateKeyPairSync("rsa", { modulusLength: 1024 });
    const slow = jwk(rsa.publicKey, { e: rsa.publicKey.export({ format: "jwk" }).n });
    const huge = jwk(rsa.publicKey, { n: Buffer.alloc(1025, 0xff).toString("base64url") });
    const other = generateKeyPairSync("ec", { namedCurve: "P-384" });
    const texts = [
      rsa.privateKey.export({ type: "pkcs8", format: "pem" }) as string,
      JSON.stringify(rsa.privateKey.export({ format: "jwk" })),
      pem(weak.publicKey),
      slow,
      huge,
      "",
      "x",
      "{",
      "{}",
      "[]",
      "null",
      '{"kty":"oct","k":"AAAA"}',
      '{"kty":1,"n":[],"e":{}}',
      "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ];
    for (const text of texts) assert.equal(verify("rs256", text, DATA, signature), STATUS.invalid, text);
    assert.equal(verify("es256", pem(other.publicKey), DATA, Buffer.alloc(96)), STATUS.invalid);
    const key = pem(rsa.publicKey);
    for (const number of [-1, 4, 1 << 30])
      assert.equal(crypto.verify(number, KEY_AT, put(KEY_AT, key), DATA_AT, 1, SIGNATURE_AT, 1), STATUS.invalid);
    assert.equal(verify("rs256", key.padEnd(LIMIT.publicKey + 1), DATA, signature), STATUS.tooLarge);
  });

  test("costs the same for a right and a wrong signature, and more for a key that is new", () => {
    const key = `${pem(generateKeyPairSync("ed25519").publicKey)}`;
    const cost = () => {
      const before = taken;
      verify("eddsa", key, DATA, Buffer.alloc(64));
      return taken - before;
    };
    const first = cost();
    assert.ok(cost() >= CRYPTO_FUEL.verify);
    assert.equal(first - cost(), CRYPTO_FUEL.key);
  });

  test("caches a limited number of keys, the last used ones", () => {
    const signature = signers[3]![2](DATA);
    const key = pem(ed.publicKey);
    verify("eddsa", key, DATA, signature);
    for (let i = 0; i < 300; i++) {
      verify("eddsa", `no key ${i}`, DATA, signature);
      if (i % 100 === 0) assert.equal(verify("eddsa", key, DATA, signature), 1);
    }
    const before = taken;
    verify("eddsa", key, DATA, signature);
    assert.ok(taken - before < CRYPTO_FUEL.verify + CRYPTO_FUEL.key);
    verify("eddsa", "no key 0", DATA, signature);
    assert.ok(taken - before > 2 * CRYPTO_FUEL.verify + CRYPTO_FUEL.key);
  });

  test("random bytes for key, data and signature give a result, never an exception", () => {
    const { n, e, kty } = rsa.publicKey.export({ format: "jwk" });
    const value = fc.oneof(
      fc.jsonValue(),
      fc.base64String(),
      fc.constantFrom("RSA", "EC", "OKP", "P-256", "Ed25519", n, e),
    );
    const members = fc.constantFrom("kty", "n", "e", "crv", "x", "y", "d", "alg", "use", "key_ops");
    const object = fc.dictionary(members, value).map((found) => JSON.stringify({ kty, n, e, ...found }));
    const keyText = fc.oneof(object, fc.string(), fc.constant(pem(ec.publicKey)), fc.constant(pem(ed.publicKey)));
    const names = fc.constantFrom("rs256", "ps256", "es256", "eddsa");
    fc.assert(
      fc.property(names, keyText, fc.uint8Array(), fc.uint8Array({ maxLength: 300 }), (name, key, data, signature) => {
        assert.ok([0, STATUS.invalid].includes(verify(name, key, data, signature)));
        assert.equal(context.busy, false);
      }),
      { numRuns: 500 },
    );
  });
});
