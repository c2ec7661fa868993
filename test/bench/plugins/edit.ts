// The filter of the chain: sets one request header, removes one response header.
import { Request, Response } from "sluice/sdk";

export function onRequest(req: Request): void {
  req.headers.set("x-tenant", "acme");
}

export function onResponse(req: Request, res: Response): void {
  res.headers.remove("x-powered-by");
}
