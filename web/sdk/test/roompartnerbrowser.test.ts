// A partner's people in a room, in Chromium: which relay they use, where they hide their addresses.

import { expect, it } from "vitest";
import { nodes, room, Somebody, withBrowser } from "./roombrowsers.ts";

withBrowser();

/** acme takes no guests, lets globex's people in, and lends its relay to nobody. */
const acmes = `
[rooms]
guests = false

[[domain]]
name  = "acme.example"
level = "internal"

[[rule]]
name      = "rooms"
level     = "internal"
direction = "in"
actions   = ["sfu"]

[[rule]]
name      = "meet"
level     = "partner"
direction = "in"
actions   = ["sfu"]
`;
const globexes = `
[[rule]]
name      = "meet"
level     = "partner"
direction = "out"
actions   = ["sfu"]
`;

it("shows a partner's people to each other over the relay of their own node, where the room's lends none", async () => {
  const { acme, globex } = nodes();
  acme.rules(acmes);
  globex.rules(globexes);
  const { link } = await room({ title: "Partners", topology: "mesh" });
  const [hidden, other] = [await Somebody.come(), await Somebody.come()];
  await hidden.step("enrol", globex.invite(), "hidden");
  await other.step("enrol", globex.invite(), "other");
  await hidden.step("join", link, "Bob", true, false, true);
  await other.step("join", link, "Carol", true);
  await Promise.all([hidden, other].map((x) => x.sees(1, "mesh")));
  const path = async (x: Somebody, name: string) => (await x.step("look")).people.find((p) => p.name === name)?.path;
  expect([await path(hidden, "Carol"), await path(other, "Bob")]).toEqual(["relay/udp", "relay/udp"]);
  // Each was refused by acme first.
  const lent = "trunkline_turn_credentials_total";
  expect(await acme.counts(lent)).toBeGreaterThanOrEqual(2);
  expect(await acme.counts(lent, "minted")).toBe(0);
  expect(await globex.counts(lent, "minted")).toBeGreaterThanOrEqual(2);
}, 400_000);
