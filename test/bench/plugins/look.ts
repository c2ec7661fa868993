// Reads each chunk of a response body, and passes it on.
import { Body, Request, Response } from "sluice/sdk";

// A filter has a hook of heads.
export function onResponse(req: Request, res: Response): void {}

let seen: i32 = 0;

export function onResponseBody(req: Request, res: Response, body: Body): void {
  const bytes = body.bytes();
  if (bytes.length > 0) seen += bytes[0];
}
