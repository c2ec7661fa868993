/** The configurations of docs/grpc.md, run unchanged except for addresses. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { call, openClient, startService } from "./grpc.ts";
import { reuseSluice, testInUsualMode, until } from "./program.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/grpc.md"), "utf8");
const configs = Array.from(page.matchAll(/^```yaml\n(.*?)^```$/gms), ([, config]) => config!);

testInUsualMode("docs/grpc.md: every configuration serves calls", async (t) => {
  assert.ok(configs.length >= 5);
  const services = [await startService(t), await startService(t)];
  for (const config of configs) {
    const sluice = await reuseSluice(t, ({ web }) =>
      services
        .reduce((text, { port }, i) => text.replaceAll(`127.0.0.1:900${i + 1}`, `127.0.0.1:${port}`), config)
        .replace('":8080"', `"127.0.0.1:${web}"`),
    );
    const client = openClient(t, sluice.port);
    const { error, data } = await call(client, { data: "in the cart" }, { path: "/shop.Cart/Add" });
    assert.deepEqual([error, data], [null, "in the cart"], config);
    client.close();
  }
  await until(() => services.every(({ checked }) => checked.includes("shop.Cart")), "the health is asked for");
});
