/** Calls functions of Extism modules in our host as the package of Extism does: bytes in, bytes out. */
import { OUTCOME } from "../../src/plugin/host/host.ts";
import { requestBody } from "../../src/proxy/filtered-body.ts";
import type { Called } from "../support/extism.ts";
import { call, exchange, type Loaded } from "./plugin-harness.ts";

/** A call of the hook `request_body`: a body goes through byte for byte, as an input of the package does. */
export function callExtism(loaded: Loaded, input: Uint8Array<ArrayBuffer>): Called {
  loaded.reports.length = 0;
  const x = exchange("POST / HTTP/1.1\nHost: a");
  const { chunk } = requestBody(x);
  chunk.set(Buffer.from(input.buffer), 0, input.length, true);
  const failed = call(loaded, "request_body", x) === OUTCOME.failed;
  const { made } = chunk;
  // An unchanged chunk, which is not an output, is distinguished from an equal output by its memory.
  const isSet = made.buffer !== input.buffer;
  const logs = loaded.reports.filter((line) => !line.includes(" failed in "));
  return { output: failed || !isSet ? null : made.toString("latin1"), failed, logs };
}
