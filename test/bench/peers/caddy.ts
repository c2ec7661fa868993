import { waitForPort } from "../programs.ts";
import { freePorts, type Site } from "../site.ts";
import type { Peer, Subject } from "../subject.ts";

/** Caddy adds X-Forwarded-* by itself; its runtime takes one thread because it sees one core. */
async function startCaddy(site: Site): Promise<Subject> {
  const [port = 0] = await freePorts(1);
  const text = `{
  admin off
  auto_https off
  log {
    output discard
  }
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy ${site.groups.app.join(" ")} {
    lb_policy round_robin
    header_up Via "1.1 caddy"
    transport http {
      keepalive 1h
      keepalive_idle_conns 512
      keepalive_idle_conns_per_host 256
    }
  }
}
`;
  const file = site.write("Caddyfile", text);
  const home = [`XDG_CONFIG_HOME=${site.path("caddy")}`, `XDG_DATA_HOME=${site.path("caddy")}`];
  const run = ["env", ...home, "caddy", "run", "--config", file, "--adapter", "caddyfile"];
  const program = site.programs.start({ name: "Caddy", run, core: site.proxyCore });
  await waitForPort(program, port);
  return { name: "Caddy", port, pid: program.pid, close: program.close };
}

export const caddy: Peer = { name: "Caddy", work: "plain", start: startCaddy };
