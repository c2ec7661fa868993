/** The modules of prom-client that are used. Its index loads gateways, clusters and summaries too: 35 ms a start. */
declare module "prom-client/lib/registry.js" {
  export { Registry as default } from "prom-client";
}

declare module "prom-client/lib/defaultMetrics.js" {
  export { collectDefaultMetrics as default } from "prom-client";
}
