import { runExample } from "../run-example.mjs";

await runExample({
  from: import.meta.url,
  upstreams: {
    "app-1": { port: 9001, respond: instance("app-1") },
    "app-2": { port: 9002, respond: instance("app-2") },
  },
  commands: [
    "curl $URL/                                        # app-1 or app-2",
    "curl -X POST http://127.0.0.1:9001/drain          # app-1 reports that it is draining: app-2 only",
    "curl -X POST http://127.0.0.1:9001/resume         # healthy again",
    "curl -i $URL/gone                                 # 503: its only endpoint is down",
  ],
});

/**
 * An instance of the application: it reports its state, and can be set to draining.
 * @param {string} name
 * @returns {import("node:http").RequestListener}
 */
function instance(name) {
  let draining = false;
  return ({ url }, response) => {
    if (url === "/drain" || url === "/resume") draining = url === "/drain";
    response.setHeader("content-type", "application/json");
    response.end(`${JSON.stringify(url === "/healthz" ? { draining, queue: 3 } : { upstream: name, draining })}\n`);
  };
}
