// Reads each chunk of a body, or replaces it: selected by `does`.
import { Body, Config, Request, Response } from "sluice/sdk";

const replaces = Config.string("does") == "replace";
const other = new Uint8Array(64 * 1024);

export function onRequestBody(req: Request, body: Body): void {
  handle(body);
}

export function onResponseBody(req: Request, res: Response, body: Body): void {
  handle(body);
}

function handle(body: Body): void {
  if (replaces) body.replace(other);
  else if (body.bytes().length != body.size) throw new Error("a piece was not read whole");
}
