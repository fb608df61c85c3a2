// Twenty lines: make an identity, register, let in whoever knocks, and answer every note.
//   node hello.js "https://node.example/#invite=…" ./data
import { Client, createIdentity } from "@trunkline/sdk";
import { inFolder } from "@trunkline/sdk/node";

const [invite = "", folder = "./hello"] = process.argv.slice(2);
const here = inFolder(folder);
const isNew = !(await here.store.load()).has("profile");
const client = isNew ? (await createIdentity(here)).client : await Client.open(here);
if (!client.registered) await client.register(invite);

client.listen((e) => {
  if (e.type === "knock") void client.accept(e.from);
  if (e.type === "note") void client.sendMessage(e.from, `you wrote: ${e.text}`);
  if (e.type === "alarm") console.error("somebody may stand in the middle:", e.what);
  if (e.type === "ended") process.exitCode = 1;
});
client.start();
console.log(client.address);
process.once("SIGTERM", () => void client.close());
