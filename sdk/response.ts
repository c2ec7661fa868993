import { ATTRIBUTE, RESULT } from "./abi";
import { readNumber, writeAttribute } from "./attributes";
import { result, sendResponse, setResult } from "./exchange";
import { Headers, responseHeaders, responseTrailers } from "./headers";

/** The response that is sent to the client. */
// @ts-ignore: decorator
@final
export class Response {
  /** Its headers. */
  get headers(): Headers {
    return responseHeaders;
  }

  /** Its trailers: in `onResponseBody` of the last chunk, and in `onResponseTrailers`; empty elsewhere. */
  get trailers(): Headers {
    return responseTrailers;
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
   * Buffers the response until its whole body is received, at most `limits.body` (in `onResponse`). `onResponseBody` is
   * then called once, even without a body, and may change status and headers. The rest of the hook still runs. A 101 that
   * upgrades the connection is not buffered.
   */
  bufferBody(): void {
    if (result == RESULT.continue_) setResult(RESULT.buffer);
  }

  /** Replaces the upstream's response by a local one. `status` is 200 to 599; the body is sent as UTF-8, at most 1 MiB. */
  respond(status: i32, body: string = ""): Response {
    return this.respondBytes(status, String.UTF8.encode(body));
  }

  /** As `respond`, with a body of bytes. */
  respondBytes(status: i32, body: ArrayBuffer): Response {
    sendResponse(status, body);
    setResult(RESULT.respond);
    return this;
  }
}

// @ts-ignore: decorator
@lazy export const response = new Response();
