/** Asks the URL of `acme.onDemand.ask` whether a name may get a certificate. */

/** ms. */
const TIMEOUT = 5000;

/** Empty: the name is allowed; otherwise why not. Redirects are not followed. @throws Error without a response */
export function askFor(url: string, name: string, cancel: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const target = new URL(url);
  target.searchParams.set("domain", name);
  const signal = AbortSignal.any([AbortSignal.timeout(TIMEOUT), cancel]);
  // Not imported: at the start that would load Node's `fetch` and HTTP/2.
  const { request } = process.getBuiltinModule(target.protocol === "https:" ? "node:https" : "node:http");
  const sent = request(target, { agent: false, signal, headers: { "user-agent": "sluice-acme" } });
  sent.on("error", (error) => {
    const isLate = !cancel.aborted && signal.aborted;
    reject(isLate ? new Error(`no response within ${TIMEOUT} ms`) : error);
  });
  sent.on("response", ({ statusCode = 0 }) => {
    resolve(statusCode === 200 ? "" : `acme.onDemand.ask responded ${statusCode}`);
    // The body is not read.
    sent.destroy();
  });
  sent.end();
  return promise;
}
