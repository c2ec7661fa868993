import { ATTRIBUTE, RESULT } from "./abi";
import { readNumber, writeAttribute } from "./attributes";
import { result, sendResponse, setResult } from "./exchange";
import { Headers, responseHeaders } from "./headers";

/** The answer on its way to the client. */
// @ts-ignore: decorator
@final
export class Response {
  /** Its fields. */
  get headers(): Headers {
    return responseHeaders;
  }

  /** The status code. */
  get status(): i32 {
    return <i32>readNumber(ATTRIBUTE.status);
  }

  /** Sets the status code, 200 to 599. */
  set status(code: i32) {
    writeAttribute(ATTRIBUTE.status, code.toString(), "cannot set status");
  }

  /**
   * Holds the answer back until its body is whole, `limits.body` at most (in `onResponse`). `onResponseBody` is then called
   * once, with all of it (also where there is none), and may change status and headers. The rest of the hook still runs.
   */
  hold(): void {
    if (result == RESULT.continue_) setResult(RESULT.hold);
  }

  /** Sends this answer in place of the upstream's. The body is sent as UTF-8. */
  respond(status: i32, body: string = ""): Response {
    return this.respondBytes(status, String.UTF8.encode(body));
  }

  /** Sends this answer in place of the upstream's. */
  respondBytes(status: i32, body: ArrayBuffer): Response {
    sendResponse(status, body);
    setResult(RESULT.respond);
    return this;
  }
}

// @ts-ignore: decorator
@lazy export const response = new Response();
