/** The examples of docs/filters.md for headers, request ids, paths and redirects, run unchanged. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connectTo, startUpstream } from "./peers.ts";
import { startSluice, testInUsualMode } from "./program.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/filters.md"), "utf8");

/** The uses in the example of a filter, one in each line that begins with a dash. */
function usesOf(filter: string): string[] {
  const [, text] = new RegExp(`^## \`${filter}\`\n.*?^\`\`\`yaml\n(.*?)^\`\`\`$`, "ms").exec(page) ?? [];
  assert.ok(text !== undefined, filter);
  return text.split(/^(?=- )/m);
}

testInUsualMode("docs/filters.md: headers, request-id, rewrite and redirect do what the page states", async (t) => {
  const upstream = await startUpstream(t);
  const rewrites = usesOf("rewrite");
  const redirects = usesOf("redirect");
  const chains = [
    usesOf("headers"),
    usesOf("request-id"),
    ...rewrites.map((use) => [use]),
    ...redirects.map((use) => [use]),
  ];
  const names = chains.map((_, i) => (i === 0 ? "web" : `p${i}`));
  const sluice = await startSluice(
    t,
    (ports) =>
      `listeners:\n${chains
        .map(
          (uses, i) =>
            `  ${names[i]}:\n    address: 127.0.0.1:${ports[names[i]!]}\n    cluster: app\n    chain:\n${uses.join("").replace(/^(?=.)/gm, "      ")}`,
        )
        .join("")}clusters: { app: ["127.0.0.1:${upstream.port}"] }\n`,
    { ports: names.slice(1) },
  );
  /** The response of the n-th listener, and the request as the endpoint received it. */
  const ask = async (n: number, path: string, ...fields: string[]) => {
    const client = await connectTo(t, sluice.ports[names[n]!]!);
    const head = [`GET ${path} HTTP/1.1`, "Host: example.com:8080", ...fields, "Connection: close"];
    const response = await client.send(`${head.join("\r\n")}\r\n\r\n`).readResponse();
    return { ...response, seen: upstream.requests.at(-1)! };
  };

  const changed = await ask(0, "/", "X-Debug: 1", "X-From: client", "X-Team: own");
  const { host, "x-debug": debug, "x-from": from, "x-team": team } = changed.seen.headers;
  assert.deepEqual([host, debug, from, team], ["app.internal", undefined, "sluice", "own, edge, eu"]);
  assert.equal(changed.headers["strict-transport-security"], "max-age=63072000");

  const identified = await ask(1, "/", "X-Request-Id: client");
  assert.match(identified.headers["x-request-id"]!, /^[0-9a-f-]{36}$/);
  assert.equal(identified.seen.headers["x-request-id"], identified.headers["x-request-id"]);

  for (const [i, path, expected] of [
    [0, "/api/users?a=1", "/users?a=1"],
    [0, "/api", "/"],
    [0, "/apiary", "/apiary"],
    [1, "/old/users", "/new/users"],
    [2, "/users", "/v1/users"],
    [3, "/any?a=1", "/index.html?a=1"],
  ] as const)
    assert.equal((await ask(2 + i, path)).seen.url, expected, rewrites[i]!);

  for (const [i, location, status] of [
    [0, "https://www.example.com/a?b=1", 308],
    [1, "https://example.com:8443/a?b=1", 302],
  ] as const) {
    const response = await ask(2 + rewrites.length + i, "/a?b=1");
    assert.deepEqual([response.status, response.headers.location], [status, location], redirects[i]!);
  }
});
