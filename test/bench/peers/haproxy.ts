import { waitForPort } from "../programs.ts";
import { CIPHERS, freePorts, type Groups, SET_HEADER, SET_VALUE, type Site, SUITES, type Work } from "../site.ts";
import type { Peer, Subject } from "../subject.ts";

const SCRIPT = `core.register_action("route", { "http-req" }, function(txn)
  if txn.sf:req_hdr("x-beta") == "1" then txn:set_var("txn.group", "canary") end
  txn.http:req_set_header("${SET_HEADER}", "${SET_VALUE}")
end)
core.register_action("strip", { "http-res" }, function(txn)
  txn.http:res_del_header("x-powered-by")
end)
`;

function backend(site: Site, name: keyof Groups, keys: string): string {
  const servers = site.groups[name].map(
    (address, index) => `  server ${name}${index} ${address} pool-max-conn -1 ${keys}`,
  );
  return `backend ${name}\n  balance roundrobin\n  http-reuse always\n${servers.join("\n")}`;
}

const CHAIN = [
  "http-request lua.route",
  "http-response lua.strip",
  "use_backend canary if { var(txn.group) -m str canary }",
];
/** Under a limit that is not reached. */
const COUNT = [
  "stick-table type ip size 100k expire 60s store http_req_cnt",
  "http-request track-sc0 src",
  "http-request deny deny_status 429 if { sc_http_req_cnt(0) gt 1000000000 }",
];

type Sides = {
  /** Clients use https. */
  readonly tls?: true;
  /** Keys of the `bind` line. */
  readonly bind?: string;
  /** Keys of each `server` line. */
  readonly server?: string;
};

async function startHaproxy(site: Site, name: string, rules: readonly string[], sides: Sides = {}): Promise<Subject> {
  const [port = 0] = await freePorts(1);
  const scripted = rules === CHAIN;
  const file = name.replaceAll(/\W+/g, "-");
  const text = `global
  nbthread 1
  maxconn 9000
${scripted ? `  lua-load ${site.write("haproxy.lua", SCRIPT)}` : ""}
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout http-keep-alive 1h
frontend web
  bind 127.0.0.1:${port} backlog 4096 ${sides.bind ?? ""}
  option forwardfor
  http-request set-header Via "1.1 haproxy"
  http-request set-header X-Forwarded-Proto ${sides.tls ? "https" : "http"}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
${rules.map((rule) => `  ${rule}`).join("\n")}
  default_backend app
${backend(site, "app", sides.server ?? "")}
${backend(site, "canary", sides.server ?? "")}
`;
  const run = ["haproxy", "-db", "-f", site.write(`${file}.cfg`, text)];
  const program = site.programs.start({ name, run, core: site.proxyCore });
  await waitForPort(program, port);
  return { name, port, tls: sides.tls, pid: program.pid, close: program.close };
}

/** Relays bytes. */
async function startTcp(site: Site): Promise<Subject> {
  const name = "HAProxy";
  const [port = 0] = await freePorts(1);
  const text = `global
  nbthread 1
  maxconn 9000
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend db
  bind 127.0.0.1:${port} backlog 4096
  default_backend app
backend app
  balance roundrobin
${site.groups.app.map((address, index) => `  server app${index} ${address}`).join("\n")}
`;
  const run = ["haproxy", "-db", "-f", site.write("haproxy-tcp.cfg", text)];
  const program = site.programs.start({ name, run, core: site.proxyCore });
  await waitForPort(program, port);
  return { name, port, pid: program.pid, close: program.close };
}

export const haproxyTcp: Peer = { name: "HAProxy", work: "plain", start: startTcp };

function peerOf(name: string, work: Work, rules: readonly string[]): Peer {
  return { name, work, start: (site) => startHaproxy(site, name, rules) };
}

export const haproxy = peerOf("HAProxy", "plain", []);
export const haproxyLua = peerOf("HAProxy + Lua", "chain", CHAIN);
export const haproxyCount = peerOf("HAProxy stick-table", "plain", COUNT);

export const haproxyFront: Peer = {
  name: "HAProxy",
  work: "plain",
  start: (site) => {
    const suites = `alpn h2,http/1.1 ssl-min-ver TLSv1.2 ciphers ${CIPHERS} ciphersuites ${SUITES}`;
    return startHaproxy(site, "HAProxy", [], { tls: true, bind: `ssl crt ${site.path("both.pem")} ${suites}` });
  },
};

/** Verifies the upstream's certificate, as Sluice does by default. */
export const haproxyTlsUpstream: Peer = {
  name: "HAProxy",
  work: "plain",
  start: (site) => {
    const server = `ssl verify required ca-file ${site.path("ca.pem")} sni str(localhost) verifyhost localhost`;
    return startHaproxy({ ...site, groups: site.tlsGroups }, "HAProxy", [], { server });
  },
};

export const haproxyHttp2Upstream: Peer = {
  name: "HAProxy",
  work: "plain",
  start: (site) => startHaproxy({ ...site, groups: site.http2Groups }, "HAProxy", [], { server: "proto h2" }),
};

/** Clients use HTTP/2 with prior knowledge. */
export const haproxyHttp2: Peer = {
  name: "HAProxy",
  work: "plain",
  start: (site) => startHaproxy(site, "HAProxy", [], { bind: "proto h2" }),
};

/** The same on both sides. */
export const haproxyHttp2Both: Peer = {
  name: "HAProxy",
  work: "plain",
  start: (site) => startHaproxy(site, "HAProxy", [], { bind: "proto h2", server: "proto h2" }),
};
