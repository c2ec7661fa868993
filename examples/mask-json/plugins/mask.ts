// A filter: replaces the values of configured fields in JSON responses by "***".
//
// The response is buffered until its body is complete, so that one that cannot be parsed is rejected as a whole.
// Other content types are forwarded unchanged.
import { Body, Config, fromView, JsonMask, Request, Response, toView } from "sluice/sdk";

const mask = new JsonMask(Config.list("fields"), Config.string("replacement", '"***"'));

export function onResponse(req: Request, res: Response): void {
  const type = res.headers.get("content-type");
  if (type === null || !isJson(type)) return;
  if (res.headers.has("content-encoding")) res.respond(502, "a compressed response cannot be masked\n");
  else res.bufferBody();
}

export function onResponseBody(req: Request, res: Response, body: Body): void {
  const type = res.headers.get("content-type");
  // Responses to HEAD, 204 and 304 have a type but no body.
  if (type === null || !isJson(type) || body.size == 0) return;
  const masked = mask.apply(fromView(body.bytes()));
  if (masked) body.replace(toView(masked));
  else res.respond(502, "the response is not JSON\n");
}

export function onRequest(req: Request): void {
  // Compressed responses cannot be masked.
  req.headers.remove("accept-encoding");
}

/** `application/json`, `application/problem+json`, …, with or without parameters. */
function isJson(type: string): bool {
  const bare = type.split(";")[0].trim().toLowerCase();
  return bare == "application/json" || bare.endsWith("+json");
}
