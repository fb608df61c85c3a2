// The texts that two devices of one identity hand each other, by the vectors that the Go code makes.

import { describe, expect, it } from "vitest";
import { hex, unhex } from "../src/bytes.ts";
import { openApproval, parseDeviceRequest } from "../src/client/devices.ts";
import { PublicKey } from "../src/identity/key.ts";
import { refusal, vectors } from "./vectors.ts";

const f = vectors<{
  request: string; device_key: string; once_secret: string; approval: string; list: string; home_url: string; home_domain: string; home_peer_id: string;
  contacts: { root: string; state: string; name: string }[]; refused: { name: string; approval: string }[]; requests_refused: string[];
}>("devices.json");
const device = PublicKey.check(unhex(f.device_key));

describe("the vectors of devices", () => {
  it("reads the request and opens the approval", async () => {
    expect(parseDeviceRequest(f.request).device.hex).toBe(f.device_key);
    const p = await openApproval(f.approval, device, unhex(f.once_secret));
    expect([hex(p.list.signed), p.url, p.domain, hex(p.peerId.bytes)]).toEqual([f.list, f.home_url, f.home_domain, f.home_peer_id]);
    expect(p.contacts.map((c) => ({ root: c.root.hex, state: c.state, name: c.name }))).toEqual(f.contacts);
  });

  it.each(f.refused)("refuses an approval: $name", async (v) => {
    await refusal(() => openApproval(v.approval, device, unhex(f.once_secret)));
  });

  it("refuses requests that are none", async () => {
    expect(f.requests_refused.length).toBeGreaterThan(3);
    for (const s of f.requests_refused) await refusal(() => parseDeviceRequest(s));
  });
});
