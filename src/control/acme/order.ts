/** Obtains one certificate: an order, its authorizations by challenges, and the certificate (RFC 8555 section 7.4). */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { createSecureContext } from "node:tls";
import {
  type KeyType,
  makeCertificateKey,
  makeChallengeCertificate,
  makeRequest,
  pemOfKey,
} from "../../net/acme/certificates.ts";
import type { Challenge } from "../../net/acme/challenges.ts";
import { authorizeKey } from "../../net/acme/jws.ts";
import { type AcmeClient, type Reply, readUrl } from "./client.ts";
import { AcmeError, describeProblem, endsOrder } from "./problem.ts";

export type ChallengeType = Challenge["type"];

/** An order in progress, saved so that a restart continues it. */
export type SavedOrder = {
  readonly url: string;
  /** The certificate's private key in PEM. */
  readonly key: string;
};

export type OrderOptions = {
  readonly client: AcmeClient;
  readonly names: readonly string[];
  readonly keyType: KeyType;
  /** Most preferred first. */
  readonly challenges: readonly ChallengeType[];
  /** An order that a previous attempt began, or null. */
  readonly saved: SavedOrder | null;
  /** Certificate id (RFC 9773) that the order replaces, or null. */
  readonly replaces: string | null;
  /** Called before the order is used. */
  readonly save: (order: SavedOrder) => Promise<void>;
  /** Makes a challenge's response available on all workers. */
  readonly publish: (challenge: Challenge) => Promise<void>;
  readonly withdraw: (challenge: Challenge) => void;
  readonly signal: AbortSignal;
};

/** A chain and its key in PEM. */
export type Obtained = { readonly cert: string; readonly key: string };

/** ms between two polls, doubled up to LONGEST_POLL; the server may ask for up to LONGEST_WAIT. */
const FIRST_POLL = 250;
const LONGEST_POLL = 5000;
const LONGEST_WAIT = 30_000;
/** Most certificates of a chain. */
const MAX_CHAIN = 10;
/** Errors of an order that may be because of `replaces`, such as for a certificate that was replaced already. */
const WITHOUT_REPLACES = new Set(["alreadyReplaced", "malformed"]);
/** States in which an object does not change any more without the client. */
const PENDING = new Set(["pending", "processing"]);

type Open = { readonly url: string; readonly key: KeyObject; readonly reply: Reply };

/** @throws AcmeError, or Error when `signal` is aborted */
export async function obtain(options: OrderOptions): Promise<Obtained> {
  const { client, names, signal } = options;
  const { url, key, reply } = await openOrder(options);
  let { value: order } = reply;
  if (order.status === "pending") {
    const list = Array.isArray(order.authorizations) ? (order.authorizations as unknown[]) : [];
    if (list.length > names.length) throw invalid("the order has more authorizations than names");
    for (const authorization of list) await authorize(readUrl(authorization, "authorization"), options);
    order = await poll(options, url, new Set(["pending"]));
  }
  if (order.status === "ready") {
    const csr = makeRequest(names, key).toString("base64url");
    await client.post(readUrl(order.finalize, "finalize"), { csr });
  }
  order = await poll(options, url, PENDING);
  if (order.status !== "valid")
    throw new AcmeError(
      "rejected",
      `the order became ${String(order.status).slice(0, 32)}: ${describeProblem(order.error)}`,
    );
  const chain = await client.download(readUrl(order.certificate, "certificate"));
  signal.throwIfAborted();
  return { cert: checkChain(chain, names, key), key: pemOfKey(key) };
}

/** Continues the saved order if the server still has it; otherwise makes one. */
async function openOrder({ client, names, keyType, saved, replaces, save }: OrderOptions): Promise<Open> {
  if (saved !== null) {
    try {
      const reply = await client.post(saved.url, null);
      if (reply.value.status !== "invalid") return { url: saved.url, key: createPrivateKey(saved.key), reply };
    } catch (error) {
      // Another order is made if the server does not have it any more, or the file of its key is damaged.
      if (error instanceof AcmeError && !endsOrder(error)) throw error;
    }
  }
  const reply = await client.newOrder(names, replaces).catch((error: AcmeError) => {
    if (replaces === null || !WITHOUT_REPLACES.has(error.type)) throw error;
    return client.newOrder(names, null);
  });
  const key = await makeCertificateKey(keyType);
  await save({ url: reply.location, key: pemOfKey(key) });
  return { url: reply.location, key, reply };
}

async function authorize(url: string, options: OrderOptions): Promise<void> {
  const { client, names, challenges, publish, withdraw } = options;
  const { value: authorization } = await client.post(url, null);
  if (authorization.status === "valid") return;
  const name = String((authorization.identifier as Reply["value"] | undefined)?.value);
  if (!names.includes(name)) throw invalid("an authorization is for another name");
  const offered = (Array.isArray(authorization.challenges) ? authorization.challenges : []) as Reply["value"][];
  const chosen = challenges.map((type) => offered.find((one) => one.type === type)).find((one) => one !== undefined);
  if (chosen === undefined)
    throw new AcmeError("rejected", `${name}: the server offers neither of ${challenges.join(", ")}`);
  const challenge = makeChallenge(chosen, name, client.key);
  try {
    await publish(challenge);
    await client.post(readUrl(chosen.url, "challenge"), {});
    const { status, challenges: results } = await poll(options, url, PENDING);
    if (status === "valid") return;
    const failed = ((Array.isArray(results) ? results : []) as Reply["value"][]).find((one) => one.error !== undefined);
    throw new AcmeError(
      "validation",
      `${name}: validation by ${challenge.type} failed: ${describeProblem(failed?.error)}`,
    );
  } finally {
    withdraw(challenge);
  }
}

function makeChallenge({ token, type }: Reply["value"], name: string, key: KeyObject): Challenge {
  if (typeof token !== "string" || !/^[A-Za-z0-9_-]{16,256}$/.test(token))
    throw invalid("the token of a challenge is invalid");
  const content = authorizeKey(token, key);
  if (type === "http-01") return { type, name, token, content };
  return { type: "tls-alpn-01", name, token, ...makeChallengeCertificate(name, content) };
}

/** Reads an object until it is in another state than these. */
async function poll(
  { client, signal }: OrderOptions,
  url: string,
  states: ReadonlySet<string>,
): Promise<Reply["value"]> {
  for (let delay = FIRST_POLL; ; delay = Math.min(2 * delay, LONGEST_POLL)) {
    const { value, retryAt } = await client.post(url, null);
    if (!states.has(String(value.status))) return value;
    await sleep(Math.max(delay, Math.min((retryAt ?? 0) - Date.now(), LONGEST_WAIT)), undefined, { signal });
  }
}

/**
 * Returns the certificates of a chain, without any other text. @throws AcmeError if they are not for these names and
 * this key
 */
export function checkChain(pem: string, names: readonly string[], key: KeyObject): string {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || blocks.length > MAX_CHAIN) throw invalid(`the chain has ${blocks.length} certificates`);
  let leaf: X509Certificate;
  try {
    [leaf] = blocks.map((block) => new X509Certificate(block)) as [X509Certificate];
  } catch (error) {
    throw invalid(`the certificate cannot be read: ${(error as Error).message}`);
  }
  if (!leaf.checkPrivateKey(key)) throw invalid("the certificate is for another key");
  const missing = names.find((name) => leaf.checkHost(name, { subject: "never" }) === undefined);
  if (missing !== undefined) throw invalid(`the certificate is not for ${missing}`);
  const cert = `${blocks.join("\n")}\n`;
  try {
    // Refuses weak keys and signatures, which workers would find out at handshakes only.
    createSecureContext({ cert, key: pemOfKey(key), ca: [] });
  } catch (error) {
    throw invalid(`the certificate cannot be used: ${(error as Error).message}`);
  }
  return cert;
}

function invalid(message: string): AcmeError {
  return new AcmeError("invalid_response", message);
}
