/** The ACME server and account that certificates are obtained from. */
import { KEY_TYPES } from "../net/acme/certificates.ts";
import { isServerName } from "../net/managed-certificates.ts";
import { file } from "./references.ts";
import {
  convert,
  InvalidValue,
  list,
  object,
  oneOrMore,
  optional,
  required,
  type ScalarShape,
  scalar,
  withDefault,
} from "./shape.ts";
import { choice, count, textOf } from "./values.ts";

const directoryUrl: ScalarShape<string> = scalar("an https URL", { type: "string", format: "uri" }, (text) =>
  /^https:\/\/[^\s#]{1,1024}$/i.test(text) && URL.canParse(text) ? text : undefined,
);

const email: ScalarShape<string> = scalar("an e-mail address", { type: "string", format: "email" }, (text) =>
  /^[^\s@,?&%]{1,64}@[^\s@,?&%]{1,253}$/.test(text) ? text : undefined,
);

const onDemandPattern: ScalarShape<string> = scalar(
  "a DNS name, `*.` and a DNS name, or `*`",
  { type: "string" },
  (text) => {
    const name = text.toLowerCase();
    return name === "*" || isServerName(name.replace(/^\*\./, "")) ? name : undefined;
  },
);

const askUrl: ScalarShape<string> = scalar("an http or https URL", { type: "string" }, (text) =>
  /^https?:\/\/[^\s#]{1,1024}$/.test(text) && URL.canParse(text) ? text : undefined,
);

const onDemand = convert(
  object({
    names: withDefault(
      list(onDemandPattern),
      ["*"],
      "Server names that may get a certificate: a name, `*.example.com` for one more label, or `*` for all.",
    ),
    ask: optional(
      askUrl,
      "URL that is requested with `?domain=NAME` before a certificate is ordered or renewed: 200 allows it, any other response denies it. It may be a listener of this configuration, so that a plugin decides. Required unless `names` is given.",
    ),
    limit: withDefault(count(1, 10_000), 1000, "Certificates at most; further names are denied."),
    rate: withDefault(count(1, 600), 10, "New orders per minute at most; further names are denied for a minute."),
  }),
  (value, at, { report, hasProblem }) => {
    if (value.ask === undefined && value.names.includes("*") && !hasProblem(at.path))
      report(at, 'any client could order certificates for any name, expected "ask", or "names" without "*"');
    return { ...value, at };
  },
);

/** RFC 8555 section 7.3.4; CAs show the key in base64url, some with padding. */
const externalAccount = object({
  keyId: required(textOf(1, 500), "Key id that the CA shows (`kid`)."),
  macKey: required(
    scalar("a key in base64url", { type: "string" }, (text) => {
      if (/^[A-Za-z0-9_-]{16,1024}={0,2}$/.test(text)) return text;
      throw new InvalidValue("the key is not in base64url, of 16 to 1024 characters");
    }),
    "Key for the MAC that the CA shows, in base64url.",
  ),
});

export const acme = convert(
  object({
    email: optional(email, "Contact of the account, to which some servers send warnings."),
    directory: withDefault(
      directoryUrl,
      "https://acme-v02.api.letsencrypt.org/directory",
      "Directory URL of the ACME server. Default: Let's Encrypt. For trials: `https://acme-staging-v02.api.letsencrypt.org/directory`, whose certificates no client trusts.",
    ),
    externalAccount: optional(
      externalAccount,
      "Binds the ACME account to an account at the CA, which ZeroSSL, Google Trust Services and others require. Another `keyId` registers another ACME account.",
    ),
    keyType: withDefault(
      choice(KEY_TYPES),
      "p256",
      "Key of new certificates: an elliptic curve, or RSA with that many bits for clients from before 2012. A certificate in service stays until its renewal.",
    ),
    ca: withDefault(
      oneOrMore(file),
      [],
      "PEM files of the authorities that the ACME server's own certificate is verified with. Default: the public ones that are built into Node.",
    ),
    storage: withDefault(
      file,
      "./acme",
      "Directory of the account, keys and certificates, which is created if it does not exist. Keep it: without it all certificates are ordered again, which servers limit.",
    ),
    challenges: withDefault(
      list(choice(["http-01", "tls-alpn-01"])),
      ["http-01", "tls-alpn-01"],
      "How names are validated, most preferred first; after a failure the next one is tried. `http-01`: the server connects to port 80, where a listener without `tls` must be reachable; `tls-alpn-01`: to port 443.",
    ),
    onDemand: optional(
      onDemand,
      "Which further names get a certificate when a client first connects with them to a listener with `onDemand`.",
    ),
  }),
  (value, at, { report, hasProblem }) => {
    if (value.challenges.length === 0 && !hasProblem(`${at.path}.challenges`))
      report(at, "the list of challenges is empty, expected one");
    return { ...value, at };
  },
);
