// A filter that does nothing, both ways: what the call itself costs.
import { Request, Response } from "sluice/sdk";

export function onRequest(req: Request): void {}

export function onResponse(req: Request, res: Response): void {}
