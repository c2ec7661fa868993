/**
 * Sandboxed plugin hosts: guests run without effects outside, with counters that are discarded, and no log. Used by start
 * checks (`start-check.ts`) and by dry runs of requests (`worker/dry-run.ts`).
 */

import { STATUS } from "../../abi/abi.ts";
import { Head } from "../../http/head.ts";
import { scanResponse } from "../../http1/scan.ts";
import { BLOCK_CELLS } from "../../observe/series.ts";
import type { KeyValue } from "../../state/key-value.ts";
import type { Fetcher } from "./fetcher.ts";
import { PluginHost } from "./host.ts";
import { Overlay } from "./overlay.ts";

const DRY_RUN = Buffer.from("dry run");

export type SandboxedHostOptions = {
  /** The store for reads, and one of the same class for writes. Without them guests can only be started. */
  readonly keyValue?: { readonly below: KeyValue; readonly own: KeyValue };
};

export function makeSandboxedHost({ keyValue }: SandboxedHostOptions = {}): PluginHost {
  const store = keyValue === undefined ? {} : { keyValue: new Overlay(keyValue.below, keyValue.own) };
  return new PluginHost({ cells: new Float64Array(BLOCK_CELLS), report: () => undefined, ...store });
}

/** Responds to every subrequest with that status and sends nothing. */
export function makeDryFetcher(status: number): Fetcher {
  const head = new Head();
  const text = Buffer.from(`HTTP/1.1 ${status} \r\ncontent-type: text/plain\r\nx-sluice-dry-run: 1\r\n\r\n`);
  scanResponse(text, 0, text.length, head, false);
  return {
    send(_request, done) {
      const timer = setImmediate(() => done({ head, body: DRY_RUN }));
      return () => clearImmediate(timer);
    },
    // A dry run calls no health checks.
    probe(_request, done) {
      done(STATUS.unreachable);
      return () => {};
    },
  };
}
