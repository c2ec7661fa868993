/** What all rows share: the two cores, the upstream, a directory for generated files, and the programs that run. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Authority } from "../support/certificates.ts";
import { Programs, waitForPort } from "./programs.ts";

/** What a proxy does to a request: `chain` also routes by a header and edits the headers both ways. */
export type Work = "plain" | "chain";

/** Upstream groups by name: addresses with port, all on loopback. */
export type Groups = { readonly app: readonly string[]; readonly canary: readonly string[] };

export type Site = {
  readonly programs: Programs;
  /** The core of every proxy under test, and that of the load and the upstream. */
  readonly proxyCore: number;
  readonly loadCore: number;
  /** For programs that run on Node. */
  readonly nodeFlags: readonly string[];
  readonly groups: Groups;
  /** The same upstreams over TLS, with the certificate of `path("site.pem")`. */
  readonly tlsGroups: Groups;
  /** The same upstreams over HTTP/2 with prior knowledge. */
  readonly http2Groups: Groups;
  /** As many more addresses of the group `app`, for rows with many endpoints. */
  readonly many: readonly string[];
  /** Writes a generated file; returns its path. */
  write(name: string, text: string): string;
  path(name: string): string;
  close(): Promise<void>;
};

/** The response body of each group: 30 bytes. */
export const BODY = { app: "answered by the app upstream.\n", canary: "this is the canary's answer..\n" } as const;

/** The request header that chooses the group, the one that a chain sets, and the response header that it removes. */
export const ROUTE_HEADER = "x-beta";
export const SET_HEADER = "x-tenant";
export const SET_VALUE = "acme";
export const REMOVED_HEADER = "x-powered-by";

/** Sluice's default cipher suites, for every peer: the first of them is used. */
export const CIPHERS = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305";
export const SUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";

const MANY = 1000;

/** Bytes of the upstream's file for rows with a large body. */
export const LARGE = 1024 * 1024;

export async function openSite(): Promise<Site> {
  const directory = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  const programs = new Programs();
  const path = (name: string): string => join(directory, name);
  const write = (name: string, text: string): string => {
    // At once: a proxy may watch the file.
    writeFileSync(path(`${name}.new`), text);
    renameSync(path(`${name}.new`), path(name));
    return path(name);
  };
  const addresses = (await freePorts(12)).map((port) => `127.0.0.1:${port}`);
  const groups = { app: addresses.slice(0, 2), canary: addresses.slice(2, 4) };
  const tlsGroups = { app: addresses.slice(4, 6), canary: addresses.slice(6, 8) };
  const http2Groups = { app: addresses.slice(8, 10), canary: addresses.slice(10) };
  const authority = new Authority(directory);
  authority.issue("site");
  write("both.pem", authority.read("site.pem") + authority.read("site.key"));
  const [port] = await freePorts(1);
  const many = Array.from({ length: MANY }, (_, i) => `127.0.${1 + Math.floor(i / 250)}.${1 + (i % 250)}:${port}`);
  const close = async (): Promise<void> => {
    await programs.close();
    rmSync(directory, { recursive: true });
  };
  const site = {
    programs,
    proxyCore: 0,
    loadCore: 1,
    nodeFlags: [],
    groups,
    tlsGroups,
    http2Groups,
    many,
    write,
    path,
    close,
  };
  await startUpstream(site);
  return site;
}

export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

/** The TLS settings of an nginx server: those of Sluice's defaults, and tickets without a session cache. */
export function nginxTls(site: Site): string {
  return `ssl_certificate ${site.path("site.pem")}; ssl_certificate_key ${site.path("site.key")};
    ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers ${CIPHERS}; ssl_conf_command Ciphersuites ${SUITES};
    ssl_prefer_server_ciphers on; ssl_session_cache off; ssl_session_tickets on;`;
}

/** What nginx needs to run Lua. */
export const LUA_MODULES: readonly string[] = ["ndk_http_module.so", "ngx_http_lua_module.so"];
export const LUA_HTTP = 'lua_package_path "/usr/share/lua/5.1/?.lua;;";';

/** The text before `events` in each generated nginx configuration: one worker, nothing outside the directory. */
export function nginxPreamble(site: Site, name: string, modules: readonly string[] = []): string {
  return [
    ...modules.map((module) => `load_module ${nginxModules()}/${module};`),
    // The directory is readable by its owner alone; without this a worker of root changes to another user.
    process.getuid?.() === 0 ? "user root;" : "",
    "daemon off; worker_processes 1; worker_rlimit_nofile 20000;",
    `pid ${site.path(`${name}.pid`)}; error_log stderr crit;`,
    "events { worker_connections 18000; }",
  ].join("\n");
}

/** The `http` settings that each generated nginx configuration shares. */
export function nginxHttp(site: Site): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return [
    "access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; default_type text/plain;",
    ...temporary.map((kind) => `${kind}_temp_path ${site.path(`nginx-${kind}`)};`),
  ].join("\n");
}

function nginxModules(): string {
  const built = execFileSync("sh", ["-c", "nginx -V 2>&1"], { encoding: "utf8" });
  return /--modules-path=(\S+)/.exec(built)?.[1] ?? "modules";
}

/** One nginx serves both groups: fast, on the load's core. `/echo` shows what a proxy sent. */
async function startUpstream(site: Site): Promise<void> {
  const echo = ["via", "x_forwarded_for", "x_forwarded_proto", "x_forwarded_host", "host", "connection", "x_tenant"];
  const shown = echo.map((name) => `$http_${name}`).join("|");
  const server = (name: keyof Groups, addresses: readonly string[]): string => `server {
    ${addresses.map((address) => `listen ${address} backlog=4096;`).join(" ")}
    ${site.tlsGroups[name].map((address) => `listen ${address} ssl backlog=4096;`).join(" ")}
    ${site.http2Groups[name].map((address) => `listen ${address} http2 backlog=4096;`).join(" ")}
    ${nginxTls(site)}
    add_header X-Powered-By upstream;
    location / { return 200 "${BODY[name].replace("\n", "\\n")}"; }
    location = /echo { return 200 "$connection_requests|${shown}"; }
    location = /upload {
      client_max_body_size 0; client_body_buffer_size ${2 * LARGE};
      content_by_lua_block { ngx.req.read_body() ngx.print(#ngx.req.get_body_data()) }
    }
    location = /large { root ${site.path("")}; }
  }`;
  site.write("large", "0123456789abcdef".repeat(LARGE / 16));
  const text = `${nginxPreamble(site, "upstream", LUA_MODULES)}
http { ${nginxHttp(site)} sendfile on; ${LUA_HTTP}
${server("app", [...site.groups.app, ...site.many])}
${server("canary", site.groups.canary)}
}
`;
  const run = ["nginx", "-p", site.path(""), "-c", site.write("upstream.conf", text)];
  const program = site.programs.start({ name: "upstream", run, core: site.loadCore });
  await waitForPort(program, Number(site.groups.app[0]?.split(":")[1]));
}
