import { runExample } from "../run-example.mjs";

const USERS = new Map([["s1-ann", "ann"]]);

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001, auth: { port: 9002, respond: authorize } },
  commands: [
    "curl -i $URL/                                     # 302 to /login",
    "curl -i -b session=s1-ann $URL/                   # x-user: ann; the result is cached",
    "curl -i -b session=s1-ann $URL/built-in/          # the same by the built-in filter, without a cache",
    "curl -i -b session=other $URL/built-in/           # 401, with the service's response",
  ],
});

/**
 * The service: the plugin sends a session in hexadecimal, the built-in filter sends the request's cookies.
 * @type {import("node:http").RequestListener}
 */
function authorize({ url, headers }, response) {
  const session =
    url === "/session"
      ? Buffer.from(String(headers["x-session"]), "hex").toString()
      : /(?:^|; )session=([^;]+)/.exec(headers.cookie ?? "")?.[1];
  const user = USERS.get(session ?? "");
  if (user !== undefined) response.writeHead(200, { "x-user": user }).end();
  else response.writeHead(401, { "content-type": "text/plain", "www-authenticate": "Cookie" }).end("who are you?\n");
}
