/** The gRPC-Web bridge, in the real host: content types, base64 in any division, invalid and hostile bodies. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import fc from "fast-check";
import { plugin } from "../../src/testing/index.ts";

const WASM = join(import.meta.dirname, "../../plugins/grpc-web.wasm");

describe("grpc-web", () => {
  let guest: Awaited<ReturnType<typeof plugin>>;
  before(async () => {
    guest = await plugin(WASM);
  });

  const ask = (type: string, accept?: string) =>
    guest.request({
      method: "POST",
      url: "/s/M",
      headers: { "content-type": type, ...(accept !== undefined && { accept }) },
    });
  const typeOf = (headers: readonly (readonly [string, string])[]) =>
    headers.find(([name]) => name.toLowerCase() === "content-type")?.[1];

  test("content types are translated both ways", () => {
    const cases: [type: string, accept: string | undefined, grpc: string, web: string][] = [
      ["application/grpc-web", undefined, "application/grpc", "application/grpc-web+proto"],
      ["application/grpc-web+proto", undefined, "application/grpc+proto", "application/grpc-web+proto"],
      ["application/grpc-web-text", "application/grpc-web-text", "application/grpc", "application/grpc-web-text+proto"],
      ["Application/gRPC-Web-Text+json; x=y", "*/*", "application/grpc+json", "application/grpc-web-text+proto"],
      [
        "application/grpc-web+proto",
        "application/grpc-web-text",
        "application/grpc+proto",
        "application/grpc-web-text+proto",
      ],
    ];
    for (const [type, accept, grpc, web] of cases) {
      const request = ask(type, accept);
      assert.equal(typeOf(request.fields), grpc, type);
      const response = guest.response({ headers: { "content-type": "application/grpc" } }, request);
      assert.equal(typeOf(response.fields), web, type);
      const html = guest.response({ status: 502, headers: { "content-type": "text/html" } }, ask(type, accept));
      assert.equal(typeOf(html.fields), "text/html");
    }
    for (const type of ["application/grpc", "application/grpc-webx", "application/json", "text/plain", ""]) {
      const request = ask(type);
      assert.deepEqual(request.edits, [], type);
      assert.deepEqual(guest.response({ headers: { "content-type": "application/grpc" } }, request).edits, []);
      assert.deepEqual(guest.requestBody("AA==", { request }).bytes, Buffer.from("AA=="));
    }
  });

  test("base64 is decoded however it is divided into texts and chunks", () => {
    const divided = fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 8 });
    fc.assert(
      fc.property(divided, fc.array(fc.nat(), { maxLength: 6 }), (texts, cuts) => {
        const text = texts.map((bytes) => Buffer.from(bytes).toString("base64")).join("");
        const ends = [...cuts.map((cut) => cut % (text.length + 1)), text.length].sort((a, b) => a - b);
        const request = ask("application/grpc-web-text");
        const decoded: Uint8Array[] = [];
        let start = 0;
        for (const [i, end] of ends.entries()) {
          const last = i === ends.length - 1;
          if (end === start && !last) continue;
          const result = guest.requestBody(text.slice(start, end), { request, last });
          decoded.push(result.bytes);
          start = end;
        }
        assert.deepEqual(Buffer.concat(decoded), Buffer.concat(texts));
      }),
      { numRuns: 50 },
    );
  });

  test("invalid base64 is rejected, and hostile bodies do not make it fail", () => {
    for (const text of ["A", "AAA", "A===", "====", "AA=A", "AA A", "AAA\n", "é", "AAAA="]) {
      const result = guest.requestBody(text, { request: ask("application/grpc-web-text"), last: true });
      assert.equal(result.response?.status, 400, text);
    }
    for (const unit of ["AA==", "AAA=", "AAAA"]) {
      const text = unit.repeat(16 * 1024);
      const { bytes } = guest.requestBody(text, { request: ask("application/grpc-web-text"), last: true });
      assert.equal(bytes.length, Buffer.from(unit, "base64").length * 16 * 1024);
    }
  });

  test("a response in text form is encoded chunk by chunk", () => {
    const request = ask("application/grpc-web-text");
    const response = { headers: { "content-type": "application/grpc" } };
    guest.response(response, request);
    for (const size of [0, 1, 2, 3, 64 * 1024]) {
      const chunk = Buffer.alloc(size, "\xff\x00\x7f", "latin1");
      const { bytes } = guest.responseBody(chunk, { request, response, last: false });
      assert.equal(Buffer.from(bytes).toString("latin1"), chunk.toString("base64"));
    }
  });
});
