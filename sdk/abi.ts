// The numbers of the native ABI, version 1, as defined and documented in src/abi/abi.ts; a test compares them.

export const ABI_VERSION: i32 = 1;

export namespace RESULT {
  export const continue_: i32 = 0;
  export const respond: i32 = 1;
  export const reject: i32 = 2;
  export const buffer: i32 = 3;
}

export namespace STATUS {
  export const ok: i32 = 0;
  export const absent: i32 = -1;
  export const notHere: i32 = -2;
  export const invalid: i32 = -3;
  export const tooLarge: i32 = -4;
  export const denied: i32 = -5;
  export const busy: i32 = -6;
  export const unreachable: i32 = -7;
  export const timedOut: i32 = -8;
}

export namespace HEADERS {
  export const request: i32 = 0;
  export const response: i32 = 1;
  export const requestTrailers: i32 = 2;
  export const responseTrailers: i32 = 3;
}

export namespace ATTRIBUTE {
  export const method: i32 = 0;
  export const scheme: i32 = 1;
  export const authority: i32 = 2;
  export const path: i32 = 3;
  export const query: i32 = 4;
  export const status: i32 = 5;
  export const client_address: i32 = 6;
  export const protocol: i32 = 7;
  export const route: i32 = 8;
  export const cluster: i32 = 9;
  export const endpoint: i32 = 10;
  export const attempt: i32 = 11;
  export const listener: i32 = 12;
  export const target: i32 = 13;
  export const exchange_id: i32 = 14;
  export const duration: i32 = 15;
  export const bytes_sent: i32 = 16;
  export const bytes_received: i32 = 17;
  export const error: i32 = 18;
  export const upstream_duration: i32 = 19;
  export const original_method: i32 = 20;
  export const original_authority: i32 = 21;
  export const original_target: i32 = 22;
  export const upgrade: i32 = 23;
  export const tls_version: i32 = 24;
  export const tls_server_name: i32 = 25;
  export const tls_client_subject: i32 = 26;
  export const tls_client_names: i32 = 27;
  export const tls_client_fingerprint: i32 = 28;
  export const proxy_peer: i32 = 29;
  export const proxy_destination: i32 = 30;
  export const proxy_tlv: i32 = 4096;
  export const proxy_ssl_tlv: i32 = 4352;
}

export namespace COLUMN {
  export const id: i32 = 0;
  export const weight: i32 = 1;
  export const in_flight: i32 = 2;
  export const latency: i32 = 3;
  export const error_rate: i32 = 4;
  export const hash: i32 = 5;
  export const zone: i32 = 6;
  export const latency_age: i32 = 7;
}

export namespace ENDPOINT_TEXT {
  export const address: i32 = 0;
  export const zone: i32 = 1;
}

export namespace ATTEMPT {
  export const endpoint: i32 = 0;
  export const latency: i32 = 1;
  export const status: i32 = 2;
  export const failed: i32 = 3;
}

export namespace LEVEL {
  export const debug: i32 = 0;
  export const info: i32 = 1;
  export const warn: i32 = 2;
  export const error: i32 = 3;
}

export namespace DIGEST {
  export const sha256: i32 = 0;
  export const sha384: i32 = 1;
  export const sha512: i32 = 2;
}

export namespace SIGNATURE {
  export const rs256: i32 = 0;
  export const ps256: i32 = 1;
  export const es256: i32 = 2;
  export const eddsa: i32 = 3;
}

export namespace METRIC {
  export const counter: i32 = 0;
  export const gauge: i32 = 1;
  export const histogram: i32 = 2;
  export const latest: i32 = 3;
}

/** Results of `config_kind`. */
export namespace KIND {
  export const absent: i32 = 0;
  export const null_: i32 = 1;
  export const boolean: i32 = 2;
  export const number: i32 = 3;
  export const string: i32 = 4;
  export const list: i32 = 5;
  export const map: i32 = 6;
}
