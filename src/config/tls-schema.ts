/** TLS keys of listeners and clusters. */
import { isServerName } from "../net/managed-certificates.ts";
import { file } from "./references.ts";
import {
  convert,
  InvalidValue,
  list,
  object,
  oneOrMore,
  optional,
  type ScalarShape,
  scalar,
  withDefault,
} from "./shape.ts";
import { choice, flag, textOf } from "./values.ts";

/** Mozilla's intermediate profile, without the ciphers that need Diffie-Hellman parameters. */
const INTERMEDIATE_CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
] as const;

/** An address is no server name (RFC 6066 section 3). */
const serverName: ScalarShape<string> = scalar("a host name such as api.internal", { type: "string" }, (text) =>
  /^(?!.*\.\d+$)(?!\d+$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}$/.test(text) ? text.toLowerCase() : undefined,
);

/** Names of one certificate: the limit of Let's Encrypt. */
const MAX_NAMES = 100;

const version = choice(["TLSv1.2", "TLSv1.3"]);
const cipher = convert(textOf(1, 64), (name, at) => ({ name, at }));

/** A name that a public certificate can be for. A wildcard needs a validation by DNS, which there is not. */
const managedName: ScalarShape<string> = scalar("a DNS name such as www.example.com", { type: "string" }, (text) => {
  const name = text.toLowerCase();
  if (name.startsWith("*"))
    throw new InvalidValue(`a certificate for "${text}" needs a validation by DNS, which is not supported`);
  return isServerName(name) ? name : undefined;
});

const managedNames = convert(list(managedName), (names, at, { report, hasProblem }) => {
  if (names.length === 0 && !hasProblem(at.path)) report(at, "the list of names is empty, expected one");
  if (names.length > MAX_NAMES) report(at, `${names.length} names, expected at most ${MAX_NAMES}`);
  return { names: [...new Set(names)], at };
});

const certificate = convert(
  object({
    acme: optional(
      managedNames,
      "In place of `cert` and `key`: DNS names of one certificate that is obtained from an ACME server.",
    ),
    cert: optional(
      file,
      "PEM file of the certificate, followed by those of its intermediate issuers. It serves the DNS names that the certificate is for.",
    ),
    key: optional(file, "PEM file of the private key: RSA, EC or Ed25519."),
    passphrase: optional(
      textOf(1, 1024),
      "The passphrase of an encrypted key, preferably from an environment variable.",
    ),
    ocspFile: optional(
      file,
      "File of an OCSP response (DER) that is stapled instead of a fetched one. It is read again when it changes.",
    ),
  }),
  (value, at, { report, hasProblem }) => {
    const { acme, cert, key, passphrase, ocspFile } = value;
    const more = [cert, key, passphrase, ocspFile].some((one) => one !== undefined);
    if (acme !== undefined && more) report(at, '"acme" is given together with keys of a file, expected one of both');
    if (acme === undefined && !hasProblem(at.path))
      for (const name of ["cert", "key"] as const)
        if (value[name] === undefined) report(at, `the key "${name}" is missing, expected the path of a file`);
    return { ...value, at };
  },
);

const clientCertificates = convert(
  object({
    mode: withDefault(
      choice(["off", "optional", "required"]),
      "required",
      "`required`: a client without a valid certificate is rejected; `optional`: a client without a certificate is accepted, one with an invalid certificate is rejected; `off`: none is requested.",
    ),
    ca: withDefault(oneOrMore(file), [], "PEM files of the authorities whose certificates are accepted."),
    crl: withDefault(
      oneOrMore(file),
      [],
      "PEM files of certificate revocation lists. With one, each authority of `ca` needs a current one.",
    ),
  }),
  (value, at, { report }) => {
    if (value.mode !== "off" && value.ca.length === 0)
      report(at, 'no authority is given whose certificates are accepted, expected "ca"');
    return value;
  },
);

export const listenerTls = convert(
  object({
    acme: optional(
      managedNames,
      "DNS names of one certificate that is obtained from an ACME server such as Let's Encrypt, and renewed; short for an entry of `certificates`. acme.md.",
    ),
    onDemand: withDefault(
      flag,
      false,
      "Obtain certificates for further names, those that `acme.onDemand` allows, when a client first connects with them.",
    ),
    certificates: optional(
      list(certificate),
      "Certificates with their keys. The one for the client's server name (SNI) is used: an exact name before a wildcard, otherwise the first. For one name there may be several with keys of different types.",
    ),
    minVersion: withDefault(version, "TLSv1.2", "The lowest version of TLS."),
    maxVersion: withDefault(version, "TLSv1.3", "The highest version of TLS."),
    ciphers: withDefault(
      list(cipher),
      INTERMEDIATE_CIPHERS,
      "Cipher suites by their OpenSSL names, most preferred first; those of TLS 1.3 begin with `TLS_`. A client that prefers ChaCha20 gets it. Default: Mozilla's intermediate profile.",
    ),
    unknownName: withDefault(
      choice(["default", "reject"]),
      "default",
      "For a server name without a certificate: `default` uses the first certificate, `reject` fails the handshake.",
    ),
    ocsp: withDefault(
      choice(["fetch", "off"]),
      "fetch",
      "OCSP stapling: `fetch` gets the response of each certificate that names a responder, refreshes it at half of its validity and sends it to clients that ask for it; `off` fetches nothing.",
    ),
    clientCertificates: optional(
      clientCertificates,
      "Certificates of clients (mutual TLS). Default: none are requested.",
    ),
    strictSniHost: optional(
      flag,
      "Reject requests whose host is another name than the server name of the TLS handshake (SNI), with 421. An address as host, a client without SNI, and peers in `trustedProxies` are accepted. Default: true with `clientCertificates`, otherwise false.",
    ),
  }),
  (value, at, { report, hasProblem }) => {
    const { acme, onDemand, certificates: all = [], ...rest } = value;
    const isInvalid = ["certificates", "acme", "onDemand"].some((key) => hasProblem(`${at.path}.${key}`));
    if (value.certificates?.length === 0 && !isInvalid) report(at, "the list of certificates is empty, expected one");
    else if (all.length === 0 && acme === undefined && !onDemand && !isInvalid)
      report(at, 'there is no certificate, expected "certificates" or "acme"', ["certificates", "acme"]);
    if (value.ciphers.length === 0 && !hasProblem(`${at.path}.ciphers`))
      report(at, "the list of ciphers is empty, expected one");
    if (value.minVersion > value.maxVersion) report(at, "minVersion is higher than maxVersion");
    const { strictSniHost = (value.clientCertificates?.mode ?? "off") !== "off" } = value;
    const certificates = all.flatMap(({ acme, cert, key, ...more }) => (cert && key ? [{ ...more, cert, key }] : []));
    const managed = [acme, ...all.map((one) => one.acme)].filter((one) => one !== undefined);
    return { ...rest, certificates, managed, onDemand, strictSniHost, at };
  },
);

export const clusterTls = convert(
  object({
    verify: withDefault(flag, true, "Verify the endpoints' certificates: authority, dates and name."),
    sni: optional(
      serverName,
      "The server name that is sent (SNI) and that the certificate must have. Default: the name in the endpoints' addresses; for numeric addresses none, and the certificate must have the address.",
    ),
    ca: withDefault(
      oneOrMore(file),
      [],
      "PEM files of the authorities that are accepted. Default: the public ones that are built into Node.",
    ),
    crl: withDefault(
      oneOrMore(file),
      [],
      "PEM files of certificate revocation lists. With one, each authority of `ca` needs a current one.",
    ),
    cert: optional(file, "PEM file of the certificate that is shown to endpoints that request one."),
    key: optional(file, "PEM file of its private key."),
    passphrase: optional(textOf(1, 1024), "The passphrase of an encrypted key."),
  }),
  (value, at, { report }) => {
    if ((value.cert === undefined) !== (value.key === undefined))
      report(at, '"cert" and "key" belong together, expected both');
    // Node verifies the lists of all authorities, of which the public ones have none here.
    if (value.crl.length > 0 && value.ca.length === 0)
      report(at, '"crl" is given without the authorities of its lists, expected "ca"');
    return { ...value, at };
  },
);
