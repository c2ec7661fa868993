// A filter: sets a greeting header, and denies access to /private/.
import { Config, Request, Response } from "sluice/sdk";

const greeting = Config.string("greeting", "hello");

export function onRequest(req: Request): void {
  if (req.pathStartsWith("/private/")) req.respond(403, "not for you\n");
  else req.headers.set("x-greeting", greeting);
}

export function onResponse(req: Request, res: Response): void {
  res.headers.remove("x-powered-by");
  res.headers.set("x-served-by", "sluice");
}
