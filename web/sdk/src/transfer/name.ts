// File names from strangers (docs/spec/files.md, section 7).

import { utf8 } from "../bytes.ts";

const maxFileName = 255;
const maxExtension = 32;

// Letters that look like nothing.
const blanks = /[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]/gu;
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Noncharacter_Code_Point}]/gu;
const devices = /^(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|CLOCK\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])$/;

/** Makes a name safe to create and to look at: 1 to 255 bytes, one path element, nothing invisible. Idempotent. */
export function cleanName(name: string): string {
  let n = name.replace(/\p{Surrogate}+/gu, "_");
  n = n.slice(Math.max(n.lastIndexOf("/"), n.lastIndexOf("\\")) + 1);
  n = n.replace(unseen, "").replace(blanks, "").replace(/\p{White_Space}/gu, " ").replace(/[<>:"|?*]/g, "_");
  n = trim(n);
  const stem = n.split(".", 1)[0]!.replace(/ +$/, "").toUpperCase();
  if (devices.test(stem)) n = `_${n}`;
  return trim(fit(n, ""));
}

/** The n-th name to try: the second is "name (2).ext". */
export function numberedName(name: string, n: number): string {
  return n < 2 ? name : fit(name, ` (${n})`);
}

function trim(n: string): string {
  return n.replace(/^[. ]+|[. ]+$/g, "") || "file";
}

function fit(name: string, mark: string): string {
  const dot = name.lastIndexOf(".");
  let ext = dot < 0 ? "" : name.slice(dot);
  if (utf8(ext).length > maxExtension || ext.length === name.length) ext = "";
  let stem = name.slice(0, name.length - ext.length);
  const room = maxFileName - utf8(mark).length - utf8(ext).length;
  if (utf8(stem).length > room) stem = cut(stem, room).replace(/[. ]+$/, "");
  return stem + mark + ext;
}

function cut(s: string, n: number): string {
  let out = "";
  let used = 0;
  for (const c of s) {
    used += utf8(c).length;
    if (used > n) break;
    out += c;
  }
  return out;
}
