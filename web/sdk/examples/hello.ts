// Twenty lines: make an identity, register, let in whoever knocks, and answer every note.
//   node hello.js "https://node.example/#invite=…" ./data
import { connect, createIdentity, type ClientEvent } from "@trunkline/sdk";
import { inFolder } from "@trunkline/sdk/node";

const [invite = "", folder = "./hello"] = process.argv.slice(2);
const here = inFolder(folder);
if (!(await here.store.load()).has("profile")) await createIdentity(here); // the phrase that it gives is the only copy

const client = await connect({ ...here, invite, listen });
console.log(client.address);
process.once("SIGTERM", () => void client.close());

function listen(e: ClientEvent): void {
  if (e.type === "knock") void client.accept(e.from);
  if (e.type === "note") void client.sendMessage(e.from, `you wrote: ${e.text}`);
  if (e.type === "alarm") console.error("somebody may stand in the middle:", e.what);
  if (e.type === "ended") process.exitCode = 1;
}
