/** `admin`: addresses of the admin interface and access to it. */

import { adminAddress, hostPattern, isLoopback, listenAddress } from "./address-values.ts";
import { convert, list, object, optional, withDefault } from "./shape.ts";
import { debugToken } from "./values.ts";

export const admin = convert(
  object(
    {
      address: withDefault(
        adminAddress,
        "127.0.0.1:9901",
        "Address of the status page, the API, metrics and health endpoints; `false`: none.",
      ),
      token: optional(
        debugToken,
        "Token that a request must carry as `Authorization: Bearer TOKEN`. A browser sends it as the password of any user, which allows reading only. `/health` and `/ready` need none. Required if other machines can reach the address. A reload changes it.",
      ),
      hosts: withDefault(
        list(hostPattern),
        [],
        "Without a token: names accepted in `Host`, in addition to addresses, `localhost` and the machine's name; `*.` matches one or more labels. Other names are rejected, since the request may come from a web page (DNS rebinding).",
      ),
      metrics: optional(
        listenAddress,
        "A second address that serves only `/metrics`, `/health` and `/ready`, without a token.",
      ),
    },
    { shorthand: { scalar: "address" } },
  ),
  ({ address, token = null, hosts, metrics = null }, at, { report }) => {
    if (address === null && metrics === null) return null;
    if (address !== null && token === null && !isLoopback(address))
      report(
        at,
        `other machines can reach ${address.text} and no token is given: write admin: { address: "${address.text}", token: "\${ADMIN_TOKEN}" }, or an address such as 127.0.0.1:9901; for metrics alone metrics: "${address.text}"`,
        ["token"],
      );
    return { address, token, hosts, metrics, at };
  },
);
