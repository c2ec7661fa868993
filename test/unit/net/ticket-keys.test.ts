import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { type TestContext, test } from "node:test";
import { connect, type SecureVersion, TLSSocket } from "node:tls";
import { ManagedCertificates } from "../../../src/net/managed-certificates.ts";
import { Staples } from "../../../src/net/staples.ts";
import { TicketKeys } from "../../../src/net/ticket-keys.ts";
import { type ServerContext, TlsServer } from "../../../src/net/tls-server.ts";
import { Authority } from "../../support/certificates.ts";

const authority = new Authority();
authority.issue("a");
test.after(() => authority.remove());

function makeServer(keys: TicketKeys, key = "k"): TlsServer {
  const certificate = { cert: authority.read("a.pem"), key: authority.read("a.key"), passphrase: "" };
  return new TlsServer(
    {
      key,
      certificates: [{ ...certificate, names: ["localhost"], keyType: "ec", schemes: [], staple: "" }],
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.3",
      ciphers: "TLS_AES_128_GCM_SHA256:ECDHE-ECDSA-AES128-GCM-SHA256",
      managed: [],
      onDemand: [],
      rejectsUnknownNames: false,
      clients: key === "k" ? null : { required: false, ca: [authority.read("ca.pem")], crl: [] },
    },
    { tickets: keys, staples: new Staples(), managed: new ManagedCertificates() },
  );
}

/** As a worker serves; the context is that of the present `server`. */
async function listen(t: TestContext, server: () => TlsServer): Promise<Server> {
  const plain = createServer((socket) => {
    const secured = new TLSSocket(socket, {
      isServer: true,
      secureContext: (server().contextFor("localhost", Buffer.alloc(0)) as ServerContext).context,
    });
    secured.on("error", () => undefined);
    secured.end("hello");
  }).listen(0, "127.0.0.1");
  await once(plain, "listening");
  t.after(() => plain.close());
  return plain;
}

/** Connects once; returns whether the session was resumed, and the new one. */
async function visit(server: Server, version: SecureVersion, session?: Buffer) {
  const { port } = server.address() as AddressInfo;
  const options = { port, host: "127.0.0.1", servername: "localhost", rejectUnauthorized: false, maxVersion: version };
  const client = connect({ ...options, ...(session && { session }) });
  let given = session;
  client.on("session", (next: Buffer) => {
    given = next;
  });
  client.resume();
  await once(client, "end");
  const resumed = client.isSessionReused();
  // There is no event for a ticket that a resumed session of TLS 1.2 renews.
  if (version === "TLSv1.2") given = client.getSession()!;
  client.destroy();
  return { resumed, session: given! };
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const)
  test(`sessions are resumed on every worker, and with older keys (${version})`, async (t) => {
    const buffer = TicketKeys.allocate();
    const main = new TicketKeys(buffer);
    const workers = [makeServer(new TicketKeys(buffer)), makeServer(new TicketKeys(buffer))];
    const servers = [await listen(t, () => workers[0]!), await listen(t, () => workers[1]!)];
    const first = await visit(servers[0]!, version);
    assert.equal(first.resumed, false);
    const second = await visit(servers[1]!, version, first.session);
    assert.equal(second.resumed, true);
    // A client of TLS 1.3 should use a ticket once (RFC 8446 appendix C.4): a resumed session brings the next one.
    assert.notDeepEqual(second.session, first.session);
    assert.equal((await visit(servers[0]!, version, second.session)).resumed, true);
    for (let age = 0; age < 3; age++) main.rotate();
    const renewed = await visit(servers[1]!, version, first.session);
    assert.equal(renewed.resumed, true);
    main.rotate();
    // Its key was dropped: a full handshake without an error. The key of the renewed one is still known.
    assert.equal((await visit(servers[0]!, version, first.session)).resumed, false);
    assert.equal((await visit(servers[0]!, version, renewed.session)).resumed, true);
  });

test("a ticket with the current key is kept where none is to be renewed", async (t) => {
  const buffer = TicketKeys.allocate();
  const secure = makeServer(new TicketKeys(buffer));
  secure.renewsTickets = false;
  const server = await listen(t, () => secure);
  const { session } = await visit(server, "TLSv1.2");
  const second = await visit(server, "TLSv1.2", session);
  assert.equal(second.resumed, true);
  assert.deepEqual(second.session, session);
  new TicketKeys(buffer).rotate();
  const third = await visit(server, "TLSv1.2", session);
  assert.equal(third.resumed, true);
  assert.notDeepEqual(third.session, session, "an older key");
});

test("a session is not resumed where clients are verified by other settings", async (t) => {
  const keys = new TicketKeys(TicketKeys.allocate());
  const servers = [makeServer(keys), makeServer(keys, "other")];
  let at = 0;
  const server = await listen(t, () => servers[at]!);
  const { session } = await visit(server, "TLSv1.3");
  assert.equal((await visit(server, "TLSv1.3", session)).resumed, true);
  at = 1;
  assert.equal((await visit(server, "TLSv1.3", session)).resumed, false);
});
