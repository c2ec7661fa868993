import assert from "node:assert/strict";
import { test } from "node:test";
import { readExplainRequest } from "../../../src/control/explain.ts";

test("a request to be explained has its defaults, and every fault is named", () => {
  assert.deepEqual(readExplainRequest({ url: "/x" }), {
    method: "GET",
    url: "/x",
    headers: [],
    body: "",
    listener: "",
    client: "127.0.0.1",
    status: null,
    allowFetch: false,
    fetchStatus: 503,
  });
  const faults: [value: unknown, problem: RegExp][] = [
    [null, /not an object/],
    [{}, /url is missing/],
    [{ url: "ftp://a/" }, /url is "ftp:\/\/a\/"/],
    [{ url: "/", headers: [["a"]] }, /headers is/],
    [{ url: "/", headers: [["a", "b\r\nc: d"]] }, /one line each/],
    [{ url: "/ HTTP/1.1\r\nx: y" }, /one line each/],
    [{ url: "/", headers: [["a", "b\u010d\u010ac: d"]] }, /up to U\+00FF/],
    [{ url: "/\u0000" }, /one line each/],
    [{ url: "/", status: 99 }, /status is 99/],
    [{ url: "/", client: "a b" }, /client is/],
    [{ url: "/", more: 1 }, /unknown key more/],
  ];
  for (const [value, problem] of faults) assert.throws(() => readExplainRequest(value), problem);
});
