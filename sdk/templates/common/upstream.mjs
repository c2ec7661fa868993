// node upstream.mjs: starts two HTTP servers to try the plugin. Each returns the received request as JSON.
import { createServer } from "node:http";

for (const port of [9001, 9002]) {
  const server = createServer((request, response) => {
    const { method, url, headers } = request;
    response.setHeader("server", "upstream.mjs");
    response.end(`${JSON.stringify({ port, method, url, headers }, null, 2)}\n`);
  });
  server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));
}
