// A plugin that does nothing in any hook of a request: what the call of each costs.
import { Body, Connection, Endpoint, Headers, Outcome, Request, Response, State } from "sluice/sdk";

export function onRequest(req: Request): void {}
export function onRequestBody(req: Request, body: Body): void {}
export function onRequestTrailers(req: Request, trailers: Headers): void {}
export function onResponse(req: Request, res: Response): void {}
export function onResponseBody(req: Request, res: Response, body: Body): void {}
export function onResponseTrailers(req: Request, res: Response, trailers: Headers): void {}
export function onOutcome(outcome: Outcome, req: Request): void {}
export function onLog(req: Request, res: Response): void {}
export function onTick(): void {}
export function onConnection(connection: Connection): void {}
export function onHealthCheck(endpoint: Endpoint): bool { return true; }
export function onSave(state: State): void { state.writeI32(1); }
export function onRestore(state: State): void {}
