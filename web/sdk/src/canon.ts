// Canonical protobuf: the one byte string that stands for a message which is signed, hashed or
// decrypted (docs/spec/identity.md, section 1). Call encode to write such an object and decode to read
// one. decode refuses everything that encode would not have written, so two different inputs never
// give the same object.
//
// This is a codec of our own and not a general library behind a checker: a general one keeps unknown
// fields, merges repeated messages and needs generated code, so the checker would have to know every
// schema as well. Here the schema is the checker, in one pass, and a number above 2^53 stays exact.

import { text, utf8, type Bytes } from "./bytes.ts";
import { refuse } from "./errors.ts";

type ScalarType = "uint32" | "uint64" | "bool" | "enum" | "bytes" | "string";

interface ScalarOf {
  uint32: number;
  uint64: bigint;
  bool: boolean;
  enum: number;
  bytes: Bytes;
  string: string;
}

export interface ScalarField<K extends ScalarType> { readonly no: number; readonly what: "scalar"; readonly type: K }
export interface ListField<K extends "bytes" | "string"> { readonly no: number; readonly what: "list"; readonly type: K }
export interface PackedField<K extends "uint32" | "uint64"> { readonly no: number; readonly what: "packed"; readonly type: K }
export interface MessageField<F extends Fields> { readonly no: number; readonly what: "message"; readonly of: Schema<F> }
export interface MessagesField<F extends Fields> { readonly no: number; readonly what: "messages"; readonly of: Schema<F> }
export interface OneofField<C extends Cases> { readonly what: "oneof"; readonly cases: C }

type Field =
  | ScalarField<ScalarType> | ListField<"bytes" | "string"> | PackedField<"uint32" | "uint64">
  | MessageField<Fields> | MessagesField<Fields> | OneofField<Cases>;
export interface Fields { readonly [name: string]: Field }
interface Cases { readonly [name: string]: readonly [number, Schema<Fields>] }

export interface Schema<F extends Fields> {
  readonly name: string;
  readonly fields: F;
  readonly byNumber: ReadonlyMap<number, Slot>;
  readonly ordered: readonly (readonly [number, Slot])[];
}

interface Slot { readonly key: string; readonly field: Field; readonly oneof?: string }

type CaseOf<C extends Cases> = {
  [K in keyof C]: { readonly case: K; readonly value: Value<C[K][1]["fields"]> };
}[keyof C];

type ValueOf<F extends Field> =
  F extends ScalarField<infer K> ? ScalarOf[K]
  : F extends ListField<infer K> ? readonly ScalarOf[K][]
  : F extends PackedField<infer K> ? readonly ScalarOf[K][]
  : F extends MessageField<infer G> ? Value<G> | undefined
  : F extends MessagesField<infer G> ? readonly Value<G>[]
  : F extends OneofField<infer C> ? CaseOf<C> | undefined
  : never;

type Value<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };

/** The object that a schema stands for. An absent field is 0, 0n, false, "", empty or undefined. */
export type Of<S> = S extends Schema<infer F> ? Value<F> : never;

/** What encode takes: fields that are left out are absent. */
export type Init<S> = S extends Schema<infer F> ? Partial<InitValue<F>> : never;

type InitCaseOf<C extends Cases> = {
  [K in keyof C]: { readonly case: K; readonly value: Partial<InitValue<C[K][1]["fields"]>> };
}[keyof C];
type InitOf<F extends Field> =
  F extends ScalarField<infer K> ? (K extends "bytes" ? Uint8Array : ScalarOf[K])
  : F extends ListField<infer K> ? readonly (K extends "bytes" ? Uint8Array : ScalarOf[K])[]
  : F extends PackedField<infer K> ? readonly ScalarOf[K][]
  : F extends MessageField<infer G> ? Partial<InitValue<G>> | undefined
  : F extends MessagesField<infer G> ? readonly Partial<InitValue<G>>[]
  : F extends OneofField<infer C> ? InitCaseOf<C> | undefined
  : never;
type InitValue<F extends Fields> = { readonly [K in keyof F]: InitOf<F[K]> };

const scalar = <K extends ScalarType>(type: K) => (no: number): ScalarField<K> => ({ no, what: "scalar", type });
export const uint32 = scalar("uint32");
export const uint64 = scalar("uint64");
export const bool = scalar("bool");
export const enumeration = scalar("enum");
export const bytes = scalar("bytes");
export const string = scalar("string");
export const bytesList = (no: number): ListField<"bytes"> => ({ no, what: "list", type: "bytes" });
export const stringList = (no: number): ListField<"string"> => ({ no, what: "list", type: "string" });
export const packed32 = (no: number): PackedField<"uint32"> => ({ no, what: "packed", type: "uint32" });
export const packed64 = (no: number): PackedField<"uint64"> => ({ no, what: "packed", type: "uint64" });
export const message = <F extends Fields>(no: number, of: Schema<F>): MessageField<F> => ({ no, what: "message", of });
export const messages = <F extends Fields>(no: number, of: Schema<F>): MessagesField<F> => ({ no, what: "messages", of });
export const oneof = <const C extends Cases>(cases: C): OneofField<C> => ({ what: "oneof", cases });

/** Declares a message. A schema cannot name itself, which bounds the depth of what decode reads. */
export function schema<const F extends Fields>(name: string, fields: F): Schema<F> {
  const byNumber = new Map<number, Slot>();
  for (const [key, field] of Object.entries(fields)) {
    if (field.what === "oneof") {
      for (const [k, [no, of]] of Object.entries(field.cases)) {
        byNumber.set(no, { key: k, field: { no, what: "message", of }, oneof: key });
      }
    } else {
      byNumber.set(field.no, { key, field });
    }
  }
  return { name, fields, byNumber, ordered: [...byNumber].sort(([a], [b]) => a - b) };
}

// A schema of any shape, for the code that walks it.
type AnySchema = { readonly name: string; readonly fields: Fields; readonly byNumber: ReadonlyMap<number, Slot>; readonly ordered: readonly (readonly [number, Slot])[] };

function bad(s: AnySchema, why: string) {
  return refuse("not_canonical", `${s.name}: ${why}`);
}

class Reader {
  at: number;
  readonly b: Uint8Array;
  readonly end: number;

  constructor(b: Uint8Array, at: number, end: number) {
    this.b = b;
    this.at = at;
    this.end = end;
  }

  /** One minimal varint of at most 64 bits. */
  varint(s: AnySchema): bigint {
    let value = 0n;
    let small = 0;
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) throw bad(s, "a number runs past the end");
      const x = this.b[this.at++]!;
      if (i < 4) small += (x & 0x7f) * 2 ** (7 * i);
      else value += BigInt(x & 0x7f) << BigInt(7 * i);
      if (x < 0x80) {
        if (x === 0 && i > 0) throw bad(s, "a number is not in its shortest form");
        if (i === 9 && x > 1) break;
        return value + BigInt(small);
      }
    }
    throw bad(s, "a number has more than 64 bits");
  }

  /** A varint that is a length or a tag. */
  small(s: AnySchema): number {
    const v = this.varint(s);
    if (v > 0xffffffffn) throw bad(s, "a length or tag is too large");
    return Number(v);
  }
}

/** Reads the canonical object b of at most max bytes. The result shares no memory with b. */
export function decode<F extends Fields>(s: Schema<F>, b: Uint8Array, max: number): Value<F> {
  if (b.length > max) throw refuse("too_large", `${s.name}: ${b.length} bytes, at most ${max}`);
  return read(s, new Reader(b, 0, b.length)) as Value<F>;
}

function blank(s: AnySchema): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, f] of Object.entries(s.fields)) {
    switch (f.what) {
      case "scalar":
        switch (f.type) {
          case "uint64": out[key] = 0n; break;
          case "bool": out[key] = false; break;
          case "bytes": out[key] = new Uint8Array(0); break;
          case "string": out[key] = ""; break;
          default: out[key] = 0;
        }
        break;
      case "list": case "packed": case "messages": out[key] = []; break;
      default: out[key] = undefined;
    }
  }
  return out;
}

function number(s: AnySchema, type: "uint32" | "uint64" | "bool" | "enum", v: bigint): number | bigint | boolean {
  switch (type) {
    case "uint64":
      return v;
    case "bool":
      if (v > 1n) throw bad(s, "a truth value is neither 0 nor 1");
      return v === 1n;
    case "uint32":
      if (v > 0xffffffffn) throw bad(s, "a number has more than 32 bits");
      return Number(v);
    case "enum": {
      // An enum is a signed number of 32 bits; a negative one is written with ten bytes.
      const n = BigInt.asIntN(64, v);
      if (n > 0x7fffffffn || n < -0x80000000n) throw bad(s, "a number has more than 32 bits");
      return Number(n);
    }
  }
}

function read(s: AnySchema, r: Reader): Record<string, unknown> {
  const out = blank(s);
  let last = 0;
  while (r.at < r.end) {
    const tag = r.small(s);
    const no = tag >>> 3;
    const slot = s.byNumber.get(no);
    if (slot === undefined) throw bad(s, `unknown field ${no}`);
    const { key, field, oneof: group } = slot;
    const repeats = field.what === "list" || field.what === "messages";
    if (no < last || (no === last && !repeats)) throw bad(s, `field ${no} again or out of order`);
    last = no;
    const isNumber = field.what === "scalar" && field.type !== "bytes" && field.type !== "string";
    if ((tag & 7) !== (isNumber ? 0 : 2)) throw bad(s, `field ${no} has another wire type`);
    const value = r.varint(s);
    // Zero means absent, but for an element of a list and for the chosen member of a oneof.
    if (value === 0n && !repeats && group === undefined) throw bad(s, `field ${no} is present and empty`);
    if (field.what === "scalar" && field.type !== "bytes" && field.type !== "string") {
      out[key] = number(s, field.type, value);
      continue;
    }
    if (value > BigInt(r.end - r.at)) throw bad(s, `field ${no} runs past the end`);
    const begin = r.at;
    const end = begin + Number(value);
    r.at = end;
    switch (field.what) {
      case "scalar":
      case "list": {
        const content = r.b.slice(begin, end);
        const v = field.type === "string" ? text(content) : content;
        if (field.what === "list") (out[key] as unknown[]).push(v);
        else out[key] = v;
        break;
      }
      case "packed": {
        const inner = new Reader(r.b, begin, end);
        while (inner.at < end) (out[key] as unknown[]).push(number(s, field.type, inner.varint(s)));
        break;
      }
      case "message": {
        const v = read(field.of, new Reader(r.b, begin, end));
        if (group === undefined) {
          out[key] = v;
        } else {
          if (out[group] !== undefined) throw bad(s, "two kinds at once");
          out[group] = { case: key, value: v };
        }
        break;
      }
      case "messages":
        (out[key] as unknown[]).push(read(field.of, new Reader(r.b, begin, end)));
        break;
    }
  }
  return out;
}

class Writer {
  #b = new Uint8Array(256);
  #n = 0;

  byte(x: number): void {
    this.#room(1);
    this.#b[this.#n++] = x;
  }

  varint(v: number | bigint): void {
    let x = BigInt.asUintN(64, BigInt(v));
    while (x >= 0x80n) {
      this.byte(Number(x & 0x7fn) | 0x80);
      x >>= 7n;
    }
    this.byte(Number(x));
  }

  bytes(b: Uint8Array): void {
    this.varint(b.length);
    this.#room(b.length);
    this.#b.set(b, this.#n);
    this.#n += b.length;
  }

  done(): Bytes {
    return this.#b.slice(0, this.#n);
  }

  #room(n: number): void {
    if (this.#n + n <= this.#b.length) return;
    const b = new Uint8Array(Math.max(2 * this.#b.length, this.#n + n));
    b.set(this.#b.subarray(0, this.#n));
    this.#b = b;
  }
}

/** Writes m canonically. It throws for a number that does not fit its field. */
export function encode<F extends Fields>(s: Schema<F>, m: Partial<InitValue<F>>): Bytes {
  const w = new Writer();
  write(s, m as Record<string, unknown>, w);
  return w.done();
}

function checkNumber(s: AnySchema, type: string, v: number | bigint): void {
  const n = typeof v === "bigint" ? v : Number.isSafeInteger(v) ? BigInt(v) : -1n;
  const ok = type === "uint64" ? n >= 0n && n < 1n << 64n
    : type === "uint32" ? n >= 0n && n <= 0xffffffffn
    : n >= 0n && n <= 0x7fffffffn;
  if (!ok) throw bad(s, "a number does not fit its field");
}

function write(s: AnySchema, m: Record<string, unknown>, w: Writer): void {
  for (const [no, { key, field, oneof: group }] of s.ordered) {
    if (group !== undefined) {
      const chosen = m[group] as { case: string; value: Record<string, unknown> } | undefined;
      if (chosen !== undefined && chosen.case === key && field.what === "message") {
        w.varint(no << 3 | 2);
        w.bytes(inner(field.of, chosen.value));
      }
      continue;
    }
    const v = m[key];
    if (v === undefined) continue;
    switch (field.what) {
      case "scalar":
        if (field.type === "bytes" || field.type === "string") {
          const b = field.type === "string" ? utf8(v as string) : v as Uint8Array;
          if (b.length === 0) break;
          w.varint(no << 3 | 2);
          w.bytes(b);
        } else {
          const n = typeof v === "boolean" ? (v ? 1 : 0) : v as number | bigint;
          checkNumber(s, field.type, n);
          if (BigInt(n) === 0n) break;
          w.varint(no << 3);
          w.varint(n);
        }
        break;
      case "list":
        for (const x of v as readonly (string | Uint8Array)[]) {
          w.varint(no << 3 | 2);
          w.bytes(typeof x === "string" ? utf8(x) : x);
        }
        break;
      case "packed": {
        const list = v as readonly (number | bigint)[];
        if (list.length === 0) break;
        const p = new Writer();
        for (const x of list) {
          checkNumber(s, field.type, x);
          p.varint(x);
        }
        w.varint(no << 3 | 2);
        w.bytes(p.done());
        break;
      }
      case "message": {
        const b = inner(field.of, v as Record<string, unknown>);
        // A part without content has no canonical form: absent is how it is written.
        if (b.length === 0) throw bad(s, `field ${no} is present and empty`);
        w.varint(no << 3 | 2);
        w.bytes(b);
        break;
      }
      case "messages":
        for (const x of v as readonly Record<string, unknown>[]) {
          w.varint(no << 3 | 2);
          w.bytes(inner(field.of, x));
        }
        break;
    }
  }
}

function inner(s: AnySchema, m: Record<string, unknown>): Bytes {
  const w = new Writer();
  write(s, m, w);
  return w.done();
}
