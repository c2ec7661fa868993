/** `http2` of a listener: limits of HTTP/2 connections. */
import { convert, object, withDefault } from "./shape.ts";
import { findEntry } from "./tree.ts";
import { count, size } from "./values.ts";

const limits = object({
  maxConcurrentStreams: withDefault(
    count(1, 10_000),
    100,
    "Concurrent requests on one connection; further ones are refused (`REFUSED_STREAM`), and the client may repeat them.",
  ),
  streamWindow: withDefault(
    size("64KiB", "16MiB"),
    "64KiB",
    "Bytes of one request's body that a client may send ahead of its endpoint. A larger window makes uploads over long distances faster, up to `connectionWindow`.",
  ),
  connectionWindow: withDefault(
    size("64KiB", "256MiB"),
    "1MiB",
    "The same over all requests of a connection; the memory that the bodies of a connection can occupy.",
  ),
  headerTableSize: withDefault(
    size("0", "64KiB"),
    "4KiB",
    "Size of the table with which a client compresses header fields (HPACK); memory per connection.",
  ),
  controlFrames: withDefault(
    object({
      burst: withDefault(count(100, 1_000_000), 1000, "Frames that a client may send at once."),
      perSecond: withDefault(count(10, 100_000), 100, "Frames per second that it may send in the long run."),
    }),
    {},
    "Limit of frames without payload for a request, such as PING, SETTINGS and resets; a connection that exceeds it is closed (`ENHANCE_YOUR_CALM`). http2.md has the cost of each.",
  ),
});

export const http2 = convert(limits, (value, at, { warn }, tree) => {
  if (value.streamWindow > value.connectionWindow) {
    const place = findEntry(tree, "streamWindow")?.at ?? at;
    warn(place, "larger than `connectionWindow`, which limits it: expected at most the same size");
  }
  return value;
});
