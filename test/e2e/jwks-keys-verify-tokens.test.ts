/**
 * jwks-keys-verify-tokens: jwt-jwks fetches keys from a server, finds new ones under traffic, and continues while the
 * server is down.
 */
import assert from "node:assert/strict";
import { makeSigner, type Signer } from "../fixtures/signer.ts";
import { startUpstream } from "./peers.ts";
import { type LiveTest, type Program, startSluice, testInUsualMode, until } from "./program.ts";

async function startKeyServer(t: LiveTest) {
  const server = { published: [] as Signer[], isUp: true };
  const { port, requests } = await startUpstream(t, (_request, response) => {
    if (!server.isUp) return void response.destroy();
    response.writeHead(200, { "content-type": "application/jwk-set+json" });
    response.end(JSON.stringify({ keys: server.published.map(({ jwk }) => jwk) }));
  });
  return { server, port, requests };
}

function start(t: LiveTest, { keys, app, jwks }: { keys: number; app: number; jwks: string }): Promise<Program> {
  const use = `{ jwt-jwks: { jwks: "${jwks}", cooldown: 2, timeout: 1000, claims: { x-user: sub } } }`;
  return startSluice(
    t,
    (ports) => `listeners:
  web: { address: "127.0.0.1:${ports.web}", chain: [${use}], cluster: app }
clusters:
  app: ["127.0.0.1:${app}"]
  keys: ["127.0.0.1:${keys}"]
`,
    { workers: 2 },
  );
}

const ask = async (sluice: Program, token: string): Promise<number | string> => {
  const response = await fetch(sluice.url, { headers: { authorization: `Bearer ${token}` } });
  const text = await response.text();
  return response.status === 200 ? text : response.status;
};

for (const way of ["by a cluster", "by a URL"])
  testInUsualMode(
    `keys are fetched ${way}, a new key is found by its first token, and a flood causes one request`,
    async (t) => {
      const app = await startUpstream(t, (request, response) => void response.end(String(request.headers["x-user"])));
      const { server, port, requests } = await startKeyServer(t);
      const [old, next] = [makeSigner("2025"), makeSigner("2026")];
      server.published = [old];
      const jwks = way === "by a URL" ? `http://127.0.0.1:${port}/jwks.json` : "cluster:keys/jwks.json";
      const sluice = await start(t, { keys: port, app: app.port, jwks });
      // The first request may be received before any key: it is suspended, or gets 503.
      await until(async () => (await ask(sluice, old.token())) === "ann", "the first key is there");
      assert.equal(requests[0]!.url, "/jwks.json");
      const loads = requests.length;

      // Immediately: requests with tokens of the new key are suspended until it is fetched.
      server.published = [old, next];
      await until(async () => (await ask(sluice, next.token())) === "ann", "the new key is there");
      assert.equal(await ask(sluice, old.token()), "ann");
      assert.ok(requests.length > loads);

      const [before, began] = [requests.length, performance.now()];
      while (performance.now() - began < 3000) {
        const flood = Array.from({ length: 20 }, (_, i) => ask(sluice, makeSigner(`made-up-${i}`).token()));
        for (const status of await Promise.all(flood)) assert.ok(status === 401 || status === 503, String(status));
        assert.equal(await ask(sluice, next.token()), "ann");
      }
      // At most one in two seconds, over all workers.
      const most = Math.ceil((performance.now() - began) / 2000) + 1;
      assert.ok(requests.length - before <= most, `${requests.length - before} requests, expected at most ${most}`);

      server.isUp = false;
      const vain = requests.length;
      await until(async () => {
        await ask(sluice, makeSigner("made-up").token());
        return requests.length > vain;
      }, "it is asked in vain");
      for (let i = 0; i < 10; i++) assert.equal(await ask(sluice, next.token()), "ann");
    },
  );
