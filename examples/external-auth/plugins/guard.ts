// Queries a service for the user of a session, caches the result, and sends the user to the endpoint.
//
//     guard: { cookie: session, remember: 10 }    # seconds for which a result is cached

import { Config, Cookies, Fetch, Hex, Request, cluster, counter, kv, log, sha256, toUtf8 } from "sluice/sdk";

const cookie = Config.string("cookie", "session");
const remember = <f64>Config.int("remember", 10) * 1000;
const known = kv("sessions"); // shared by all threads
const asked = counter("guard_asked_total", "Sessions that the service was asked about.");
cluster("auth"); // a configuration without it is refused when it is loaded

export function onRequest(req: Request): void {
  // What a client says here is not to be believed.
  req.headers.own("x-user");
  const session = Cookies.get(req.headers, cookie);
  if (session === null) return login(req);
  // A store that somebody reads holds no session that could be used.
  const key = Hex.encode(sha256(toUtf8(session)));
  let user = known.get(key);
  if (user === null) {
    asked.add();
    const answer = new Fetch("cluster:auth/session").header("x-session", Hex.encode(toUtf8(session))).timeout(1000).send();
    if (answer.status == 401) return login(req);
    if (answer.ok) user = answer.header("x-user");
    // Nobody is let in by a service that is away, or that says nothing.
    if (user === null) {
      log.warn("the service did not say whose session it is: status " + answer.status.toString());
      req.respond(503, "try again later\n");
      return;
    }
    known.set(key, user, remember);
  }
  req.headers.set("x-user", user);
}

function login(req: Request): void {
  const headers = req.respond(302).headers;
  headers.set("location", "/login");
  headers.set("cache-control", "no-store");
}
