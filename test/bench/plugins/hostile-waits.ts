// Waits for ever.
import { Request, sleep } from "sluice/sdk";

export function onRequest(req: Request): void {
  sleep(i32.MAX_VALUE);
}
