// The points of edwards25519, as far as the check of a public key needs them (docs/spec/identity.md, section 5).
// WebCrypto verifies signatures but does not say whether a key has a small-order part. Everything here is public:
// nothing has to run in constant time, and nothing secret ever comes here.

export const P = (1n << 255n) - 19n;
const L = (1n << 252n) + 27742317777372353535851937790883648493n;
const D = 0x52036cee2b6ffe738cc740797779e89800700a4d4141d8ab75eb4dca135978a3n;
const I = 0x2b8324804fc1df0b2b4d00993dfbd7a72f431806ad2fe478c4ee1b274a0ea0b0n; // the square root of -1

const mod = (a: bigint) => (a %= P) < 0n ? a + P : a;

function power(b: bigint, e: bigint): bigint {
  let r = 1n;
  for (; e > 0n; e >>= 1n, b = b * b % P) if (e & 1n) r = r * b % P;
  return r;
}

export function littleEndian(b: Uint8Array): bigint {
  let v = 0n;
  for (let i = b.length - 1; i >= 0; i--) v = v << 8n | BigInt(b[i]!);
  return v;
}

/** Extended coordinates: x = X/Z, y = Y/Z, T = XY/Z. */
type Point = readonly [X: bigint, Y: bigint, Z: bigint, T: bigint];

const identity: Point = [0n, 1n, 1n, 0n];

/** RFC 8032, 5.1.3, of 32 bytes. Undefined: not a point, or not its canonical encoding. */
function decode(b: Uint8Array): Point | undefined {
  const v = littleEndian(b);
  const y = v & (1n << 255n) - 1n;
  if (y >= P) return undefined;
  const u = mod(y * y - 1n);
  const w = mod(D * y * y + 1n);
  let x = u * power(w, 3n) * power(u * power(w, 7n), (P - 5n) / 8n) % P;
  if (mod(w * x * x - u) !== 0n) x = x * I % P;
  if (mod(w * x * x - u) !== 0n) return undefined;
  const odd = v >> 255n;
  if (x === 0n && odd === 1n) return undefined;
  if ((x & 1n) !== odd) x = mod(-x);
  return [x, y, 1n, x * y % P];
}

/** RFC 8032, 5.1.4. The formula is complete: it doubles, too. */
function add([x1, y1, z1, t1]: Point, [x2, y2, z2, t2]: Point): Point {
  const a = (y1 - x1) * (y2 - x2) % P;
  const b = (y1 + x1) * (y2 + x2) % P;
  const c = 2n * D * t1 * t2 % P;
  const d = 2n * z1 * z2 % P;
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
}

function isIdentity([x, y, z]: Point): boolean { return x === 0n && y === z; }

/** What is wrong with the encoding of a public key; undefined for a point of the prime-order group. */
export function keyFault(b: Uint8Array): string | undefined {
  const p = decode(b);
  if (p === undefined) return "not a point in its canonical encoding";
  if (isIdentity(p)) return "small order";
  let sum = identity;
  for (let i = 252n; i >= 0n; i--) {
    sum = add(sum, sum);
    if (L >> i & 1n) sum = add(sum, p);
  }
  return isIdentity(sum) ? undefined : "small-order part";
}

// The canonical u-coordinates of the points of low order, on the curve and on its twist.
const lowOrder = new Set([
  0n, 1n, P - 1n,
  325606250916557431795983626356110631294008115727848805560023387167927233504n,
  39382357235489614581723060781553021112529911719440698176882885853963445705823n,
]);

/** Whether 32 bytes are the canonical encoding of an X25519 public key that is not of low order. */
export function isX25519(b: Uint8Array): boolean {
  const u = littleEndian(b);
  return u < P && !lowOrder.has(u);
}
