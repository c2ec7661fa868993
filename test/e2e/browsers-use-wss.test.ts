/** A browser over https and wss: Chromium, which is skipped where none is installed. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { test } from "node:test";
import { Authority } from "../support/certificates.ts";
import { startUpstream } from "./peers.ts";
import { atEnd, type LiveTest, startSluice, testInUsualMode, until } from "./program.ts";
import { startEcho } from "./websockets.ts";

const NAMES = ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"];
const browser = NAMES.find((name) => spawnSync(name, ["--version"]).status === 0);
const PROMISE = "a browser exchanges messages over wss and sees the close codes of both sides";

/** Reports to the console, which the browser writes to standard error. */
const PAGE = `<!doctype html><title>wss</title><script type="module">
const report = (name, value) => console.log("REPORT " + JSON.stringify({ name, value }));
const next = (target, event) => new Promise((resolve) => target.addEventListener(event, resolve, { once: true }));
const open = async () => {
  const socket = new WebSocket("wss://" + location.host + "/ws");
  socket.binaryType = "arraybuffer";
  socket.addEventListener("error", () => report("error", "of a WebSocket"));
  await next(socket, "open");
  return socket;
};
const ask = async (socket, message) => {
  const answer = next(socket, "message");
  socket.send(message);
  return (await answer).data;
};
const closed = async (socket) => {
  const { code, reason, wasClean } = await next(socket, "close");
  return [code, reason, wasClean];
};
const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

const posted = await fetch("/post", { method: "POST", body: "x".repeat(100_000) });
report("post", [posted.status, await posted.text(), performance.getEntriesByType("navigation")[0].nextHopProtocol]);
const first = await open();
report("text", await ask(first, "h\\u00e9llo \\u2713 \\u{1f600}"));
report("extensions", first.extensions);
const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
report("binary", equal(new Uint8Array(await ask(first, bytes)), bytes));
const large = new Uint8Array(1 << 20);
for (let at = 0; at < large.length; at += 65536) crypto.getRandomValues(large.subarray(at, at + 65536));
report("large", equal(new Uint8Array(await ask(first, large)), large));
const end = closed(first);
first.close(4001, "by the browser");
report("own close", await end);
const second = await open();
report("close of the server", await closed(second));
const third = closed(await open());
report("ready", true);
report("close of the proxy", await third);
</script>`;

if (browser === undefined) test(PROMISE, { skip: `none is installed of ${NAMES.join(", ")}` }, () => {});
else testInUsualMode(PROMISE, (t) => run(t, browser));

async function run(t: LiveTest, command: string): Promise<void> {
  const authority = new Authority();
  atEnd(t, () => authority.remove());
  authority.issue("site");
  const echo = await startEcho(t);
  const upstream = await startUpstream(t, (request, response) => {
    response.setHeader("content-type", "text/html; charset=utf-8");
    response.end(request.method === "POST" ? String(request.body.length) : PAGE);
  });
  const sluice = await startSluice(
    t,
    ({ web }) => `
listeners:
  web:
    address: 127.0.0.1:${web}
    tls: { certificates: [{ cert: site.pem, key: site.key }] }
    routes: [{ match: { path: /ws }, cluster: echo }, { cluster: app }]
clusters: { app: ["127.0.0.1:${upstream.port}"], echo: ["127.0.0.1:${echo.port}"] }
`,
    { files: { "site.pem": authority.read("site.pem"), "site.key": authority.read("site.key") } },
  );
  const reported = startBrowser(t, command, `https://localhost:${sluice.port}/`, authority);
  await until(() => echo.requests.length === 2, "the second connection");
  const { headers } = echo.requests[0]!;
  assert.equal(headers.origin, `https://localhost:${sluice.port}`);
  assert.equal(headers["x-forwarded-proto"], "https");
  // The browser opens a stream of its HTTP/2 connection (RFC 8441).
  assert.deepEqual(
    echo.requests.map(({ headers }) => headers.via),
    Array(2).fill("2 sluice"),
  );
  echo.sockets[1]!.close(4002, "by the server");
  await until(() => reported().has("ready"), "the page is done");
  sluice.kill("SIGTERM");
  await until(() => reported().has("close of the proxy"), "the proxy's close frame");
  assert.deepEqual(Object.fromEntries(reported()), {
    post: [200, "100000", "h2"],
    text: "héllo ✓ 😀",
    extensions: "permessage-deflate",
    binary: true,
    large: true,
    "own close": [4001, "by the browser", true],
    "close of the server": [4002, "by the server", true],
    ready: true,
    "close of the proxy": [1001, "", true],
  });
  assert.deepEqual(echo.closes[0], [4001, "by the browser"]);
  assert.deepEqual(await sluice.exited, { code: 0, signal: null });
}

/** What the page reported so far, by name. */
function startBrowser(t: LiveTest, command: string, url: string, authority: Authority): () => Map<string, unknown> {
  const key = new X509Certificate(authority.read("site.pem")).publicKey.export({ type: "spki", format: "der" });
  const child = spawn(
    command,
    [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr"],
      `--user-data-dir=${authority.path("profile")}`,
      `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`,
      // Only the debugging port keeps a browser without a window running.
      ...["--remote-debugging-port=0", "--no-first-run", "--disable-background-networking"],
      url,
    ],
    // The command may be a script that does not replace itself with the browser: all its processes are a group.
    { stdio: ["ignore", "ignore", "pipe"], detached: true },
  );
  atEnd(t, async () => {
    const ended = once(child, "close");
    process.kill(-child.pid!, "SIGKILL");
    await ended;
  });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  return () => {
    const found = new Map<string, unknown>();
    for (const [, text] of output.matchAll(/"REPORT (\{.*\})", source: /g)) {
      const { name, value } = JSON.parse(text!);
      found.set(name, value);
    }
    return found;
  };
}
