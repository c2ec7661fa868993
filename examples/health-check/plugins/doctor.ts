// An instance is healthy if it responds, is not draining, and its queue is below the limit.
//
//     doctor: { path: /healthz, queue: 100 }

import { Config, Endpoint, Json, fromView } from "sluice/sdk";

const path = Config.string("path", "/healthz");
const limit = <f64>Config.int("queue", 100);

export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.fetch(path).send();
  if (response.status == 0) return endpoint.unhealthy(response.timedOut ? "timeout" : "no response");
  if (!response.ok) return endpoint.unhealthy("status " + response.status.toString());
  const body = Json.parse(fromView(response.bytes()));
  if (body === null) return endpoint.unhealthy("response is not JSON");
  const draining = body.get("draining");
  if (draining !== null && draining.asBool()) return endpoint.unhealthy("is draining");
  const queue = body.get("queue");
  if (queue !== null && queue.asNumber() > limit) {
    return endpoint.unhealthy((<i64>queue.asNumber()).toString() + " queued jobs");
  }
  return true;
}
