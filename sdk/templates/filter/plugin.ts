// A filter: adds a request header, responds to one path itself, and removes a response header.
import { Config, Request, Response } from "sluice/sdk";

// Read once per guest, when the plugin is loaded.
const greeting = Config.string("greeting", "hello");

export function onRequest(req: Request): void {
  if (req.pathStartsWith("/teapot")) {
    req.respond(418, "short and stout\n"); // a local response: the request is not forwarded
    return;
  }
  req.headers.set("x-greeting", greeting);
}

export function onResponse(req: Request, res: Response): void {
  res.headers.remove("server");
}
