import assert from "node:assert/strict";
import { test } from "node:test";
import { maskText } from "../../../src/config/mask-text.ts";
import { Mask } from "../../../src/trace/mask.ts";

const mask = new Mask(["x-inner"]);

test("a configuration is shown without its secrets, and otherwise as it is written", () => {
  const text = `# our proxy
admin: { address: 127.0.0.1:9901, token: "HUSH-admin" }   # a comment
trace: { token: HUSH-trace, mask: [x-inner] }
plugins:
  auth: { wasm: ./auth.wasm, config: { password: HUSH-own, realm: Staging, url: "https://u:HUSH-url@h/" } }
listeners:
  web:
    address: ":\${PORT}"
    chain:
      - jwt
      - api-key: { keys: { svc: HUSH-key, other: \${KEY}, third: "\${KEY:-HUSH-default}" }, header: x-key }
      - basic-auth:
          users:
            ann: sha256:HUSH-hash
      - jwt:
          keys:
            - alg: HS256
              secret: |
                HUSH-one
                HUSH-two
              kid: one
      - headers: { request: { set: { authorization: "Bearer HUSH-bearer-1", x-inner: 'HUSH-inner', x-from: sluice } } }
    cluster: auth
clusters:
  auth: [127.0.0.1:9001]
  tokens: { endpoints: [{ address: 127.0.0.1:9002 }] }
`;
  assert.equal(
    maskText(text, mask),
    `# our proxy
admin: { address: 127.0.0.1:9901, token: *** }   # a comment
trace: { token: ***, mask: [x-inner] }
plugins:
  auth: { wasm: ./auth.wasm, config: { password: ***, realm: Staging, url: "https://***@h/" } }
listeners:
  web:
    address: ":\${PORT}"
    chain:
      - jwt
      - api-key: { keys: { svc: ***, other: \${KEY}, third: *** }, header: x-key }
      - basic-auth:
          users:
            ann: ***
      - jwt:
          keys:
            - alg: HS256
              secret: ***
              kid: one
      - headers: { request: { set: { authorization: ***, x-inner: ***, x-from: sluice } } }
    cluster: auth
clusters:
  auth: [127.0.0.1:9001]
  tokens: { endpoints: [{ address: 127.0.0.1:9002 }] }
`,
  );
});

test("a configuration without a secret is shown byte for byte", () => {
  for (const text of ["", "\ufefflisteners: {}\r\nclusters: {}\r\n", `a: &x [1, *x]\n? b\n: \${C:-{d}}\n`])
    assert.equal(maskText(text, mask), text);
});
