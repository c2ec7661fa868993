/** The SDK's hashes, signatures and random numbers, in the real host. */
import assert from "node:assert/strict";
import { createHash, createHmac, generateKeyPairSync, sign } from "node:crypto";
import { after, test } from "node:test";
import { buildModule } from "../../../src/plugin/wasm/build.ts";
import { call, compileSource, exchange, type Loaded, load } from "../../contract/plugin-harness.ts";

const open: Loaded[] = [];
after(() => {
  for (const loaded of open) loaded.dispose();
});

async function start(source: string, config?: unknown): Promise<Loaded> {
  const loaded = load(await compileSource(source), { configs: [config] });
  open.push(loaded);
  return loaded;
}

function resultOf(loaded: Loaded, headers = ""): string {
  const on = exchange(`GET / HTTP/1.1\nHost: a${headers}`);
  call(loaded, "request_head", on);
  return String(on.localBody ?? loaded.reports.join("\n"));
}

test("hashes are those of node:crypto, and secrets are compared", async () => {
  const loaded = await start(`
import { Hex, Request, constantTimeEquals, hmacSha256, hmacSha384, hmacSha512, sha256, sha384, sha512, toUtf8 } from "sluice/sdk";
export function onRequest(req: Request): void {
  const data = toUtf8("grüße"), key = toUtf8("key");
  const made = [sha256(data), sha384(data), sha512(data), hmacSha256(key, data), hmacSha384(key, data), hmacSha512(key, data)];
  let text = constantTimeEquals(made[0], sha256(data)) && !constantTimeEquals(made[0], made[3]) ? "equal" : "wrong";
  for (let i = 0; i < made.length; i++) text += " " + Hex.encode(made[i]);
  req.respond(200, text);
}`);
  const names = ["sha256", "sha384", "sha512"];
  const hashes = names.map((name) => createHash(name).update("grüße").digest("hex"));
  const macs = names.map((name) => createHmac(name, "key").update("grüße").digest("hex"));
  assert.equal(resultOf(loaded), ["equal", ...hashes, ...macs].join(" "));
});

const KEYED = `
import { Base64Url, Config, PublicKey, Request, toBytes } from "sluice/sdk";
const key = PublicKey.read(Config.string("algorithm"), Config.string("key"));
if (!key) Config.refuse("key", "a public key");
export function onRequest(req: Request): void {
  const signature = Base64Url.decode(req.headers.get("x-signature")!)!;
  req.respond(200, key!.verify(toBytes(req.headers.get("x-data")!), signature).toString());
}`;

test("a public key verifies its signatures, and is rejected at start if it is for another use", async () => {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const key = publicKey.export({ type: "spki", format: "pem" });
  const loaded = await start(KEYED, { algorithm: "EdDSA", key });
  const signature = sign(null, Buffer.from("data"), privateKey).toString("base64url");
  assert.equal(resultOf(loaded, `\nX-Data: data\nX-Signature: ${signature}`), "true");
  assert.equal(resultOf(loaded, `\nX-Data: date\nX-Signature: ${signature}`), "false");
  await assert.rejects(start(KEYED, { algorithm: "RS256", key }), /config key: expected a public key/);
  await assert.rejects(start(KEYED, { algorithm: "none", key }), /config key: expected a public key/);
});

test("random numbers are in their range, and differ", async () => {
  const loaded = await start(`
import { Hex, Request, randomBytes, randomFloat, randomHex } from "sluice/sdk";
export function onRequest(req: Request): void {
  let low: f64 = 1, high: f64 = 0;
  for (let i = 0; i < 1000; i++) { const x = randomFloat(); low = min(low, x); high = max(high, x); }
  req.respond(200, [low.toString(), high.toString(), randomHex(20), randomHex(20), Hex.encode(randomBytes(16)), Hex.encode(randomBytes(16))].join(" "));
}`);
  const [low, high, a, b, c, d] = resultOf(loaded).split(" ");
  assert.ok(Number(low) >= 0 && Number(low) < 0.1 && Number(high) < 1 && Number(high) > 0.9, `${low} ${high}`);
  assert.match(a!, /^[0-9a-f]{20}$/);
  assert.notEqual(a, b);
  assert.match(c!, /^[0-9a-f]{32}$/);
  assert.notEqual(c, d);
});

test("unused parts of the SDK add neither an import nor a byte", async () => {
  const noop = await compileSource(
    `import { Request } from "sluice/sdk";\nexport function onRequest(req: Request): void {}`,
  );
  const module = buildModule(noop, { memory: 16 * 1024 * 1024 });
  assert.deepEqual(module.info.groups, ["sluice:core/1"]);
  // Messages of the library, as the compiler lays down strings.
  for (const word of ["regular expression", "JSON", "glob ", "cookie", "milliseconds"])
    assert.equal(Buffer.from(noop).includes(Buffer.from(word, "utf16le")), false, word);
});
