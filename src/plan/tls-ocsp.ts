/** What OCSP stapling of a configured certificate needs: its issuer and a responder, or a file with a response. */
import { createHash, type X509Certificate } from "node:crypto";
import { type CertificateParts, readCertificate } from "../net/ocsp/certificate.ts";
import type { IssuedCertificate } from "../net/ocsp/request.ts";
import { verifyResponse } from "../net/ocsp/response.ts";

/** Where the OCSP response of a certificate comes from. */
export type OcspSource = IssuedCertificate & {
  /** `TlsCertificate.staple`. */
  readonly id: string;
  /** URL of the responder, or path of the file. */
  readonly from: string;
  /** Content of the file; null: the response is fetched. */
  readonly response: Buffer | null;
  /** Clients reject the certificate without a response (RFC 7633). */
  readonly mustStaple: boolean;
};

/** OCSP stapling of a certificate; `source` is null where `problem` prevents it. */
export type CertificateOcsp = {
  readonly mustStaple: boolean;
  readonly source: OcspSource | null;
  readonly problem: string;
};

type Given = {
  /** Path of the certificate. */
  readonly path: string;
  /** The certificates of that file, not empty. */
  readonly chain: readonly X509Certificate[];
  readonly mode: "fetch" | "off";
  readonly file: { readonly path: string; readonly content: Buffer } | undefined;
};

type Checked = CertificateOcsp & {
  /** Empty: none. */
  readonly warning: string;
};

export function checkOcsp(given: Given, now: number): Checked {
  const { path, file } = given;
  const found = findSource(given);
  const { source, mustStaple, problem } = found;
  if (source === null) {
    const isExpected = mustStaple || file !== undefined || problem === NO_ISSUER;
    const rule = mustStaple ? " (must-staple: clients reject it)" : "";
    return {
      ...found,
      warning: isExpected ? `no OCSP response for the certificate in ${path}${rule}: ${problem}` : "",
    };
  }
  return { ...found, warning: file === undefined ? "" : checkFile(source, now) };
}

const NO_ISSUER = "the file has no certificate of its issuer";

function findSource({ chain, mode, file }: Given): CertificateOcsp {
  const [leaf] = chain;
  const parts = readParts(leaf!);
  if (parts === null) return { mustStaple: false, source: null, problem: "its extensions cannot be read" };
  const { mustStaple } = parts;
  const none = (problem: string): CertificateOcsp => ({ mustStaple, source: null, problem });
  if (mode === "off" && file === undefined) return none("`ocsp` is off");
  const [responder] = parts.responders;
  if (file === undefined && responder === undefined) return none("it names no OCSP responder");
  if (file === undefined && !isHttp(responder!)) return none(`its responder ${responder} is not an http or https URL`);
  const issuer = chain.slice(1).find((one) => leaf!.checkIssued(one));
  if (issuer === undefined) return none(NO_ISSUER);
  const hash = createHash("sha256").update(leaf!.raw);
  const id = (file === undefined ? hash : hash.update(file.content)).digest("hex");
  const issued = { certificate: leaf!.raw, issuer: issuer.raw };
  const source = { ...issued, id, from: file?.path ?? responder!, response: file?.content ?? null, mustStaple };
  return { mustStaple, source, problem: "" };
}

function readParts({ raw }: X509Certificate): CertificateParts | null {
  try {
    return readCertificate(raw);
  } catch {
    return null;
  }
}

function isHttp(url: string): boolean {
  return /^https?:\/\//.test(url) && URL.canParse(url);
}

function checkFile({ from, response, ...issued }: OcspSource, now: number): string {
  try {
    const { status } = verifyResponse(response!, issued, now);
    return status === "good" ? "" : `${from} is not stapled: the certificate is ${status}`;
  } catch (error) {
    return `${from} is not stapled: ${(error as Error).message}`;
  }
}
