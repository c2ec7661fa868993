/** Asks the URL of `acme.onDemand.ask` whether a name may get a certificate. */
import { callHttp } from "../http-call.ts";

/** ms. */
const TIMEOUT = 5000;

/** Empty: the name is allowed; otherwise why not. @throws Error without a response */
export async function askFor(url: string, name: string, signal: AbortSignal): Promise<string> {
  const target = new URL(url);
  target.searchParams.set("domain", name);
  const headers = { "user-agent": "sluice-acme" };
  const { status } = await callHttp({ method: "GET", url: target, headers, signal, timeout: TIMEOUT, most: 0 });
  return status === 200 ? "" : `acme.onDemand.ask responded ${status}`;
}
