import { runExample } from "../run-example.mjs";

const USERS = new Map([["s1-ann", "ann"]]);

await runExample({
  from: import.meta.url,
  upstreams: { app: 9001, auth: { port: 9002, answer: authorize } },
  commands: [
    "curl -i $URL/                                     # 302: nobody",
    "curl -i -b session=s1-ann $URL/                   # ann: the application is told; ask again, and the service is not",
    "curl -i -b session=s1-ann $URL/built-in/          # the same by the built-in filter, which asks each time",
    "curl -i -b session=other $URL/built-in/           # 401, and the service's own words",
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
