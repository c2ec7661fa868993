/** The plan of a listener for HTTP/1.1 with nothing set. */
import type { ListenerPlan } from "../../src/plan/plan.ts";

export const plainListener: ListenerPlan = {
  name: "web",
  address: "127.0.0.1:0",
  protocol: "http",
  tls: null,
  proxyProtocol: null,
  allow: null,
  deny: null,
  timeouts: { handshake: 5000, head: 5000, body: 5000, write: 5000, idle: 5000 },
  limits: { head: 32 * 1024, target: 16 * 1024, headers: 100, body: 0, connections: 0, connectionsPerClient: 0 },
  path: { allowsAmbiguous: false, form: 0 },
  trustedProxies: [],
  http2: {
    maxConcurrentStreams: 100,
    streamWindow: 65_536,
    connectionWindow: 1_048_576,
    headerTableSize: 4096,
    controlFrames: { burst: 1000, perSecond: 100 },
  },
  halfClose: false,
  strictSniHost: false,
  chain: [],
  udp: { responses: 0, quic: false },
  relay: null,
  routes: [],
  slot: 0,
  cells: 100,
  requestCells: 200,
  grpcMethods: [],
  durationCells: 300,
};
