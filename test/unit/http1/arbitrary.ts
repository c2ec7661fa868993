/** Streams of bytes that lie close to well-formed messages, for property tests. */
import fc from "fast-check";
import { smuggling } from "../../fixtures/smuggling.ts";

const EVERY_FIELD =
  "POST /a/%2e./b?c HTTP/1.1\r\nHost: a:80\r\nConnection: x, close, upgrade\r\nUpgrade: y\r\nTE: trailers\r\n" +
  "Expect: 100-continue\r\nX_Forwarded_For: z\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\nb: c\r\n\r\n";
const PADDED =
  "HTTP/1.1 200 OK\r\nX : y\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n1 ;a = b \r\n!\r\n0\t\r\nz : 1\r\n\r\n";
const SEEDS = [EVERY_FIELD, PADDED, ...smuggling.map((shape) => shape.raw)].filter((raw) => raw.length < 4096);

// Bytes that mean something to a parser are more likely to find a hole than others.
export const byte = fc.oneof(
  fc.constantFrom(...Buffer.from('\0\t\n\r !"#%,-./0159:;=?@AGHTX[\\]_{~\x7f\x80\xff', "latin1")),
  fc.nat(255),
);
const mutation = fc.record({
  at: fc.nat(4096),
  kind: fc.constantFrom("replace", "insert", "remove", "repeat"),
  bytes: fc.array(byte, { minLength: 1, maxLength: 4 }),
});
export const mutated = fc
  .tuple(fc.constantFrom(...SEEDS), fc.array(mutation, { minLength: 1, maxLength: 4 }))
  .map(([seed, mutations]) => {
    let raw = [...Buffer.from(seed, "latin1")];
    for (const { at, kind, bytes } of mutations) {
      const index = at % (raw.length + 1);
      if (kind === "replace") raw.splice(index, bytes.length, ...bytes);
      else if (kind === "insert") raw.splice(index, 0, ...bytes);
      else if (kind === "remove") raw.splice(index, bytes.length);
      else raw = [...raw.slice(0, index + 8), ...raw.slice(index)];
    }
    return Buffer.from(raw);
  });
/** Messages with a few bytes changed, and plain noise. */
export const streams = fc.oneof(
  { weight: 4, arbitrary: mutated },
  { weight: 1, arbitrary: fc.array(byte, { maxLength: 200 }).map((list) => Buffer.from(list)) },
);

const METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "M-SEARCH"];
const name = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/).map((text) => `x-${text}`);
const value = fc.stringMatching(/^[\t\x20-\x7e\x80-\xff]{0,20}$/);
const target = fc.stringMatching(/^\/[!"$&-.0-;=@-[\]^-~]{0,20}(\?[!"$-[\]^-~]{0,20})?$/);
const body = fc.stringMatching(/^[\x00-\xff]{0,40}$/);

/** A body with its framing field, or none. */
const framed = fc.oneof(
  fc.constant(["", ""]),
  body.map((data) => [`Content-Length: ${data.length}\r\n`, data]),
  fc
    .tuple(
      fc.array(body, { maxLength: 4 }),
      fc.constantFrom("", ";a", ";a=b", ';a="b"', " ; a = b", ";a\t ;b"),
      fc.constantFrom("", "t: u\r\n"),
    )
    .map(([parts, extension, trailers]) => {
      const chunks = parts
        .filter((part) => part !== "")
        .map((part) => `${part.length.toString(16)}${extension}\r\n${part}\r\n`);
      return ["Transfer-Encoding: chunked\r\n", `${chunks.join("")}0${extension}\r\n${trailers}\r\n`];
    }),
);
const lines = fc
  .array(fc.tuple(name, fc.constantFrom(":", ": ", ":\t "), value), { maxLength: 6 })
  .map((fields) => fields.map(([key, separator, text]) => `${key}${separator}${text}\r\n`).join(""));

/** One to three well-formed requests on one connection. */
export const requests = fc
  .array(
    fc
      .tuple(fc.constantFrom(...METHODS), target, lines, framed)
      .map(
        ([method, path, fields, [frame, data]]) =>
          `${method} ${path} HTTP/1.1\r\nHost: a\r\n${fields}${frame}\r\n${data}`,
      ),
    { minLength: 1, maxLength: 3 },
  )
  .map((list) => Buffer.from(list.join(""), "latin1"));

const empty = fc.constantFrom("204 No Content", "304 Not Modified").map((status) => [status, "", ""]);
const full = fc
  .tuple(fc.constantFrom("200 OK", "404 Not Found", "500"), framed)
  .map(([status, [frame, data]]) => [status, frame, data]);

const responseLines = fc
  .array(fc.tuple(name, fc.constantFrom(":", ": ", " :", "\t : "), value), { maxLength: 6 })
  .map((fields) => fields.map(([key, separator, text]) => `${key}${separator}${text}\r\n`).join(""));

/** One response that is well-formed, or of which a proxy removes what is not. */
export const responses = fc
  .tuple(fc.oneof(empty, full), responseLines)
  .map(([[status, frame, data], fields]) =>
    Buffer.from(`HTTP/1.1 ${status}\r\n${fields}${frame}\r\n${data}`, "latin1"),
  );
