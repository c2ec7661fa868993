// A health check: an endpoint is healthy if it responds with 2xx and its JSON body does not have "draining": true.
import { Config, Endpoint, Json, fromView } from "sluice/sdk";

const path = Config.string("path", "/healthz");

export function onHealthCheck(endpoint: Endpoint): bool {
  const response = endpoint.fetch(path).send();
  if (response.status == 0) return endpoint.unhealthy(response.timedOut ? "timeout" : "no response");
  if (!response.ok) return endpoint.unhealthy("status " + response.status.toString());
  const body = Json.parse(fromView(response.bytes()));
  if (body !== null) {
    const draining = body.get("draining");
    if (draining !== null && draining.asBool()) return endpoint.unhealthy("is draining");
  }
  return true;
}
