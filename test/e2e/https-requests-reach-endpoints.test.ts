/** TLS on a listener: certificates by name and type of key, attributes, and rejections. */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect as connectPlain, createServer as createRelay } from "node:net";
import { test } from "node:test";
import { connect } from "node:tls";
import { compileSource } from "../contract/plugin-harness.ts";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import {
  atEnd,
  bounded,
  type LiveTest,
  type Options,
  runSluice,
  startSluice,
  testInAllModes,
  testInUsualMode,
  until,
} from "./program.ts";
import { ask, askPlain, curl, handshake, run, subjectOf } from "./tls.ts";

const authority = new Authority();
authority.issue("first", { names: "DNS:localhost,DNS:a.example,IP:127.0.0.1" });
authority.issue("first-rsa", { names: "DNS:a.example", key: "rsa" });
authority.issue("wild", { names: "DNS:*.b.example", passphrase: "secret" });
authority.issue("exact", { names: "DNS:x.b.example", key: "rsa" });
const other = new Authority(authority.directory, "other-ca");
test.after(() => authority.remove());
const ca = authority.path("ca.pem");

const CERTIFICATES = `
      certificates:
        - { cert: ${authority.path("first.pem")}, key: ${authority.path("first.key")} }
        - { cert: ${authority.path("first-rsa.pem")}, key: ${authority.path("first-rsa.key")} }
        - { cert: ${authority.path("wild.pem")}, key: ${authority.path("wild.key")}, passphrase: secret }
        - { cert: ${authority.path("exact.pem")}, key: ${authority.path("exact.key")} }`;

const FACTS = `import { Request } from "sluice/sdk";
export function onRequest(req: Request): void {
  const facts = [req.tlsVersion, req.tlsServerName, req.clientCertificateSubject, req.clientCertificateNames, req.clientCertificateFingerprint];
  req.headers.set("x-facts", facts.join("|"));
}`;

async function start(
  t: LiveTest,
  tls = "",
  { listener = "", files = {} }: { listener?: string; files?: Options["files"] } = {},
) {
  const big = Buffer.alloc(3 << 20, "0123456789");
  const upstream = await startUpstream(t, (request, response) => {
    if (request.url === "/big") response.end(big);
    else response.end(JSON.stringify({ headers: request.headers, size: request.body.length }));
  });
  const sluice = await startSluice(
    t,
    (ports) => `
log: { access: { format: json, fields: [method, scheme, tls_version, tls_cipher, sni, tls_client] } }
${files === undefined || Object.keys(files).length === 0 ? "" : "plugins: { facts: { wasm: facts.wasm } }"}
listeners:
  web:
    address: 127.0.0.1:${ports.web}
    cluster: app
    timeouts: { handshake: 500ms }
    ${listener}
    tls:${CERTIFICATES}${tls}
clusters:
  app: ["127.0.0.1:${upstream.port}"]
`,
    { files: files ?? {} },
  );
  return { sluice, big, port: sluice.port };
}

testInAllModes("requests and bodies pass both ways, with the scheme of the connection", async (t) => {
  const { port, big } = await start(t);
  const { headers } = JSON.parse((await curl("/", { port, ca })).out);
  assert.equal(headers["x-forwarded-proto"], "https");
  const node = await ask({ port, ca: authority.read("ca.pem") });
  assert.equal(JSON.parse(node.body).headers["x-forwarded-proto"], "https");
  const sums = await Promise.all(
    [1, 2, 3, 4].map(async () => (await ask({ port, ca: authority.read("ca.pem"), path: "/big" })).body),
  );
  const digest = createHash("md5").update(big).digest("hex");
  for (const body of sums) assert.equal(createHash("md5").update(body).digest("hex"), digest);
  const sent = await run(
    "curl",
    ["-sS", "-m", "10", "--cacert", ca, "--data-binary", "@-", `https://127.0.0.1:${port}/`],
    "x".repeat(3_000_000),
  );
  assert.equal(JSON.parse(sent.out).size, 3_000_000);
});

testInAllModes("a name gets its certificate, and a client the key and suite that it supports", async (t) => {
  const { port } = await start(t);
  const subject = async (host: string, ...more: string[]) => subjectOf(await handshake({ port, ca, host, more }));
  assert.equal(await subject("a.example", "-sigalgs", "ECDSA+SHA256"), "first");
  assert.equal(await subject("A.Example", "-sigalgs", "RSA-PSS+SHA256"), "first-rsa");
  assert.equal(await subject("a.example", "-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"), "first-rsa");
  assert.equal(await subject("y.b.example"), "wild");
  // The first certificate has a key of another type, which must not be used for this name.
  assert.equal(await subject("x.b.example", "-sigalgs", "ECDSA+SHA256:RSA-PSS+SHA256"), "exact");
  for (const unknown of ["b.example", "z.y.b.example", "unknown.example"])
    assert.equal(await subject(unknown), "first");

  // The server's order decides, except for a client that prefers ChaCha20 because it has no AES in hardware.
  const suite = async (...more: string[]) => / Cipher is (\S+)/.exec((await handshake({ port, ca, more })).out)?.[1];
  const [aes, chacha] = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"];
  assert.equal(await suite("-tls1_2", "-cipher", `ECDHE-ECDSA-AES256-GCM-SHA384:${chacha}:${aes}`), aes);
  assert.equal(await suite("-tls1_2", "-cipher", `${chacha}:${aes}`), chacha);
  const [aes13, chacha13] = ["TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"];
  assert.equal(await suite("-ciphersuites", `TLS_AES_256_GCM_SHA384:${chacha13}:${aes13}`), aes13);
  assert.equal(await suite("-ciphersuites", `${chacha13}:${aes13}`), chacha13);
});

testInAllModes("bytes that are not a handshake are rejected, counted and logged", async (t) => {
  const { sluice, port } = await start(t);
  const counted = (count: number, result: string) =>
    sluice.metricIs(count, "sluice_tls_handshakes_total", { listener: "web", result });
  assert.match((await askPlain(port, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")).toString(), /^HTTP\/1.1 400 .*use https/s);
  assert.equal((await askPlain(port, "\0\0garbage")).length, 0);
  await counted(2, "plain_text");
  // A record without a hello gets an alert.
  assert.equal((await askPlain(port, Buffer.from([22, 3, 1, 0, 4, 2, 0, 0, 0])))[0], 21);
  for (const more of [["-tls1_1"], ["-alpn", "h3"], ["-cipher", "AES128-SHA", "-tls1_2"]])
    assert.match((await handshake({ port, ca, more })).out, /alert/);
  await counted(4, "failed");
  // It declares 65,535 bytes, or comes in more records than any hello has: refused before the timeout, with an alert.
  const declared = Buffer.concat([Buffer.from([22, 3, 1, 64, 0, 1, 0, 255, 255]), Buffer.alloc(16_380)]);
  const tiny = Buffer.concat([
    Buffer.from([22, 3, 1, 0, 4, 1, 0, 120, 0]),
    ...Array(12_000).fill([22, 3, 1, 0, 1, 0]).map(Buffer.from),
  ]);
  for (const large of [declared, tiny]) assert.deepEqual([...(await askPlain(port, large))].slice(-2), [2, 47]);
  await counted(6, "failed");
  for (const half of ["", Buffer.from([22, 3, 1, 2, 0, 1, 0])]) assert.equal((await askPlain(port, half)).length, 0);
  await counted(2, "timeout");
  await sluice.logged((line) => line.msg === "TLS handshake failed" && line.cause === "plain HTTP on a TLS port", "it");
  const renegotiated = await run("sh", [
    "-c",
    `(echo R; sleep 1) | openssl s_client -connect 127.0.0.1:${port} -tls1_2`,
  ]);
  assert.match(renegotiated.out, /no renegotiation/);
});

testInUsualMode("unknownName: reject refuses names that no certificate has", async (t) => {
  const { sluice, port } = await start(t, "\n      unknownName: reject");
  assert.match((await handshake({ port, ca, host: "unknown.example" })).out, /unrecognized name/);
  await sluice.metricIs(1, "sluice_tls_handshakes_total", { result: "unknown_name" });
  for (const host of ["y.b.example", "y.b.example."])
    assert.equal(subjectOf(await handshake({ port, ca, host })), "wild");
  // Not a valid name, but not without one.
  assert.match((await handshake({ port, ca, host: "é b.example" })).out, /unrecognized name/);
});

testInAllModes("clientCertificates: required", async (t) => {
  authority.issue("client", { names: "URI:spiffe://example/client", subject: "/O=Example, Inc/CN=client" });
  other.issue("stranger");
  const { sluice, port } = await start(t, `\n      clientCertificates: { ca: ${ca} }`, {
    listener: "chain: [facts]",
    files: { "facts.wasm": await compileSource(FACTS) },
  });
  const as = (name: string): readonly string[] => [
    "--cert",
    authority.path(`${name}.pem`),
    "--key",
    authority.path(`${name}.key`),
  ];
  const forged = ["-H", "X-Forwarded-Client-Cert: Hash=0", "-H", "X_Forwarded_Client_Cert: Hash=0"];
  const known = await curl("/", { port, ca, more: [...as("client"), ...forged] });
  assert.equal(known.code, 0, known.out);
  const { headers } = JSON.parse(known.out);
  const hash = new X509Certificate(authority.read("client.pem")).fingerprint256.replaceAll(":", "").toLowerCase();
  const subject = "CN=client,O=Example\\, Inc";
  assert.equal(
    headers["x-forwarded-client-cert"],
    `Hash=${hash};Subject="CN=client,O=Example\\\\, Inc";URI=spiffe://example/client`,
  );
  assert.equal(headers.x_forwarded_client_cert, undefined);
  const facts = `TLSv1.3|localhost|${subject}|URI:spiffe://example/client|${hash}`;
  assert.equal(headers["x-facts"], facts);
  const line = await sluice.logged((line) => line.method === "GET", "the request");
  assert.deepEqual(
    [line.tls_version, line.sni, line.tls_client, line.scheme],
    ["TLSv1.3", "localhost", subject, "https"],
  );
  assert.match(String(line.tls_cipher), /^TLS_/);
  assert.notEqual((await curl("/", { port, ca })).code, 0);
  assert.notEqual((await curl("/", { port, ca, more: as("stranger") })).code, 0);
  await sluice.metricIs(2, "sluice_tls_handshakes_total", { result: "client_certificate" });
  await sluice.logged((line) => /no certificate/.test(String(line.cause)), "the cause");
});

/** The records that `openssl s_client` receives, in hexadecimal. */
async function recordsOf(t: LiveTest, port: number, args: readonly string[]): Promise<string[]> {
  const received: Buffer[] = [];
  const relay = createRelay((client) => {
    const server = connectPlain(port, "127.0.0.1");
    server.on("data", (data: Buffer) => received.push(data));
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const)
      one.pipe(other).on("error", () => other.destroy());
  }).listen(0, "127.0.0.1");
  atEnd(t, () => relay.close());
  await once(relay, "listening");
  const { port: relayed } = relay.address() as AddressInfo;
  await run("openssl", ["s_client", "-connect", `127.0.0.1:${relayed}`, ...args], "GET / HTTP/1.0\r\n\r\n");
  const bytes = Buffer.concat(received);
  const records: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt16BE(at + 3);
    records.push(bytes.toString("hex", at, end));
    at = end;
  }
  return records;
}

testInAllModes("a client whose certificate is rejected gets an alert with the reason", async (t) => {
  for (const name of ["good", "withdrawn"]) authority.issue(name);
  authority.issue("expired", { days: -1 });
  authority.issue("future", { isFuture: true });
  authority.issue("server-only", { extensions: ["extendedKeyUsage=serverAuth"] });
  authority.revoke("withdrawn", "withdrawn.crl");
  other.issue("foreign");
  const crl = authority.path("withdrawn.crl");
  const { sluice, port } = await start(t, `\n      clientCertificates: { ca: ${ca}, crl: ${crl} }`);
  const as = (name: string, ...more: string[]): readonly string[] =>
    name === "" ? more : ["-cert", authority.path(`${name}.pem`), "-key", authority.path(`${name}.key`), ...more];
  const request = "GET / HTTP/1.0\r\n\r\n";
  const alertOf = async (more: readonly string[]) => {
    const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-CAfile", ca, "-ign_eof", ...more];
    return /SSL alert number (\d+)/.exec((await run("openssl", args, request)).out)?.[1] ?? "";
  };
  const alerts = async (...more: string[]) => {
    const found: string[] = [];
    for (const name of ["", "foreign", "expired", "future", "withdrawn", "server-only", "good"])
      found.push(await alertOf(as(name, ...more)));
    return found.join();
  };
  // certificate_required, unknown_ca, certificate_expired, bad_certificate, certificate_revoked,
  // unsupported_certificate; TLS 1.2 has no alert for a missing certificate but handshake_failure.
  assert.equal(await alerts("-tls1_3"), "116,48,45,42,44,43,");
  assert.equal(await alerts("-tls1_2"), "40,48,45,42,44,43,");
  for (const suite of ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
    assert.equal(await alertOf(as("foreign", "-ciphersuites", suite)), "48", suite);
  await sluice.metricIs(15, "sluice_tls_handshakes_total", { result: "client_certificate" });
  // Another record would be encrypted with the nonce of the alert.
  for (const [version, last] of [
    ["-tls1_3", "1703030013"],
    ["-tls1_2", "15030300020230"],
  ] as const) {
    const seen = await recordsOf(t, port, ["-CAfile", ca, "-ign_eof", ...as("foreign", version)]);
    assert.ok(seen.at(-1)!.startsWith(last), `${version}: ${seen.join(" ")}`);
  }
  const byCurl = async (...more: string[]) => (await curl("/", { port, ca, more })).out;
  assert.match(await byCurl(), /alert certificate required/);
  const foreign = ["--cert", authority.path("foreign.pem"), "--key", authority.path("foreign.key")];
  assert.match(await byCurl(...foreign), /alert unknown ca/);
  assert.match(await byCurl(...foreign, "--tls-max", "1.2"), /alert unknown ca/);
});

testInUsualMode(
  "with client certificates, a request for another name than that of its handshake gets 421",
  async (t) => {
    authority.issue("client");
    const { sluice, port } = await start(t, `\n      clientCertificates: { mode: optional, ca: ${ca} }`, {
      listener: "trustedProxies: [127.0.0.2]",
    });
    const send = async (host: string, ...more: string[]) =>
      (await curl("/", { port, ca, host: "a.example", more: ["-H", `Host: ${host}`, "-w", "%{http_code}", ...more] }))
        .out;
    const rejected = "421 Misdirected Request: the host is not the server name of the handshake\n421";
    for (const host of [
      "localhost",
      "y.b.example",
      "a.example.evil",
      "aXexample",
      "x.a.example:443",
      "1.2.3",
      "[::1].a",
    ])
      assert.match(await send(host), /421$|400$/, host);
    assert.equal(await send("localhost"), rejected);
    for (const host of ["a.example", "A.EXAMPLE:8443", "a.example.", `127.0.0.1:${port}`, "[::1]", "[::1]:8443"])
      assert.match(await send(host), /200$/, host);
    // The absolute form has precedence over Host.
    assert.match(await send("a.example", "--http1.1", "--request-target", "http://localhost/"), /421$/);
    assert.match(await send("localhost", "--interface", "127.0.0.2"), /200$/);
    // Without a server name there is nothing to compare; the connection serves the right host after a 421.
    const nameless = connect({ port, host: "127.0.0.1", rejectUnauthorized: false });
    const named = connect({ port, host: "127.0.0.1", servername: "a.example.", rejectUnauthorized: false });
    atEnd(t, () => void [nameless.destroy(), named.destroy()]);
    nameless.write("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    named.write("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 2\r\n\r\nab");
    named.write("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    const [first, second] = await bounded(Promise.all([nameless.toArray(), named.toArray()]), "the responses");
    assert.match(first.join(""), /^HTTP\/1.1 200 /);
    assert.match(second.join(""), /^HTTP\/1.1 421 .*proxy-status: sluice; error=http_request_error.*HTTP\/1.1 200 /is);
    await sluice.logged(({ msg, error }) => msg === "request rejected" && error === "misdirected", "the warning");
    assert.ok((await sluice.metric("sluice_requests_rejected_total", { reason: "misdirected" })) > 5);

    sluice.config(sluice.configText.replace("mode: optional", "mode: off"));
    await sluice.reload();
    assert.match(await send("localhost"), /200$/, "the default without client certificates");
    sluice.config(
      sluice.configText.replace("clientCertificates: {", "strictSniHost: true\n      clientCertificates: {"),
    );
    await sluice.reload();
    assert.equal(await send("localhost"), rejected);
  },
);

testInAllModes("clientCertificates: optional, and revoked ones, also by a new list", async (t) => {
  for (const name of ["guest", "revoked"]) authority.issue(name);
  authority.revoke("revoked", "revoked.crl");
  for (const name of ["partner", "former"]) other.issue(name);
  other.revoke("former", "former.crl");
  const lists = authority.path("lists.crl");
  const writeLists = () => writeFileSync(lists, authority.read("former.crl") + authority.read("revoked.crl"));
  writeLists();
  const both = `[${ca}, ${authority.path("other-ca.pem")}]`;
  const { port } = await start(t, `\n      clientCertificates: { mode: optional, ca: ${both}, crl: ${lists} }`);
  const fileOf = (name: string) => authority.path(name);
  const ask = async (name?: string) => {
    const more = name === undefined ? [] : ["--cert", fileOf(`${name}.pem`), "--key", fileOf(`${name}.key`)];
    const { code, out } = await curl("/", { port, ca, more });
    return code === 0 ? "x-forwarded-client-cert" in JSON.parse(out).headers : "refused";
  };
  assert.deepEqual([await ask(), await ask("guest"), await ask("revoked")], [false, true, "refused"]);
  assert.deepEqual([await ask("partner"), await ask("former")], [true, "refused"]);
  const identity = ["-cert", fileOf("guest.pem"), "-key", fileOf("guest.key"), "-CAfile", ca, "-ign_eof"];
  const resume = async (...more: string[]) => {
    const args = ["s_client", "-connect", `127.0.0.1:${port}`, ...identity, ...more];
    return (await run("openssl", args, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")).out;
  };
  const session = fileOf("guest.session");
  await resume("-sess_out", session);
  assert.match(await resume("-sess_in", session), /^Reused, /m);
  authority.revoke("guest", "revoked.crl");
  writeLists();
  await until(async () => (await ask("guest")) === "refused", "the watched list is taken");
  const refused = await resume("-sess_in", session);
  assert.match(refused, /^New, /m);
  assert.match(refused, /SSL alert number 44/);
});

testInUsualMode("a resumed session of TLS 1.3 gets a new ticket, one of TLS 1.2 keeps it", async (t) => {
  const { port } = await start(t);
  const file = authority.path("session.pem");
  const ticketOf = async (...more: string[]) => {
    const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-ign_eof", "-sess_out", file, ...more];
    const { out } = await run("openssl", args, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert.match(out, more.includes("-sess_in") ? /^Reused, /m : /^New, /m);
    const session = await run("openssl", ["sess_id", "-in", file, "-text", "-noout"]);
    return /TLS session ticket:\n([\s\S]*?)\n\n/.exec(session.out)?.[1] ?? "";
  };
  for (const [version, renews] of [
    ["-tls1_3", true],
    ["-tls1_2", false],
  ] as const) {
    const first = await ticketOf(version);
    assert.notEqual(first, "");
    const second = await ticketOf(version, "-sess_in", file);
    assert.equal(second !== first, renews, version);
  }
});

testInUsualMode("routes by server name, client, cookie and exclusion; explain follows them", async (t) => {
  const upstream = await startUpstream(t);
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners:
  web:
    address: 127.0.0.1:${web}
    trustedProxies: [127.0.0.1]
    tls: ${CERTIFICATES.replaceAll("\n      ", "\n        ")}
    routes:
      - { name: beta, match: { cookie: { beta: "1" }, not: [{ method: POST }, { client: 192.0.2.0/24 }] }, cluster: app, chain: [headers: { response: { set: { x-route: beta } } }] }
      - { name: listed, match: { prefix: [/x/, /y/], host: [a.example, "*.b.example"], headers: { x-kind: [a, { prefix: b- }, { regex: "c+" }], x-off: { present: false } } }, cluster: app, chain: [headers: { response: { set: { x-route: listed } } }] }
      - { name: inner, match: { client: [10.0.0.0/8, "fd00::/8"] }, cluster: app, chain: [headers: { response: { set: { x-route: inner } } }] }
      - { name: b, match: { sni: "*.b.example" }, cluster: app, chain: [headers: { response: { set: { x-route: b } } }] }
      - { name: rest, cluster: app, chain: [headers: { response: { set: { x-route: rest } } }] }
clusters: { app: ["127.0.0.1:${upstream.port}"] }
`,
  );
  const { port } = sluice;
  const route = async (host: string, ...more: string[]) => {
    const { out } = await curl("/", { port, ca, host, more: ["-o", "/dev/null", "-w", "%header{x-route}", ...more] });
    return out;
  };
  const cookie = ["-H", "Cookie: a=b; beta=1"];
  const from = (client: string) => ["-H", `X-Forwarded-For: ${client}`];
  assert.equal(await route("localhost"), "rest");
  assert.equal(await route("y.b.example"), "b");
  assert.equal(await route("y.b.example", "-H", "Host: localhost"), "b", "the name of the handshake");
  assert.equal(await route("localhost", "-H", "Host: y.b.example"), "rest");
  assert.equal(await route("localhost", ...cookie), "beta");
  assert.equal(await route("localhost", ...cookie, "-d", "x"), "rest");
  assert.equal(await route("localhost", ...cookie, ...from("192.0.2.9")), "rest");
  assert.equal(await route("y.b.example", ...from("10.9.9.9")), "inner");
  assert.equal(await route("localhost", ...from("fd00::1")), "inner");
  assert.equal(await route("localhost", ...from("nonsense")), "rest");

  const listed = async (path: string, ...headers: string[]) => {
    const more = ["-o", "/dev/null", "-w", "%header{x-route}", ...headers.flatMap((one) => ["-H", one])];
    return (await curl(path, { port, ca, host: "a.example", more })).out;
  };
  for (const kind of ["a", "b-1", "ccc"]) assert.equal(await listed("/y/z", `X-Kind: ${kind}`), "listed", kind);
  assert.equal(await listed("/y/z", "X-Kind: cca"), "rest");
  assert.equal(await listed("/z/", "X-Kind: a"), "rest");
  assert.equal(await listed("/x/", "X-Kind: a", "X-Off: 0"), "rest");

  const explain = async (...args: string[]) =>
    (await runSluice("explain", ...args, "--admin", `127.0.0.1:${sluice.ports.admin}`)).stdout;
  const named = await explain("GET", `https://y.b.example:${port}/`);
  assert.match(
    named,
    /beta: cookie does not match\n\s+listed: prefix does not match\n\s+inner: client does not match\n\s+b: matches/,
  );
  const inner = await explain("POST", `https://localhost:${port}/`, "-H", "cookie: beta=1", "--client", "10.0.0.1");
  assert.match(inner, /beta: excluded by not\n\s+listed: host does not match\n\s+inner: matches/);
  const kind = await explain("GET", `https://x.b.example:${port}/x/`, "-H", "x-kind: d");
  assert.match(kind, /listed: headers does not match/);
  assert.match(await explain("GET", `https://127.0.0.1:${port}/`), /b: sni does not match\n\s+rest: matches/);
  const status = await runSluice("status", "--admin", `127.0.0.1:${sluice.ports.admin}`);
  assert.match(
    status.stdout,
    /route listed: host a\.example\|\*\.b\.example, prefix \/x\/\|\/y\/, headers x-kind=a\|prefix b-\|regex c\+ x-off=absent; chain/,
  );
  assert.match(status.stdout, /route beta: cookie beta=1, not method=POST\|client=192\.0\.2\.0\/24;/);
});

testInAllModes("a tunnel by wss carries bytes both ways, and its ends", async (t) => {
  const upstream = createServer().on("upgrade", (_request, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.on("data", (data: Buffer) => socket.write(data));
    socket.on("end", () => socket.end("bye"));
    socket.on("error", () => undefined);
  });
  atEnd(t, () => upstream.close());
  await once(upstream.listen(0, "127.0.0.1"), "listening");
  const { port: behind } = upstream.address() as AddressInfo;
  const sluice = await startSluice(
    t,
    ({ web }) =>
      `listeners: { web: { address: "127.0.0.1:${web}", cluster: app, tls: {${CERTIFICATES.replaceAll("\n      certificates:", " certificates: [").replaceAll("\n        - ", " ").replaceAll("} {", "}, {")}] } } }\nclusters: { app: ["127.0.0.1:${behind}"] }`,
  );
  const client = connect({
    port: sluice.port,
    host: "127.0.0.1",
    servername: "localhost",
    ca: authority.read("ca.pem"),
  });
  await once(client, "secureConnect");
  client.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n");
  client.write("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n");
  const bytes = Buffer.alloc(2 << 20, "0123456789abcdef!");
  let received = Buffer.alloc(0);
  client.on("data", (data: Buffer) => {
    received = Buffer.concat([received, data]);
  });
  await until(() => received.includes("\r\n\r\n"), "the upgrade");
  assert.match(received.toString("latin1"), /^HTTP\/1.1 101 /);
  received = received.subarray(received.indexOf("\r\n\r\n") + 4);
  client.end(bytes);
  await bounded(once(client, "end"), "the end");
  assert.ok(received.equals(Buffer.concat([bytes, Buffer.from("bye")])));
});
