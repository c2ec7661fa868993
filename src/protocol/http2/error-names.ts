/** Names of error codes, in logs and metrics. */
import { CODE } from "../../http2/frames.ts";
import { HTTP2_ERRORS } from "../../observe/series.ts";

type ErrorName = (typeof HTTP2_ERRORS)[number];

const NAMES: ErrorName[] = [];
NAMES[CODE.protocolError] = "protocol_error";
NAMES[CODE.flowControlError] = "flow_control_error";
NAMES[CODE.frameSizeError] = "frame_size_error";
NAMES[CODE.streamClosed] = "stream_closed";
NAMES[CODE.compressionError] = "compression_error";
NAMES[CODE.enhanceYourCalm] = "enhance_your_calm";

/** The name of a code with which a connection is ended for a fault of the peer. */
export function errorName(code: number): ErrorName {
  return NAMES[code]!;
}

/** Index of its cell. */
export function errorCell(code: number): number {
  return HTTP2_ERRORS.indexOf(errorName(code));
}
