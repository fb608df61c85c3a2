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
