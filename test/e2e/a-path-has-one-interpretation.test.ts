/** a-path-has-one-interpretation: no other spelling of a path bypasses its filter, for any server as the endpoint. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { READERS, RESERVED_SPELLINGS, SPELLINGS } from "../fixtures/path-spellings.ts";
import { findFreePort } from "./free-port.ts";
import { connectTo, type RawResponse, startUpstream, type Upstream } from "./peers.ts";
import { atEnd, bounded, type Program, runSluice, startSluice, testInUsualMode, until } from "./program.ts";

const SECRET = "the secret\n";
const KEY = "api-key: { keys: { user: a-key-of-the-test } }";

/** An endpoint that reads paths in that way, and serves the secret at /private/x and /a+b@c/x alone. */
function startReader(t: TestContext, read: (path: string) => string | null): Promise<Upstream> {
  return startUpstream(t, ({ url }, response) => {
    const path = read(url.replace(/\?.*/, "")) ?? "";
    const isSecret = path === "/private/x" || path === "/a+b@c/x";
    response.writeHead(isSecret ? 200 : 404, { "x-url": url }).end(isSecret ? SECRET : "nothing\n");
  });
}

function hasNginx(): boolean {
  try {
    execFileSync("nginx", ["-v"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** nginx that serves a directory with the secret in it. */
async function startNginx(t: TestContext): Promise<number> {
  const port = await findFreePort();
  const directory = mkdtempSync(join(tmpdir(), "sluice-nginx-"));
  for (const name of ["root", "root/private", "root/a+b@c", "root/x", "root/x/y", "root/y"])
    mkdirSync(join(directory, name));
  writeFileSync(join(directory, "root/private/x"), SECRET);
  writeFileSync(join(directory, "root/a+b@c/x"), SECRET);
  // If started by root, its worker runs as another user.
  chmodSync(directory, 0o755);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${directory};`);
  writeFileSync(
    join(directory, "nginx.conf"),
    `daemon off; worker_processes 1; pid ${directory}/pid; error_log ${directory}/error.log;
events { worker_connections 64; }
http { access_log off; ${paths.join(" ")} server { listen 127.0.0.1:${port}; root ${directory}/root; } }
`,
  );
  const nginx = spawn("nginx", [
    "-p",
    directory,
    "-c",
    join(directory, "nginx.conf"),
    "-e",
    join(directory, "error.log"),
  ]);
  const exited = once(nginx, "exit");
  atEnd(t, async () => {
    nginx.kill("SIGTERM");
    await bounded(exited, "nginx to end");
    rmSync(directory, { recursive: true });
  });
  const stands = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => socket.destroy());
      socket.on("close", (failed) => resolve(!failed)).on("error", () => undefined);
    });
  await until(async () => nginx.exitCode !== null || (await stands()), "nginx listens");
  assert.equal(nginx.exitCode, null, "nginx did not start");
  return port;
}

async function get(
  t: TestContext,
  port: number,
  target: string,
  fields = "",
): Promise<RawResponse & { closed: boolean }> {
  const peer = await connectTo(t, port);
  const response = await peer.send(`GET ${target} HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n`).readResponse();
  if (response.status === 400) await bounded(peer.closed, "the end of a connection after 400");
  peer.socket.destroy();
  return { ...response, closed: response.status === 400 };
}

const guardedBy = (key: string) => `
      - { name: private, match: { prefix: /private/ }, chain: [${key}], cluster: CLUSTER }
      - { name: private-all, match: { path: /private }, chain: [${key}], cluster: CLUSTER }
      - { name: plus, match: { prefix: /a+b@c/ }, chain: [${key}], cluster: CLUSTER }
      - { name: app, cluster: CLUSTER }`;

testInUsualMode("no spelling of a guarded path reaches an endpoint that normalises it to that path", async (t) => {
  const behind: Record<string, number> = {};
  for (const [name, read] of Object.entries(READERS)) behind[name] = (await startReader(t, read)).port;
  if (hasNginx()) behind.nginx = await startNginx(t);
  else t.diagnostic("nginx is not installed: only the endpoint that reads paths as it does was tried");
  const names = Object.keys(behind);
  const sluice = await startSluice(
    t,
    (ports) => `listeners:
${names
  .map(
    (name) => `  ${name}:
    address: 127.0.0.1:${ports[name]}
    routes:${guardedBy(KEY).replaceAll("CLUSTER", name)}
`,
  )
  .join("")}
clusters:
${names.map((name) => `  ${name}: [127.0.0.1:${behind[name]}]\n`).join("")}`,
    { ports: names },
  );
  for (const name of names) {
    for (const target of [...SPELLINGS, ...RESERVED_SPELLINGS]) {
      const { status, body, headers } = await get(t, sluice.ports[name]!, target);
      const what = `${name}: GET ${target} is ${status} ${body}`;
      assert.notEqual(body.toString(), SECRET, what);
      assert.ok(status === 400 || status === 401 || status === 404, what);
      if (status === 400) assert.match(headers["proxy-status"]!, /^sluice; error=http_request_error$/, what);
    }
    const { status, body } = await get(t, sluice.ports[name]!, "/private/x", "x-api-key: a-key-of-the-test\r\n");
    assert.deepEqual([status, body.toString()], [200, SECRET], name);
  }
});

testInUsualMode(
  "a listener can be set to one interpretation; the response names the routes of an ambiguous path",
  async (t) => {
    const upstream = await startReader(t, READERS.merging!);
    const routes = guardedBy(KEY).replaceAll("CLUSTER", "app");
    const settings = {
      web: "{}",
      allow: "{ ambiguous: allow }",
      merge: "{ mergeSlashes: true }",
      decode: "{ mergeSlashes: true, encodedSlash: decode }",
      refuse: "{ encodedSlash: reject }",
    };
    const sluice = await startSluice(
      t,
      (ports) => `log: { access: true }
listeners:
${Object.entries(settings)
  .map(([name, path]) => `  ${name}:\n    address: 127.0.0.1:${ports[name]}\n    path: ${path}\n    routes:${routes}\n`)
  .join("")}
  before:
    address: 127.0.0.1:${ports.before}
    chain: [{ rewrite: { replace: /old, with: "//private" } }]
    routes:${routes}
  written:
    address: 127.0.0.1:${ports.written}
    routes:
      - { match: { prefix: /caf%c3%a9/ }, chain: [rewrite: { strip: /caf%c3%a9 }], cluster: app }
      - { match: { prefix: /é/ }, chain: [rewrite: { replace: "/é", with: /%7Ex/../y }], cluster: app }
      - { match: { prefix: /a%2fb/ }, chain: [rewrite: { replace: /a%2fb, with: /ab }], cluster: app }
      - { match: { prefix: /%7eann/ }, chain: [rewrite: { strip: /%7eann }], cluster: app }
      - { match: { prefix: /to/ }, chain: [redirect: { to: "/caf%c3%a9/%7E{path}" }], cluster: app }
clusters:
  app: [127.0.0.1:${upstream.port}]
`,
      { ports: [...Object.keys(settings), "before", "written"] },
    );
    const ask = async (listener: string, target: string) => {
      const { status, headers } = await get(t, sluice.ports[listener]!, target);
      return [status, headers["x-url"] ?? ""];
    };
    assert.deepEqual(await ask("web", "/a//b/%2F;c"), [404, "/a//b/%2F;c"]);
    assert.deepEqual(await ask("allow", "//private/x"), [200, "//private/x"]);
    assert.deepEqual(await ask("merge", "//private//x"), [401, ""]);
    assert.deepEqual(await ask("merge", "//a///b//"), [404, "/a/b/"]);
    assert.deepEqual(await ask("merge", "/%2Fprivate/x"), [400, ""]);
    assert.deepEqual(await ask("decode", "/%2Fprivate/x"), [401, ""]);
    assert.deepEqual(await ask("decode", "/a%2f%2Fb%2F..%2fc"), [404, "/a/c"]);
    assert.deepEqual(await ask("refuse", "/a%2Fb"), [400, ""]);
    assert.deepEqual(await ask("refuse", "/a//b"), [404, "/a//b"]);
    // A path changed by a plugin before route matching is checked in the same way.
    assert.deepEqual(await ask("before", "/old/x"), [400, ""]);
    // Paths of the configuration have the form that those of requests have.
    for (const [target, seen] of [
      ["/caf%C3%A9/menu", "/menu"],
      ["/caf%c3%a9/menu", "/menu"],
      ["/%c3%A9/menu", "/y/menu"],
      ["/a%2Fb/x", "/ab/x"],
      ["/~ann/x", "/x"],
    ] as const)
      assert.deepEqual(await ask("written", target), [404, seen], target);
    const moved = await get(t, sluice.ports.written!, "/to/x");
    assert.equal(moved.headers.location, "/caf%C3%A9/~/to/x");
    const { body } = await get(t, sluice.port, "//private/x");
    assert.equal(body.toString(), "400 Bad Request: the path can be read in two ways\n");
    await sluice.logged(({ path, outcome }) => path === "//private/x" && outcome === "ambiguous_path", "the request");
    await explains(sluice);
  },
);

async function explains(sluice: Program): Promise<void> {
  const { code, stdout } = await runSluice(
    "explain",
    "GET",
    "//private/x",
    "--admin",
    `127.0.0.1:${sluice.ports.admin}`,
  );
  assert.equal(code, 0, stdout);
  assert.match(stdout, /route +none +the path is ambiguous/);
  assert.match(
    stdout.replace(/\s+/g, " "),
    /the path selects the route app, but the route private when it is read as \/private\/x/,
  );
  assert.match(stdout, /response 400, from Sluice/);
}
