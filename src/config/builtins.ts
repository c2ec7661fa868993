/** Built-in plugins: their roles, key-value namespaces and fetch targets. */
import type { Role } from "./shape.ts";

/** The built-in plugins. A plugin of the same name under `plugins` replaces the built-in one. */
export const BUILTINS: Readonly<Record<string, Role>> = {
  "round-robin": "strategy",
  "least-connections": "strategy",
  random: "strategy",
  "power-of-two": "strategy",
  "ip-hash": "strategy",
  "consistent-hash": "strategy",
  "fastest-response": "strategy",
  adaptive: "strategy",
  headers: "filter",
  "request-id": "filter",
  rewrite: "filter",
  redirect: "filter",
  respond: "filter",
  "api-key": "filter",
  "basic-auth": "filter",
  cors: "filter",
  delay: "filter",
  "ext-auth": "filter",
  fault: "filter",
  "grpc-web": "filter",
  "ip-filter": "filter",
  jwt: "filter",
  "jwt-jwks": "filter",
  "rate-limit": "filter",
};

/** Key-value namespaces of built-ins: they have no `allow`. A plugin that names the same one shares its entries. */
export const BUILTIN_NAMESPACES: Readonly<Record<string, readonly string[]>> = {
  "rate-limit": ["rate-limit"],
  "jwt-jwks": ["jwt-jwks"],
};

/** The key of a built-in's configuration that names the only target it may send requests to: a cluster, or a URL. */
export const BUILTIN_FETCH: Readonly<Record<string, string>> = { "ext-auth": "cluster", "jwt-jwks": "jwks" };
