// An instance is healthy if it responds, is not draining, and its queue is below the limit.
//
//     doctor: { path: /healthz, queue: 100 }

import { Config, Endpoint, Json, fromView } from "sluice/sdk";

const path = Config.string("path", "/healthz");
const most = <f64>Config.int("queue", 100);

export function onHealthCheck(endpoint: Endpoint): bool {
  const answer = endpoint.fetch(path).send();
  if (answer.status == 0) return endpoint.unhealthy(answer.timedOut ? "no answer in time" : "no answer");
  if (!answer.ok) return endpoint.unhealthy("answered " + answer.status.toString());
  const said = Json.parse(fromView(answer.bytes()));
  if (said === null) return endpoint.unhealthy("answered no JSON");
  const draining = said.get("draining");
  if (draining !== null && draining.asBool()) return endpoint.unhealthy("is draining");
  const queue = said.get("queue");
  if (queue !== null && queue.asNumber() > most) {
    return endpoint.unhealthy((<i64>queue.asNumber()).toString() + " jobs wait");
  }
  return true;
}
