import { findWorker, waitForPort } from "../programs.ts";
import {
  freePorts,
  type Groups,
  LUA_HTTP,
  LUA_MODULES,
  nginxHttp,
  nginxPreamble,
  nginxTls,
  SET_HEADER,
  SET_VALUE,
  type Site,
  type Work,
} from "../site.ts";
import type { Peer, Subject } from "../subject.ts";

const GROUP_NAMES = ["app", "canary"] as const satisfies readonly (keyof Groups)[];

const FORWARDED = `proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header Via "1.1 nginx"; proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;
      client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;`;

const LUA_LOCATION = `set $group app;
      rewrite_by_lua_block {
        if ngx.var.http_x_beta == "1" then ngx.var.group = "canary" end
        ngx.req.set_header("${SET_HEADER}", "${SET_VALUE}")
      }
      header_filter_by_lua_block { ngx.header["X-Powered-By"] = nil }
      proxy_pass http://$group;`;

// One call serves both decisions, as an njs author would write it: the route's function sets the other variable too.
const NJS_LOCATION = `set $tenant "";
      proxy_set_header ${SET_HEADER} $tenant;
      js_header_filter bench.strip;
      proxy_pass http://$group;`;

const NJS_SOURCE = `function route(r) {
  r.variables.tenant = "${SET_VALUE}";
  return r.headersIn["x-beta"] === "1" ? "canary" : "app";
}
function strip(r) { delete r.headersOut["X-Powered-By"]; }
export default { route, strip };
`;

const NJS_BODY_SOURCE = `let seen = 0;
function look(r, data, flags) {
  if (data.length > 0) seen += data[0];
  r.sendBuffer(data, flags);
}
export default { look };
`;

type Flavour = {
  readonly name: string;
  readonly work: Work;
  readonly modules: readonly string[];
  readonly http: (site: Site) => string;
  readonly location: string;
  /** Upgrades are passed on. */
  readonly upgrade?: true;
  /** Clients use https. */
  readonly tls?: true;
  /** Clients without TLS use HTTP/2 with prior knowledge. */
  readonly http2?: true;
  /** Further locations. */
  readonly server?: (site: Site) => string;
};

async function startNginx(site: Site, flavour: Flavour): Promise<Subject> {
  const { name, modules, http, location, server, upgrade, tls, http2 } = flavour;
  const [port = 0, checkedPort = 0] = await freePorts(2);
  const file = name.replaceAll(/\W+/g, "-");
  const upstreams = GROUP_NAMES.map(
    (group) => `upstream ${group} {
    ${site.groups[group].map((address) => `server ${address};`).join(" ")}
    keepalive ${Math.max(256, 2 * site.groups[group].length)}; keepalive_requests 1000000000; keepalive_timeout 1h;
  }`,
  );
  const text = `${nginxPreamble(site, file, modules)}
http { ${nginxHttp(site)}
  ${http(site)}
  ${upstreams.join("\n  ")}
  server {
    listen 127.0.0.1:${port}${tls ? " ssl http2" : http2 ? " http2" : ""} backlog=4096;
    ${http2 ? `listen 127.0.0.1:${checkedPort};` : ""}
    ${tls ? nginxTls(site) : ""}
    location / {
      ${upgrade ? FORWARDED.replace('Connection ""', "Upgrade $http_upgrade; proxy_set_header Connection upgrade") : FORWARDED}
      ${location}
    }
    ${server?.(site) ?? ""}
  }
}
`;
  const run = ["nginx", "-p", site.path(""), "-c", site.write(`${file}.conf`, text)];
  const program = site.programs.start({ name, run, core: site.proxyCore });
  await waitForPort(program, port);
  const subject = { name, port, tls, pid: await findWorker(program.pid), close: program.close };
  return http2 ? { ...subject, checkedPort } : subject;
}

/** Relays bytes, with its default buffers of 16 KiB, or datagrams. */
async function startStream(site: Site, datagrams: boolean): Promise<Subject> {
  const name = "nginx";
  const [port = 0] = await freePorts(1);
  const text = `${nginxPreamble(site, "nginx-stream", ["ngx_stream_module.so"])}
stream {
  upstream app { ${site.groups.app.map((address) => `server ${address};`).join(" ")} }
  server { listen 127.0.0.1:${port} ${datagrams ? "udp" : "backlog=4096"}; proxy_pass app; proxy_timeout 1h; tcp_nodelay on; }
}
`;
  const run = ["nginx", "-p", site.path(""), "-c", site.write("nginx-stream.conf", text)];
  const program = site.programs.start({ name, run, core: site.proxyCore });
  if (!datagrams) await waitForPort(program, port);
  return { name, port, pid: await findWorker(program.pid), close: program.close };
}

export const nginxStream: Peer = { name: "nginx", work: "plain", start: (site) => startStream(site, false) };
export const nginxDatagrams: Peer = { name: "nginx", work: "plain", start: (site) => startStream(site, true) };

function peerOf(flavour: Flavour): Peer {
  return { name: flavour.name, work: flavour.work, start: (site) => startNginx(site, flavour) };
}

export const nginx = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: "proxy_pass http://app;",
});

export const nginxUpgrade = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: "proxy_pass http://app; proxy_read_timeout 1h; proxy_send_timeout 1h;",
  upgrade: true,
});

export const nginxFront = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: "proxy_pass http://app;",
  tls: true,
});

/** A gRPC proxy, as nginx has it. */
export const nginxGrpc = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: `grpc_set_header Host $http_host; grpc_set_header Via "2 nginx"; grpc_set_header X-Forwarded-For $remote_addr;
      grpc_set_header X-Forwarded-Proto $scheme; grpc_set_header X-Forwarded-Host $http_host;
      grpc_read_timeout 1h; grpc_send_timeout 1h; grpc_pass grpc://app;`,
  http2: true,
});

export const nginxHttp2 = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: "proxy_pass http://app;",
  http2: true,
});

/** Events pass at once. */
export const nginxHttp2Unbuffered = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: "proxy_pass http://app; proxy_read_timeout 1h; proxy_buffering off;",
  http2: true,
});

/** Verifies the upstream's certificate, as Sluice does by default. */
export const nginxTlsUpstream: Peer = {
  name: "nginx",
  work: "plain",
  start: (site) =>
    startNginx(
      { ...site, groups: site.tlsGroups },
      {
        name: "nginx",
        work: "plain",
        modules: [],
        http: () => "",
        location: `proxy_pass https://app; proxy_ssl_name localhost; proxy_ssl_server_name on; proxy_ssl_verify on;
      proxy_ssl_trusted_certificate ${site.path("ca.pem")}; proxy_ssl_protocols TLSv1.2 TLSv1.3;`,
      },
    ),
};

/** Buffered, like Sluice's own log; both go to /dev/null. */
export const nginxLogging = peerOf({
  name: "nginx",
  work: "plain",
  modules: [],
  http: () => "",
  location: "access_log /dev/null combined buffer=64k flush=1s; proxy_pass http://app;",
});

export const nginxLua = peerOf({
  name: "nginx + Lua",
  work: "chain",
  modules: LUA_MODULES,
  http: () => LUA_HTTP,
  location: LUA_LOCATION,
});

export const nginxNjs = peerOf({
  name: "nginx + njs",
  work: "chain",
  modules: ["ngx_http_js_module.so"],
  http: (site) => `js_import bench from ${site.write("bench.js", NJS_SOURCE)}; js_set $group bench.route;`,
  location: NJS_LOCATION,
});

export const nginxBody = peerOf({
  name: "nginx + njs",
  work: "plain",
  modules: ["ngx_http_js_module.so"],
  http: (site) => `js_import bench from ${site.write("body.js", NJS_BODY_SOURCE)};`,
  location: "js_body_filter bench.look buffer_type=buffer; proxy_pass http://app;",
});

/** The same service is asked, over kept connections. */
export const nginxAuth = peerOf({
  name: "nginx auth_request",
  work: "plain",
  modules: [],
  http: () => "",
  location: "auth_request /authorize; proxy_pass http://app;",
  server: () => `location = /authorize {
      internal; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host canary;
      proxy_pass_request_body off; proxy_set_header Content-Length ""; proxy_pass http://canary/;
    }`,
});

/** Under a limit that is not reached: it counts, and lets all pass. */
export const nginxLimit = peerOf({
  name: "nginx limit_req",
  work: "plain",
  modules: [],
  http: () => "limit_req_zone $binary_remote_addr zone=clients:16m rate=1000000r/s;",
  location: "limit_req zone=clients burst=100000 nodelay; proxy_pass http://app;",
});

export const nginxLuaCount = peerOf({
  name: "nginx + Lua, shared dictionary",
  work: "plain",
  modules: LUA_MODULES,
  http: () => `${LUA_HTTP} lua_shared_dict clients 16m;`,
  location: `access_by_lua_block {
        local count = ngx.shared.clients:incr(ngx.var.remote_addr, 1, 0, 60)
        if count and count > 1e9 then return ngx.exit(429) end
      }
      proxy_pass http://app;`,
});
