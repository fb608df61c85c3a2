// X25519 (RFC 7748). The curve's own package brings tables, hash-to-curve and the NIST curves' arithmetic along;
// a page needs the ladder alone.

import { montgomery } from "@noble/curves/abstract/montgomery.js";

const P = (1n << 255n) - 19n;

export const x25519 = /* @__PURE__ */ montgomery({
  P,
  type: "x25519",
  adjustScalarBytes: (b: Uint8Array) => {
    b[0]! &= 248;
    b[31] = b[31]! & 127 | 64;
    return b;
  },
  // x^(P-2) by squaring: P-2 is public.
  powPminus2: (x) => {
    let r = 1n;
    for (let e = P - 2n, b = x; e > 0n; e >>= 1n, b = b * b % P) if (e & 1n) r = r * b % P;
    return r;
  },
});
