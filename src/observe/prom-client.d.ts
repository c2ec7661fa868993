/**
 * The two modules of prom-client that are used. Its index also loads gateways, clusters and summaries: 35 ms of each
 * start.
 */
declare module "prom-client/lib/registry.js" {
  export { Registry as default } from "prom-client";
}

declare module "prom-client/lib/defaultMetrics.js" {
  export { collectDefaultMetrics as default } from "prom-client";
}
