// Rooms in Chromium, and with participants of the Go command line.

import { expect, it } from "vitest";
import { GoMember, room, Somebody, withBrowser } from "./roombrowsers.ts";

withBrowser();

it("shows everybody to everybody in a mesh of three, and sends one of them away", async () => {
  const { link, chair } = await room({ title: "Mesh", meshMost: 4, topology: "mesh" });
  const [a, b, c] = [await Somebody.join(link, "Ada"), await Somebody.join(link, "Bob"), await Somebody.join(link, "Cyd")];
  await Promise.all([a, b, c].map((x) => x.sees(2, "mesh")));
  const path = (await a.step("look")).people.find((p) => p.name === "Bob")?.path;
  expect(["lan", "direct"]).toContain(path);
  await chair.remove((await c.step("look")).me);
  await Promise.all([a.sees(1, "mesh"), b.sees(1, "mesh")]);
  expect((await c.step("look")).end).toBe("removed");
  expect([(await a.step("look")).alarms, (await b.step("look")).alarms]).toEqual([0, 0]);
}, 400_000);

it("goes over to the SFU when there are too many for a mesh, where a participant of Go opens what browsers send", async () => {
  const { link } = await room({ title: "Grow", meshMost: 2 });
  const a = await Somebody.join(link, "Ada");
  const b = await Somebody.join(link, "Bob");
  await Promise.all([a.sees(1, "sfu"), b.sees(1, "sfu")]);
  const go = new GoMember(link, "Gopher");
  await go.hears("Ada", "camera", "sfu", 20);
  await go.hears("Bob", "microphone", "sfu", 20);
  expect((await a.step("look")).alarms).toBe(0);
  await go.stop();
}, 400_000);

it.each(["mesh", "sfu"] as const)("never shows who sends its pictures unsealed, over the %s", async (topology) => {
  const { link } = await room({ title: "Plain", topology });
  const [a, b] = [await Somebody.join(link, "Ada"), await Somebody.join(link, "Bob")];
  await Promise.all([a, b].map((x) => x.sees(1, topology)));
  const plain = await Somebody.come();
  await plain.step("sendPlain");
  await plain.step("join", link, "Mallory", true);
  const { me } = await plain.step("look");
  for (const x of [a, b]) {
    // Over the SFU those of the other one are beside them.
    const streams = topology === "mesh" ? 1 : 2;
    await x.until("they have arrived", async () => (await x.step("arrived", topology === "mesh" ? me : undefined)).filter((packets) => packets >= 200).length === streams);
    const l = await x.step("look");
    expect(l.tiles.filter((t) => t.person === me && (t.playing > 0 || t.state === "live"))).toEqual([]);
    expect(l.tiles.some((t) => t.person === me)).toBe(true);
  }
  await Promise.all([a, b].map((x) => x.sees(1, topology)));
}, 400_000);

it("has a place on the leg to the SFU for whoever sends, and one more for the next one's first words", async () => {
  const { link } = await room({ title: "Places", topology: "sfu" });
  const [listener, other] = [await Somebody.come(), await Somebody.come()];
  await listener.step("join", link, "Lea", false);
  await other.step("join", link, "Leo", false);
  await listener.until("two others", (l) => l.people.filter((p) => p.name !== "").length >= 3);
  expect(await listener.step("places")).toEqual([1]);
  const a = await Somebody.join(link, "Ada");
  await Promise.all([listener, other].map((x) => x.sees(1, "sfu")));
  // Sound and pictures of one, and the place for the next.
  for (const x of [listener, other]) await x.until("three places", async () => String(await x.step("places")) === "3");
  expect(await a.step("places")).toEqual([1]);
}, 400_000);

it("sends three sizes of a camera to the SFU, which gives each its own", async () => {
  const { link } = await room({ title: "Sizes", topology: "sfu" });
  const [a, b] = [await Somebody.join(link, "Ada", true), await Somebody.join(link, "Bob")];
  await b.sees(1, "sfu");
  const { me } = await a.step("look");
  for (const height of [720, 180, 360]) {
    await b.step("setWants", { tiles: [{ person: me, slot: "camera", height }] });
    await b.until(`pictures of ${height} lines`, (l) => l.tiles.some((t) => t.person === me && t.slot === "camera" && t.state === "live" && t.height === height));
  }
}, 400_000);

it("sends a screen on which things move in two sizes, and one of letters whole", async () => {
  const { link } = await room({ title: "Screen", topology: "sfu" });
  const [a, b] = [await Somebody.join(link, "Ada"), await Somebody.join(link, "Bob")];
  await b.sees(1, "sfu");
  const { me } = await a.step("look");
  const comes = (height: number) => b.until(`a screen of ${height} lines`, (l) => l.tiles.some((t) => t.person === me && t.slot === "screen" && t.state === "live" && t.height === height));
  await a.step("share", "motion");
  for (const height of [720, 360]) {
    await b.step("setWants", { tiles: [{ person: me, slot: "screen", height }] });
    await comes(height);
  }
  await a.step("share", "text"); // and now nobody gets a smaller one, whatever it wants
  await comes(720);
  await a.step("share", "motion");
  await comes(360);
}, 400_000);
