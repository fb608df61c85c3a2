// What somebody does who has just started a node: nothing was read, nothing was set up.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { callPath, firstVisit } from '../../scripts/sizes.mjs';
import { devices, fakes, moving, over } from './people.mjs';

let world;

beforeAll(async () => {
  world = new World().build();
  await world.browser(fakes);
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

/** Opens the address that the node printed. */
async function open(address) {
  const person = await world.person(devices);
  await person.page.goto(address);
  await person.page.getByRole('link', { name: 'New call' }).waitFor();
  return person;
}

/** Presses New call and gives the link on. */
async function newCall(person, name) {
  await person.page.getByRole('link', { name: 'New call' }).click();
  await person.page.getByLabel('Your name').fill(name);
  await person.page.getByRole('button', { name: 'Copy link' }).click();
  return person.page.evaluate(() => navigator.clipboard.readText());
}

/** What whoever opened such a link does. */
async function join({ page }, name) {
  await page.getByRole('heading', { name: 'Call Alice', level: 1 }).waitFor();
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Ask to join' }).click();
  await page.getByRole('heading', { name: 'Waiting for Alice to let you in…' }).waitFor();
  await page.locator('.preview video').waitFor();
}

async function letIn(host, guest) {
  await host.page.getByRole('region', { name: `${guest} wants to join` }).getByRole('button', { name: 'Let in' }).click();
}

/** Notes when the other side is seen for the first time. */
function noteWhenSeen() {
  addEventListener('playing', (e) => {
    if (e.target.closest('.them')) window.seenMs ??= performance.now();
  }, true);
}

/** Names of the scripts that the page asked for until then. */
function scriptsBefore({ page }) {
  return page.evaluate(() => performance.getEntriesByType('resource')
    .filter((r) => r.startTime < window.seenMs && r.name.endsWith('.js'))
    .map((r) => new URL(r.name).pathname.slice(1))
    .sort());
}

describe('one node that was started a moment ago', () => {
  let alice;
  let bob;

  test('two windows are in a call: the printed address, a link, and one press on each side', async () => {
    alice = await open(await world.printed());
    const link = await newCall(alice, 'Alice');
    // Another browser, without anything of this node in it.
    bob = await world.person(devices);
    await bob.context.addInitScript(noteWhenSeen);
    await bob.page.goto(link);
    await bob.page.getByRole('heading', { name: 'Call Alice', level: 1 }).waitFor();
    expect(await world.axe(bob.page)).toEqual([]);
    await join(bob, 'Bob');
    expect(await world.axe(bob.page)).toEqual([]);
    expect(await bob.page.evaluate(() => location.hash)).not.toContain('invite');
    await alice.page.getByRole('region', { name: 'Bob wants to join' }).waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    await letIn(alice, 'Bob');
    await Promise.all([moving(alice), moving(bob)]);
    // What is said to be the way from a link into a call is what whoever opened it for the first time has fetched.
    expect(await scriptsBefore(bob)).toEqual([...callPath, ...firstVisit].sort());
    clean();
  });

  test('so are two windows of one browser, each of them another person', async () => {
    await over(alice, bob);
    const link = await newCall(alice, 'Alice');
    const page = await alice.context.newPage();
    await page.goto(link);
    await page.getByRole('button', { name: 'Be somebody new in this window' }).waitFor();
    expect(await world.axe(page)).toEqual([]);
    await page.getByRole('button', { name: 'Be somebody new in this window' }).click();
    await join({ page }, 'Carol');
    await letIn(alice, 'Carol');
    await Promise.all([moving(alice), moving({ page })]);
    await over(alice, { page });
    await page.close();
    const third = await alice.context.newPage();
    await third.goto(new URL(link).origin);
    await third.getByRole('button', { name: 'Go on as Carol' }).click();
    await third.getByRole('link', { name: /Alice/ }).waitFor();
    await third.close();
    clean();
  });

  test('they know each other from then on, and the same link rings', async () => {
    await bob.page.getByRole('button', { name: 'Call', exact: true }).click();
    await bob.page.locator('.preview video').waitFor();
    await bob.page.getByRole('dialog').getByRole('button', { name: 'Call', exact: true }).click();
    await alice.page.getByRole('button', { name: 'Answer with camera' }).click();
    await Promise.all([moving(alice), moving(bob)]);
    await over(alice, bob);
    clean();
  });

  test('whoever comes when the invitation is used up is told what is missing, and what to do', async () => {
    const link = await newCall(alice, 'Alice');
    const carol = await world.person(devices);
    await carol.page.goto(link.replace(/invite=[^&]*/, 'invite=AAAAAAAAAAAAAAAAAAAAAA'));
    await carol.page.getByText('used up or too old').waitFor();
    await carol.page.getByText('Somebody wants to call you.').waitFor();
    expect(await world.axe(carol.page)).toEqual([]);
    await carol.context.close();
    clean();
  });

  test('a file goes to somebody from the first screen', async () => {
    await alice.page.getByRole('link', { name: 'Send a file' }).click();
    await alice.page.getByLabel('Choose files for Bob').setInputFiles({ name: 'first.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
    await bob.page.getByRole('link', { name: /Alice/ }).click();
    await bob.page.getByRole('button', { name: 'Receive' }).click();
    await bob.page.locator('.file[data-state=arrived]').waitFor();
    for (const person of [alice, bob]) await person.context.close();
    clean();
  });
});

test('between two nodes, by keyboard alone', async () => {
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  const alice = await open(acme.ready.invite);
  const bob = await open(globex.ready.invite);
  const link = await newCall(alice, 'Alice');
  const { keyboard } = bob.page;
  /** Presses Tab until the focus is on what has this name. */
  const tabTo = async ({ page }, name) => {
    for (let i = 0; i < 40; i++) {
      await page.keyboard.press('Tab');
      const label = await page.evaluate(() => {
        const e = document.activeElement;
        return e?.matches('a, button, input, textarea') ? (e.getAttribute('aria-label') ?? (e.labels?.[0]?.textContent || e.textContent) ?? '').trim() : '';
      });
      if (label === name) return;
    }
    throw new Error(`Tab does not come to ${name}`);
  };
  await tabTo(bob, 'Join');
  await keyboard.press('Enter');
  await bob.page.getByRole('heading', { name: 'Join a call' }).waitFor();
  await tabTo(bob, 'Link or address');
  await keyboard.insertText('tl1nobody');
  await keyboard.press('Enter');
  await bob.page.getByRole('alert').waitFor();
  await keyboard.press('Control+a');
  await keyboard.insertText(link);
  await keyboard.press('Enter');
  await bob.page.getByRole('heading', { name: 'Call Alice', level: 1 }).waitFor();
  await tabTo(bob, 'Your name');
  await keyboard.insertText('Bob');
  await tabTo(bob, 'Ask to join');
  await keyboard.press('Enter');
  await bob.page.getByRole('heading', { name: 'Waiting for Alice to let you in…' }).waitFor();
  await alice.page.getByRole('button', { name: 'Let in' }).waitFor();
  await tabTo(alice, 'Let in');
  await alice.page.keyboard.press('Enter');
  await Promise.all([moving(alice), moving(bob)]);
  await keyboard.press('m');
  await alice.page.getByText('Bob is muted').waitFor({ state: 'attached' });
  await tabTo(bob, 'Hang up');
  await keyboard.press('Enter');
  for (const person of [alice, bob]) {
    await person.page.getByRole('heading', { name: 'Call ended' }).waitFor();
    await tabTo(person, 'Back');
    await person.page.keyboard.press('Enter');
    await person.page.locator('.call-layer').waitFor({ state: 'detached' });
    await person.context.close();
  }
  clean();
});
