// Queries a service for the user of a session, caches the result, and sends the user to the endpoint.
//
//     guard: { cookie: session, remember: 10 }    # seconds for which a result is cached

import { Config, Cookies, Fetch, Hex, Request, cluster, counter, kv, log, sha256, toUtf8 } from "sluice/sdk";

const cookie = Config.string("cookie", "session");
const ttl = <f64>Config.int("remember", 10) * 1000;
const cache = kv("sessions"); // shared by all workers
const queries = counter("guard_queries_total", "Queries to the authentication service.");
cluster("auth"); // throws if there is no such cluster: the configuration is rejected

export function onRequest(req: Request): void {
  // A client must not be able to set this header.
  req.headers.own("x-user");
  const session = Cookies.get(req.headers, cookie);
  if (session === null) return login(req);
  // The key is a hash, so that the store contains no valid sessions.
  const key = Hex.encode(sha256(toUtf8(session)));
  let user = cache.get(key);
  if (user === null) {
    queries.add();
    const response = new Fetch("cluster:auth/session").header("x-session", Hex.encode(toUtf8(session))).timeout(1000).send();
    if (response.status == 401) return login(req);
    if (response.ok) user = response.header("x-user");
    // The service is unavailable, or its response has no user.
    if (user === null) {
      log.warn("no user in the response of the service: status " + response.status.toString());
      req.respond(503, "try again later\n");
      return;
    }
    cache.set(key, user, ttl);
  }
  req.headers.set("x-user", user);
}

function login(req: Request): void {
  const headers = req.respond(302).headers;
  headers.set("location", "/login");
  headers.set("cache-control", "no-store");
}
