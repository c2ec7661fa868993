// Run by "sluice plugin test". The plugin runs as in the proxy, without a network.
import assert from "node:assert/strict";
import { test } from "node:test";
import { plugin } from "sluice/test";

const filter = await plugin("./plugin.ts", { config: { greeting: "good morning" } });

test("sets x-greeting", () => {
  const result = filter.request({ url: "http://example.com/", headers: { accept: "text/html" } });
  assert.equal(result.headers["x-greeting"], "good morning");
  assert.deepEqual(result.edits, [{ of: "request", what: "header x-greeting", before: [], after: ["good morning"] }]);
});

test("responds to /teapot", () => {
  const { response } = filter.request({ url: "/teapot" });
  assert.equal(response?.status, 418);
  assert.equal(response?.body, "short and stout\n");
});

test("removes the server header", () => {
  const response = filter.response({ status: 200, headers: { server: "nginx", "content-type": "text/html" } });
  assert.deepEqual(response.headers, { "content-type": "text/html" });
});
