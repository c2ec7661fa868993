/** Every row: who is compared, at which work, and what we aim at. */
import type { Comparison, LoadRow } from "./compare.ts";
import { caddy } from "./peers/caddy.ts";
import { haproxy, haproxyCount, haproxyFront, haproxyLua, haproxyTlsUpstream } from "./peers/haproxy.ts";
import {
  nginx,
  nginxAuth,
  nginxBody,
  nginxFront,
  nginxLimit,
  nginxLogging,
  nginxLua,
  nginxLuaCount,
  nginxNjs,
  nginxTlsUpstream,
} from "./peers/nginx.ts";
import { floor, floorChain, nodeHttp, nodeHttpChain, undici, undiciChain } from "./peers/node.ts";
import {
  sluice,
  sluiceBody,
  sluiceChain,
  sluiceFetch,
  sluiceFront,
  sluiceKeyValue,
  sluiceLogging,
  sluiceNoop,
  sluiceTlsUpstream,
  sluiceTraced,
  whyNotTraced,
} from "./peers/sluice.ts";
import { LARGE, ROUTE_HEADER } from "./site.ts";

const againstNative: readonly Comparison[] = [
  { ours: "Sluice", peer: "nginx" },
  { ours: "Sluice", peer: "HAProxy" },
];

export const LOAD_ROWS: readonly LoadRow[] = [
  {
    name: "plain",
    title: "Plain proxy, round robin over two endpoints",
    work: "plain",
    peers: [sluice, floor, nginx, haproxy, caddy, undici, nodeHttp],
    comparisons: [
      { ours: "Sluice", peer: "nginx", target: 1.2, next: 1.1 },
      { ours: "Sluice", peer: "HAProxy" },
      { ours: "Sluice", peer: "Caddy", target: 0.45 },
      { ours: "Sluice", peer: "undici", target: 0.65 },
      { ours: "Sluice", peer: "node:http", target: 0.45 },
      { ours: "Sluice", peer: "floor" },
      { ours: "floor", peer: "nginx" },
    ],
  },
  {
    name: "chain",
    title: "Chain: route by a header, set a request header, remove a response header, pick",
    work: "chain",
    headers: [`${ROUTE_HEADER}: 1`],
    peers: [sluiceChain, floorChain, nginxLua, nginxNjs, haproxyLua, undiciChain, nodeHttpChain],
    comparisons: [
      { ours: "Sluice", peer: "nginx + Lua", target: 1.05, next: 0.95 },
      { ours: "Sluice", peer: "nginx + njs", target: 0.95 },
      { ours: "Sluice", peer: "HAProxy + Lua", target: 0.75 },
      { ours: "Sluice", peer: "undici", target: 0.65 },
      { ours: "Sluice", peer: "node:http", target: 0.45 },
      { ours: "Sluice", peer: "floor" },
      { ours: "floor", peer: "nginx + Lua" },
    ],
  },
  {
    name: "noop",
    title: "One more plugin that does nothing, on request and response",
    work: "plain",
    peers: [sluice, sluiceNoop],
    comparisons: [{ ours: sluiceNoop.name, peer: sluice.name, target: 150, difference: true }],
  },
  {
    name: "body",
    title: "1 MiB from the upstream, each piece through a body hook",
    work: "plain",
    path: "/large",
    peers: [sluice, sluiceBody, nginx, nginxBody],
    comparisons: [
      { ours: sluiceBody.name, peer: "Sluice" },
      { ours: nginxBody.name, peer: "nginx" },
      { ours: sluiceBody.name, peer: nginxBody.name },
    ],
  },
  {
    name: "fetch",
    title: "Each request authorized by a service that is asked",
    work: "plain",
    peers: [sluice, sluiceFetch, nginx, nginxAuth],
    comparisons: [
      { ours: sluiceFetch.name, peer: "Sluice" },
      { ours: nginxAuth.name, peer: "nginx" },
      { ours: sluiceFetch.name, peer: nginxAuth.name },
    ],
  },
  {
    name: "keyvalue",
    title: "A counter for each client",
    work: "plain",
    peers: [sluice, sluiceKeyValue, nginxLimit, nginxLuaCount, haproxyCount],
    comparisons: [
      { ours: sluiceKeyValue.name, peer: "Sluice", difference: true },
      { ours: sluiceKeyValue.name, peer: nginxLimit.name },
      { ours: sluiceKeyValue.name, peer: nginxLuaCount.name },
      { ours: sluiceKeyValue.name, peer: haproxyCount.name },
    ],
  },
  {
    name: "traced",
    title: "Traces configured, and none asked for",
    work: "plain",
    peers: [sluiceNoop, sluiceTraced],
    comparisons: [{ ours: sluiceTraced.name, peer: sluiceNoop.name, difference: true }],
    missing: whyNotTraced,
  },
  {
    name: "logged",
    title: "Plain proxy with the access log on",
    work: "plain",
    peers: [sluiceLogging, nginxLogging],
    comparisons: [{ ours: "Sluice", peer: "nginx" }],
  },
  {
    name: "tls",
    title: "TLS from the client, kept connections",
    work: "plain",
    peers: [sluiceFront, nginxFront, haproxyFront],
    comparisons: [
      { ours: "Sluice", peer: "nginx", target: 1.12 },
      { ours: "Sluice", peer: "HAProxy" },
    ],
  },
  {
    name: "tls-download",
    title: "1 MiB from the upstream, TLS from the client",
    work: "plain",
    path: "/large",
    peers: [sluiceFront, nginxFront, haproxyFront],
    comparisons: againstNative,
  },
  {
    name: "tls-upstream",
    title: "TLS to the upstream, kept connections",
    work: "plain",
    peers: [sluiceTlsUpstream, nginxTlsUpstream, haproxyTlsUpstream],
    comparisons: againstNative,
  },
  {
    name: "download",
    title: "1 MiB from the upstream",
    work: "plain",
    path: "/large",
    peers: [sluice, nginx, haproxy],
    comparisons: againstNative,
  },
  {
    name: "upload",
    title: "1 MiB to the upstream",
    work: "plain",
    path: "/upload",
    upload: LARGE,
    peers: [sluice, nginx, haproxy],
    comparisons: againstNative,
  },
  {
    name: "connections",
    title: "A new connection for each request",
    work: "plain",
    headers: ["Connection: close"],
    peers: [sluice, nginx, haproxy],
    comparisons: againstNative,
  },
  {
    name: "pick-100",
    title: "Round robin over 100 endpoints",
    work: "plain",
    endpoints: 100,
    peers: [sluice, nginx, haproxy],
    comparisons: againstNative,
  },
  {
    name: "pick-1000",
    title: "Round robin over 1,000 endpoints",
    work: "plain",
    endpoints: 1000,
    peers: [sluice, nginx, haproxy],
    comparisons: againstNative,
  },
];
