// By which way a room's media goes while people talk, in Chromium and with participants of the Go command line.

import { expect, it } from "vitest";
import { GoMember, nodes, room, Somebody, withBrowser } from "./roombrowsers.ts";

withBrowser();

it("goes to the SFU and back to the mesh while people talk, under the same keys", async () => {
  const { link } = await room({ title: "There and back", meshMost: 4 }); // three who talk, and the owner, who has data alone
  const three = [await Somebody.join(link, "Ada"), await Somebody.join(link, "Bob"), await Somebody.join(link, "Cyd")];
  await Promise.all(three.map((x) => x.sees(2, "mesh")));
  const more = [new GoMember(link, "Gopher", true), new GoMember(link, "Gretel", true)];
  await Promise.all(three.map((x) => x.sees(4, "sfu")));
  for (const g of more) for (const name of ["Ada", "Bob", "Cyd"]) await g.hears(name, "camera", "sfu", 20);
  // Each connection of the mesh has ended, and nobody drew another key.
  for (const x of three) expect((await x.until("the mesh is left", (l) => !l.moving)).rekeyed).toBe(0);
  await Promise.all(more.map((g) => g.stop()));
  await Promise.all(three.map((x) => x.sees(2, "sfu")));
  const drawn = await Promise.all(three.map((x) => x.until("fresh keys for who has gone", (l) => l.rekeyed > 0 && l.people.length === 4)));
  expect(drawn.map((l) => l.ways.at(-1))).toEqual(["sfu", "sfu", "sfu"]);
  // All at once: of two of whom one is ahead the other would find that they do not connect.
  await Promise.all(three.map((x) => x.step("pass", 20_000)));
  await Promise.all(three.map((x) => x.sees(2, "mesh")));
  for (const [i, x] of three.entries()) {
    const l = await x.until("the SFU is left", (y) => y.mode === "mesh" && !y.moving);
    expect(l.ways.at(-1)).toBe("mesh");
    expect([l.rekeyed, l.alarms]).toEqual([drawn[i]!.rekeyed, 0]);
    await x.sees(2, "mesh");
  }
}, 400_000);


it("goes over the SFU for a member whose processor does not keep up, until there are fewer copies to send", async () => {
  const { link } = await room({ title: "Slow", meshMost: 6 });
  const slow = await Somebody.come();
  await slow.step("labour");
  await slow.step("join", link, "Ada", true);
  const others = [await Somebody.join(link, "Bob"), await Somebody.join(link, "Cyd")];
  const all = [slow, ...others];
  const { me } = await slow.step("look");
  await Promise.all(all.map((x) => x.sees(2, "sfu")));
  for (const x of all) expect(await x.step("look")).toMatchObject({ why: "processor", of: me });
  const late = await Somebody.join(link, "Dan");
  await late.sees(3, "sfu");
  expect(await late.step("look")).toMatchObject({ why: "processor", of: me });
  for (const x of [late, others[1]!]) await x.step("leave");
  const two = [slow, others[0]!];
  await Promise.all(two.map((x) => x.until("fewer are here", (l) => l.people.length === 3)));
  await Promise.all(two.map((x) => x.step("pass", 20_000)));
  await Promise.all(two.map((x) => x.sees(1, "mesh")));
}, 400_000);

it("goes over the SFU for two who get no connection", async () => {
  const { link } = await room({ title: "Apart", meshMost: 6 });
  const [a, b] = [await Somebody.join(link, "Ada"), await Somebody.come()];
  await b.step("hide");
  await b.step("join", link, "Bob", true);
  const { me } = await b.step("look");
  for (const x of [a, b]) await x.until("they know each other", (l) => l.people.length === 3);
  await a.until("they do not get a connection", (l) => l.people.some((p) => p.index === me && !p.connected));
  await Promise.all([a, b].map((x) => x.sees(1, "sfu")));
  expect((await a.step("look")).why).toBe("pair");
}, 400_000);

it("looks for another path to the SFU on the same leg when nothing comes from there", async () => {
  const { link } = await room({ title: "Silence", topology: "sfu" });
  const two = [await Somebody.join(link, "Ada"), await Somebody.join(link, "Bob")];
  await Promise.all(two.map((x) => x.sees(1, "sfu")));
  const ufrags = () => Promise.all(two.map((x) => x.step("ufrags")));
  const [before, places] = [await ufrags(), (await Promise.all(two.map((x) => x.step("look")))).map((l) => l.me)];
  expect(before.map((all) => all.length)).toEqual([1, 1]);
  const { acme } = nodes();
  acme.pause();
  try {
    await Promise.all(two.map((x, i) => x.until("another path is looked for", async () => (await x.step("ufrags"))[0] !== before[i]![0])));
  } finally {
    acme.goOn();
  }
  await Promise.all(two.map((x) => x.sees(1, "sfu")));
  // No leg was made anew, and nobody came in again.
  expect((await ufrags()).map((all) => [all.length, all[0] !== ""])).toEqual([[1, true], [1, true]]);
  expect((await Promise.all(two.map((x) => x.step("look")))).map((l) => l.me)).toEqual(places);
}, 400_000);
