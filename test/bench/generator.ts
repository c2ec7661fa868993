/** An upstream that responds with a body of SIZE bytes, with at most one chunk of it in memory. */
import { createServer } from "node:http";

const [port, size] = process.argv.slice(2).map(Number) as [number, number];
const chunk = Buffer.alloc(64 * 1024, "0123456789abcdef");

createServer((_, response) => {
  response.writeHead(200, { "content-length": size });
  let left = size;
  const pour = (): void => {
    let room = true;
    while (left > 0 && room) {
      const take = Math.min(left, chunk.length);
      left -= take;
      room = response.write(take === chunk.length ? chunk : chunk.subarray(0, take));
    }
    if (left > 0) response.once("drain", pour);
    else response.end();
  };
  pour();
}).listen(port, "127.0.0.1");
