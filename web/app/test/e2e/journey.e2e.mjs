import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';

let world;
let acme;
let globex;

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser();
});

afterAll(async () => {
  await world?.stop();
});

/** Somebody who opens an invitation and is there. */
async function join(invite) {
  const person = await world.person();
  await person.page.goto(invite);
  await person.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  return person;
}

async function link(person) {
  await person.page.getByRole('button', { name: 'Copy link' }).click();
  return person.page.evaluate(() => navigator.clipboard.readText());
}

async function connect(alice, bob, bobHome) {
  const at = await link(alice);
  await bob.page.goto(bobHome + at.slice(at.indexOf('/#')));
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Ask to connect' }).click();
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  await bob.page.getByRole('textbox', { name: /Write to/ }).waitFor();
}

async function write(person, text) {
  await person.page.getByRole('textbox', { name: /Write to/ }).fill(text);
  await person.page.keyboard.press('Enter');
}

const bubble = (person, text) => person.page.locator('.bubble:not(.mine)', { hasText: text });

/** Holds the run so far to what no screen may do. */
function clean() {
  expect(world.foreign).toEqual([]);
  // The log is one of service workers, too.
  expect(world.byServiceWorkers).toBeGreaterThan(0);
  expect(world.problems).toEqual([]);
}

describe('two people at two nodes', () => {
  let alice;
  let bob;

  beforeAll(async () => {
    alice = await join(world.invite(acme));
    bob = await join(world.invite(globex));
    await connect(alice, bob, globex.ready.http);
  });

  test('write to each other, and each sees what the other has read', async () => {
    await write(alice, 'from acme to globex');
    await bubble(bob, 'from acme to globex').waitFor();
    await alice.page.locator('.bubble.mine', { hasText: 'from acme' }).locator('.fate.read').waitFor();
    await write(bob, 'and back');
    await bubble(alice, 'and back').waitFor();
    clean();
  });

  test('the text of a stranger stays text', async () => {
    const nasty = '<img src=x onerror="document.title=\'taken\'"><script>1</script>';
    await write(alice, nasty);
    await bubble(bob, nasty).waitFor();
    expect(await bob.page.locator('.bubble img, .bubble script').count()).toBe(0);
    clean();
  });

  test('history and identity are there after a reload', async () => {
    const before = await alice.page.evaluate(() => location.hash);
    await alice.page.reload();
    await bubble(alice, 'and back').waitFor();
    expect(await alice.page.evaluate(() => location.hash)).toBe(before);
    await write(alice, 'after the reload');
    await bubble(bob, 'after the reload').waitFor();
    clean();
  });

  test('a note waits while the node is away, and arrives when it is back', async () => {
    await alice.page.context().setOffline(true);
    // The link notices by itself only after a while: a page that was reloaded has none at once.
    await alice.page.reload();
    await alice.page.getByText('No link').or(alice.page.getByText('Connecting')).first().waitFor();
    await write(alice, 'written without a node');
    await alice.page.locator('.bubble.mine', { hasText: 'written without a node' }).locator('.fate.queued').waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    await alice.page.context().setOffline(false);
    await bubble(bob, 'written without a node').waitFor();
    clean();
  });

  test('a second tab is told, and can take over', async () => {
    const second = await alice.context.newPage();
    await second.goto(`${acme.ready.http}/`);
    await second.getByRole('button', { name: 'Use it here' }).click();
    await second.getByRole('link', { name: /Bob/ }).waitFor();
    await alice.page.getByText('open in another tab').waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    await second.close();
    await alice.page.reload();
    await alice.page.getByRole('link', { name: /Bob/ }).first().waitFor();
    clean();
  });

  test('the same safety number stands on both screens, and a match is remembered', async () => {
    for (const person of [alice, bob]) {
      await person.page.goto(person.page.url().replace(/#.*|$/, ''));
      await person.page.getByRole('link', { name: person === alice ? /Bob/ : /tl1/ }).first().click();
      await person.page.getByRole('tab', { name: 'Verify' }).click();
      await person.page.locator('.digits').waitFor();
    }
    const numbers = await Promise.all([alice, bob].map((p) => p.page.locator('.digits li').allTextContents()));
    expect(numbers[0]).toHaveLength(12);
    expect(numbers[0].join('')).toMatch(/^\d{60}$/);
    expect(numbers[1]).toEqual(numbers[0]);
    await alice.page.getByRole('button', { name: 'They match' }).click();
    await alice.page.locator('.screen-head .trust.verified').waitFor();
    await alice.page.reload();
    await alice.page.locator('.screen-head .trust.verified').waitFor();
    clean();
  });

  test('what the page shows of the node are the bytes of the link', async () => {
    const sent = [];
    alice.page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => sent.push(Buffer.from(payload).toString('hex'))));
    await alice.page.goto(`${acme.ready.http}/node`);
    await alice.page.getByRole('link', { name: /Bob/ }).waitFor();
    await bob.page.getByRole('tab', { name: 'Chat' }).click();
    await write(bob, 'look at the bytes');
    await alice.page.getByText('look at the bytes').first().waitFor();
    await alice.page.getByRole('button', { name: /To the node:.*submit/ }).first().click();
    const shown = await alice.page.locator('.dump').textContent();
    const digits = shown.split('\n').map((row) => row.slice(7, 54).replaceAll(' ', '')).join('');
    expect(digits.length).toBe(1024);
    expect(sent.some((frame) => frame.startsWith(digits))).toBe(true);
    expect(shown).not.toContain('look at');
    clean();
  });

  test('a blocked person is told nothing and can send nothing', async () => {
    await alice.page.getByRole('link', { name: /Bob/ }).first().click();
    await alice.page.getByRole('button', { name: 'More about Bob' }).click();
    await alice.page.getByRole('menuitem', { name: 'Block' }).click();
    await alice.page.getByRole('alertdialog').getByRole('button', { name: 'Block' }).click();
    await alice.page.getByText('Bob is blocked').waitFor();
    await alice.page.getByRole('heading', { name: 'Blocked' }).waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    clean();
  });
});

test('an invitation that is used up has its own words, and the person can go on', async () => {
  const invite = world.invite(acme);
  const first = await join(invite);
  await first.context.close();
  const second = await world.person();
  await second.page.goto(invite);
  await second.page.getByText('used up or too old').waitFor();
  expect(await second.page.evaluate(() => location.hash)).toBe('');
  await second.page.getByLabel('Invitation').fill(world.invite(acme));
  await second.page.getByRole('button', { name: 'Join' }).click();
  await second.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  await second.context.close();
  clean();
});

test('the words on paper bring the identity back in another browser', async () => {
  const before = await join(world.invite(acme));
  const address = await before.page.locator('.share code').textContent();
  await before.page.goto(`${acme.ready.http}/phrase`);
  await before.page.getByRole('button', { name: 'Show the words' }).click();
  const words = await before.page.locator('.words li').allTextContents();
  expect(words).toHaveLength(24);
  await before.page.getByRole('button', { name: 'I have written them down' }).click();
  const labels = await before.page.locator('form label').allTextContents();
  expect(labels).toHaveLength(3);
  const numbers = labels.map((label) => Number(label.replace(/\D/g, '')));
  for (const n of numbers) await before.page.getByLabel(`Word ${n}`, { exact: true }).fill('wrong');
  await before.page.getByRole('button', { name: 'Check' }).click();
  await before.page.getByRole('alert').waitFor();
  for (const n of numbers) await before.page.getByLabel(`Word ${n}`, { exact: true }).fill(words[n - 1]);
  await before.page.getByRole('button', { name: 'Check' }).click();
  await before.page.getByText('Your paper is right').waitFor();
  await before.context.close();

  const after = await world.person();
  await after.page.goto(`${acme.ready.http}/`);
  await after.page.getByRole('button', { name: 'I have recovery words' }).click();
  const field = after.page.getByLabel('Recovery words');
  await field.fill([...words.slice(0, 23), 'quayside'].join(' '));
  await after.page.getByRole('button', { name: 'Use these words' }).click();
  await after.page.getByText('quayside” is not one of the words').waitFor();
  await field.fill('abandon '.repeat(24));
  await after.page.getByRole('button', { name: 'Use these words' }).click();
  await after.page.getByText('do not belong together').waitFor();
  await field.fill(` ${words.join('  ').toUpperCase()} `);
  await after.page.getByRole('button', { name: 'Use these words' }).click();
  await after.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  expect(await after.page.locator('.share code').textContent()).toBe(address);
  await after.context.close();
  clean();
});

test('another browser becomes a device of the same person, and hears what is written', async () => {
  const first = await join(world.invite(acme));
  const other = await join(world.invite(globex));
  await connect(first, other, globex.ready.http);
  const second = await world.person();
  await second.page.goto(`${acme.ready.http}/`);
  await second.page.getByRole('button', { name: 'I have it on another device' }).click();
  const request = await second.page.locator('form code').textContent();
  expect(request).toMatch(/^tldr1-/);
  await first.page.goto(`${acme.ready.http}/devices`);
  await first.page.getByLabel('Request of the new device').fill(request.slice(0, -4));
  await first.page.getByRole('button', { name: 'Approve' }).click();
  await first.page.getByText('no request of a device').waitFor();
  await first.page.getByLabel('Request of the new device').fill(request);
  await first.page.getByRole('button', { name: 'Approve' }).click();
  const approval = await first.page.locator('code.long').textContent();
  expect(await world.axe(first.page)).toEqual([]);
  await second.page.getByLabel('Approval').fill(approval.slice(0, -10));
  await second.page.getByRole('button', { name: 'Add this device' }).click();
  await second.page.getByRole('alert').waitFor();
  await second.page.getByLabel('Approval').fill(approval);
  await second.page.getByRole('button', { name: 'Add this device' }).click();
  await second.page.getByRole('link', { name: /Bob/ }).click();
  await write(other, 'to both of your screens');
  await bubble(second, 'to both of your screens').waitFor();
  await first.page.getByRole('link', { name: /Bob/ }).click();
  await bubble(first, 'to both of your screens').waitFor();
  await first.page.goto(`${acme.ready.http}/devices`);
  await first.page.getByRole('button', { name: 'Remove' }).click();
  await first.page.getByRole('alertdialog').waitFor();
  expect(await world.axe(first.page)).toEqual([]);
  await first.page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
  await first.page.getByText('The device was removed').waitFor();
  await second.page.getByText('This device was removed').waitFor();
  expect(await world.axe(second.page)).toEqual([]);
  for (const person of [first, second, other]) await person.context.close();
  clean();
});

test('the whole way can be gone by keyboard', async () => {
  const carol = await join(world.invite(acme));
  const dave = await join(world.invite(acme));
  const at = await link(dave);
  const { keyboard } = carol.page;

  /** Presses Tab until the focus is on what has this name. */
  const tabTo = async (name) => {
    for (let i = 0; i < 40; i++) {
      await keyboard.press('Tab');
      const label = await carol.page.evaluate(() => {
        const e = document.activeElement;
        if (!e?.matches('a, button, input, textarea')) return '';
        return (e?.getAttribute('aria-label') ?? (e?.labels?.[0]?.textContent || e?.textContent) ?? '').trim();
      });
      if (label.includes(name)) return;
    }
    throw new Error(`Tab does not come to ${name}`);
  };
  await carol.page.reload();
  await carol.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  await tabTo('Add somebody');
  await keyboard.press('Enter');
  await carol.page.getByRole('heading', { name: 'Add somebody' }).waitFor();
  await tabTo('Address, link or code');
  await keyboard.insertText(at);
  await tabTo('Your name');
  await keyboard.insertText('Carol');
  await keyboard.press('Enter');
  await carol.page.getByText('has not answered yet').waitFor();
  await dave.page.getByRole('link', { name: /Carol/ }).click();
  await dave.page.getByRole('button', { name: 'Accept' }).click();
  await carol.page.getByRole('textbox', { name: /Write to/ }).waitFor();
  await tabTo('Write to');
  await keyboard.insertText('by keyboard alone');
  await keyboard.press('Enter');
  await bubble(dave, 'by keyboard alone').waitFor();

  // Tabs by arrows, the menu by arrows and letters, and back to where it was opened.
  await carol.page.getByRole('tab', { name: 'Chat' }).focus();
  await keyboard.press('ArrowRight');
  await carol.page.locator('.digits').waitFor();
  await tabTo('They match');
  await keyboard.press('Enter');
  await carol.page.locator('.screen-head .trust.verified').waitFor();
  await carol.page.getByRole('button', { name: 'Menu' }).focus();
  await keyboard.press('ArrowDown');
  await keyboard.press('Escape');
  expect(await carol.page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe('Menu');
  await keyboard.press('ArrowUp');
  await keyboard.press('Home');
  await keyboard.press('s');
  await keyboard.press('Enter');
  await carol.page.getByRole('heading', { name: 'Settings' }).waitFor();
  await carol.page.getByRole('combobox', { name: 'Theme' }).focus();
  for (const key of ['Enter', 'End', 'Enter']) await keyboard.press(key);
  expect(await carol.page.evaluate(() => document.documentElement.dataset.theme)).toBe('dark');
  await carol.context.close();
  await dave.context.close();
  clean();
});
