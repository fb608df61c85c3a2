// Takes a picture of every screen, on a desktop and a phone, in both themes, with real nodes, and
// holds each of them to axe. The pictures go into web/app/shots, for a person to look at:
//
//   npm run look --workspace app [SCREEN…]
//
// Ends with 1 when axe finds something, the page throws, or a third party was asked for anything.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { camera, World } from './harness.mjs';
import { lookAtCalls } from './lookcalls.mjs';
import { lookAtCards } from './lookcards.mjs';
import { lookAtMeeting } from './lookmeet.mjs';

const shots = path.join(path.dirname(path.dirname(fileURLToPath(import.meta.url))), 'shots');
const only = process.argv.slice(2);
rmSync(shots, { recursive: true, force: true });
mkdirSync(shots, { recursive: true });

const world = new World().build();
const violations = [];

const look = camera(world, shots, only, violations);

try {
  // Without a microphone a browser shows names in place of the machine's addresses.
  await world.browser(['--disable-features=WebRtcHideLocalIpsWithMdns', '--auto-select-desktop-capture-source=Entire screen']);
  await story(world, look);
} catch (error) {
  violations.push(String(error?.stack ?? error));
} finally {
  await world.stop();
}

const bad = [...violations, ...world.problems.map((p) => `page: ${p}`), ...world.foreign.map((u) => `third party: ${u}`)];
for (const line of bad) console.error(line);
console.log(`${bad.length === 0 ? 'nothing' : bad.length} to mend; pictures in ${shots}`);
process.exit(bad.length === 0 ? 0 : 1);

async function story(world, look) {
  await lookAtMeeting(world, look);
  await lookAtCards(world, look);
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  const { http } = acme.ready;

  // Without an invitation: what a stranger sees.
  const stranger = await world.person();
  await stranger.page.goto(`${http}/`);
  await stranger.page.getByLabel('Invitation').waitFor();
  await look(stranger.page, 'welcome');
  await stranger.page.getByLabel('Invitation').fill('hello');
  await stranger.page.getByRole('button', { name: 'Join' }).click();
  await stranger.page.getByRole('alert').waitFor();
  await look(stranger.page, 'welcome-wrong');
  await stranger.page.getByRole('button', { name: 'I have it on another device' }).click();
  await stranger.page.locator('form .qr').waitFor();
  await look(stranger.page, 'welcome-join');
  await stranger.context.close();

  const alice = await world.person();
  await alice.page.goto(acme.ready.invite);
  await alice.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  await look(alice.page, 'home-empty');
  const bob = await world.person();
  await bob.page.goto(globex.ready.invite);
  await bob.page.getByRole('heading', { name: 'How others reach you' }).waitFor();

  // Bob opens Alice's link and asks.
  const link = await contactLink(alice.page);
  // The link leads to Alice's node; Bob opens it in the app of his own.
  await bob.page.goto(globex.ready.http + link.slice(link.indexOf('/#')));
  await bob.page.getByRole('heading', { name: 'Add somebody' }).waitFor();
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByLabel('Message with the request').fill('Hello Alice, it is Bob from the harbour office.');
  await look(bob.page, 'add');
  await bob.page.getByRole('button', { name: 'Ask to connect' }).click();
  await bob.page.getByText('has not answered yet').waitFor();
  await look(bob.page, 'asked');

  // Alice hears of it and says yes.
  await alice.page.getByRole('link', { name: /Bob/ }).waitFor();
  await look(alice.page, 'home-knock');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('heading', { name: 'Bob wants to connect' }).waitFor();
  await look(alice.page, 'knock');
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  await look(alice.page, 'chat-empty');

  await bob.page.getByRole('textbox', { name: /Write to/ }).waitFor();
  await bob.page.getByRole('tab', { name: 'Details' }).click();
  await bob.page.getByLabel('Your name for this person').fill('Alice Lindqvist');
  await bob.page.getByRole('button', { name: 'Save' }).click();
  await bob.page.getByRole('heading', { name: 'Alice Lindqvist' }).waitFor();
  await look(bob.page, 'details');
  await bob.page.getByRole('tab', { name: 'Chat' }).click();

  const write = async (from, text) => {
    await from.page.getByRole('textbox', { name: /Write to/ }).fill(text);
    await from.page.getByRole('button', { name: 'Send', exact: true }).click();
  };
  const say = async (from, to, text) => {
    await write(from, text);
    await to.page.locator('.bubble:not(.mine)', { hasText: text }).waitFor();
    await from.page.locator('.bubble.mine', { hasText: text }).locator('.fate.read').waitFor();
  };
  await say(alice, bob, 'Hello Bob! So this is the new exchange?');
  await say(bob, alice, 'Yes. The node carries it and cannot read a word.');
  await say(bob, alice, 'The plans are at https://harbour.example/plans if you want to look before noon. They are long, so take your time, and tell me what you think of the second quay.');
  await say(alice, bob, '<b>not bold</b> \u{1F6A2}');
  await look(alice.page, 'chat');

  // A file each way: one that waits for an answer, one that has arrived.
  const folder = path.join(world.dir, 'offered');
  mkdirSync(folder);
  writeFileSync(path.join(folder, 'plans of the second quay.pdf'), Buffer.alloc(3_400_000, 'plan'));
  await alice.page.locator('input[type=file]').setInputFiles(path.join(folder, 'plans of the second quay.pdf'));
  await bob.page.locator('.file[data-state=asking]').waitFor();
  await look(bob.page, 'file-asks');
  await bob.page.getByRole('button', { name: 'Receive' }).click();
  await bob.page.locator('.file[data-state=arrived]').waitFor();
  await look(bob.page, 'file-arrived');
  await alice.page.locator('.file[data-state=delivered]').waitFor();
  await look(alice.page, 'file-delivered');

  await alice.page.getByRole('tab', { name: 'Verify' }).click();
  await alice.page.locator('.digits').waitFor();
  await look(alice.page, 'verify');
  await alice.page.getByRole('button', { name: 'They match' }).click();
  await alice.page.locator('.trust.verified').first().waitFor();
  await look(alice.page, 'verified');

  await alice.page.goto(`${http}/phrase`);
  await alice.page.getByRole('button', { name: 'Show the words' }).waitFor();
  await look(alice.page, 'phrase');
  await alice.page.getByRole('button', { name: 'Show the words' }).click();
  await alice.page.locator('.words').waitFor();
  await look(alice.page, 'phrase-shown');
  await alice.page.getByRole('button', { name: 'I have written them down' }).click();
  await look(alice.page, 'phrase-confirm');

  for (const path of ['settings', 'about', 'devices']) {
    await alice.page.goto(`${http}/${path}`);
    await alice.page.getByRole('heading', { level: 1 }).waitFor();
    if (path === 'about') await alice.page.getByTestId('digest').waitFor();
    await look(alice.page, path);
  }
  await alice.page.goto(`${http}/media`);
  await alice.page.getByRole('button', { name: 'Try them' }).waitFor();
  await look(alice.page, 'media-off');
  await alice.page.getByRole('button', { name: 'Try them' }).click();
  await alice.page.getByRole('combobox', { name: 'Speaker' }).waitFor();
  await look(alice.page, 'media');
  await alice.page.goto(`${http}/node`);
  await alice.page.getByRole('heading', { name: 'What the node sees' }).waitFor();
  await write(bob, 'And what does the node see of this?');
  await alice.page.getByText('And what does the node see of this?').first().waitFor();
  await look(alice.page, 'node');
  await alice.page.getByRole('button', { name: /deliver/ }).first().click();
  await look(alice.page, 'node-frame');
  await alice.page.getByRole('button', { name: 'Menu' }).click();
  await look(alice.page, 'menu');
  await alice.page.keyboard.press('Escape');

  await alice.page.goto(`${http}/`);
  await lookAtCalls(look, alice, bob);

  // Another language, and the other direction.
  await alice.page.goto(`${http}/settings`);
  await alice.page.getByRole('combobox', { name: 'Language' }).click();
  await look(alice.page, 'settings-open');
  await alice.page.getByRole('option', { name: 'Deutsch' }).click();
  await alice.page.getByRole('heading', { name: 'Einstellungen' }).waitFor();
  await look(alice.page, 'de-settings');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('tab', { name: 'Chat' }).waitFor();
  await look(alice.page, 'de-chat');
  await alice.page.goto(`${http}/settings`);
  await alice.page.getByRole('combobox', { name: 'Sprache' }).click();
  await alice.page.getByRole('option', { name: /Pseudosprache/ }).click();
  await alice.page.waitForFunction(() => document.dir === 'rtl');
  await look(alice.page, 'rtl-settings');
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.locator('.bubble').first().waitFor();
  await look(alice.page, 'rtl-chat');
}

/** The link as a person copies it. */
async function contactLink(page) {
  await page.getByRole('button', { name: 'Copy link' }).click();
  return page.evaluate(() => navigator.clipboard.readText());
}
