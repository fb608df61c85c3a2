import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { answer, connect, fakes, join, moving } from './people.mjs';

let world;
let acme;
let globex;
let alice;
let bob;

beforeAll(async () => {
  world = new World().build();
  [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  alice = await join(world, acme);
  bob = await join(world, globex);
  await connect(alice, bob, globex.ready.http);
});

afterAll(async () => {
  await world?.stop();
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

describe('a call between two browsers at two nodes', () => {
  test('is looked forward to, rings, is answered, and both see each other', async () => {
    await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
    await alice.page.getByRole('heading', { name: 'Call Bob' }).waitFor();
    await alice.page.locator('.preview video').waitFor();
    await alice.page.locator('.meter').waitFor();
    expect(await world.axe(alice.page)).toEqual([]);
    await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
    await bob.page.getByRole('heading', { name: /is calling with camera/ }).waitFor();
    for (const { page } of [alice, bob]) expect(await world.axe(page)).toEqual([]);
    await answer(bob);
    await Promise.all([moving(alice), moving(bob)]);
    clean();
  });

  test('every frame was sealed, and none was shown without being opened', async () => {
    for (const person of [alice, bob]) {
      await person.page.getByTestId('route').click();
      await person.page.getByText(/frames? opened, 0 dropped, none in plain/).waitFor();
      await person.page.getByText('Round trip').waitFor();
      expect(await world.axe(person.page)).toEqual([]);
      await person.page.getByTestId('route').click();
    }
    clean();
  });

  test('both see the same call code and the route', async () => {
    const codes = await Promise.all([alice, bob].map((p) => p.page.getByTestId('code').textContent()));
    expect(codes[0]).toMatch(/^\d{3} \d{3}$/);
    expect(codes[1]).toBe(codes[0]);
    expect(await alice.page.getByTestId('route').textContent()).toMatch(/^Mesh, /);
  });

  test('hanging up ends it on both sides and gives the devices back', async () => {
    await alice.page.getByTestId('hangup').click();
    for (const person of [alice, bob]) {
      await person.page.getByRole('heading', { name: 'Call ended' }).waitFor();
      await person.page.getByRole('button', { name: 'Back' }).click();
      await person.page.locator('.call-layer').waitFor({ state: 'detached' });
    }
    clean();
  });
});

describe('in a call', () => {
  beforeAll(async () => {
    // The other one rings this time, by voice alone; a camera is switched on in the middle.
    await bob.page.getByRole('button', { name: /^Call tl1/ }).click();
    await bob.page.getByRole('button', { name: 'Call', exact: true }).click();
    await alice.page.getByRole('heading', { name: /Bob is calling/ }).waitFor();
    await alice.page.getByRole('button', { name: 'Answer', exact: true }).click();
    for (const person of [alice, bob]) await person.page.getByTestId('hangup').waitFor();
  });

  test('a camera that is switched on later is seen', async () => {
    await bob.page.keyboard.press('v');
    await moving(alice);
    await bob.page.keyboard.press('v');
    await alice.page.locator('[data-testid="them"] video').waitFor({ state: 'detached' });
    clean();
  });

  test('mute, a raised hand and a reaction are told', async () => {
    await bob.page.keyboard.press('m');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'attached' });
    await bob.page.keyboard.down(' ');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'detached' });
    await bob.page.keyboard.up(' ');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'attached' });
    await bob.page.keyboard.press('m');
    await alice.page.getByText('Bob is muted').waitFor({ state: 'detached' });
    await bob.page.keyboard.press('h');
    await alice.page.getByText('Bob has raised a hand').waitFor({ state: 'attached' });
    await bob.page.getByRole('button', { name: 'React' }).click();
    await bob.page.getByRole('menuitem', { name: 'Applause' }).click();
    await alice.page.locator('[data-testid="them"] .reaction', { hasText: 'Applause' }).waitFor();
    clean();
  });

  test('a screen is shared, whole, and the other one points at it', async () => {
    await bob.page.keyboard.press('s');
    await moving(alice, 'screen-theirs');
    const box = await alice.page.getByTestId('screen-theirs').boundingBox();
    await alice.page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await alice.page.mouse.move(box.x + box.width / 2 + 4, box.y + box.height / 2);
    await bob.page.getByTestId('pointer').waitFor();
    for (const { page } of [alice, bob]) expect(await world.axe(page)).toEqual([]);
    await bob.page.keyboard.press('s');
    await alice.page.getByTestId('screen-theirs').waitFor({ state: 'detached' });
    clean();
  });

  test('notes are written beside it, and keys do nothing while somebody types', async () => {
    await bob.page.keyboard.press('c');
    await bob.page.locator('.call-chat textarea').fill('mvsh');
    await bob.page.keyboard.press('m');
    await bob.page.keyboard.press('Enter');
    expect(await bob.page.getByTestId('microphone').getAttribute('aria-label')).toBe('Mute');
    await alice.page.getByTestId('chat').click();
    await alice.page.locator('.call-chat .bubble', { hasText: 'mvshm' }).waitFor();
    clean();
  });

  test('it has nothing that axe complains of', async () => {
    expect(await world.axe(alice.page)).toEqual([]);
  });

  test('a reload ends it for the other side, too', async () => {
    await alice.page.reload();
    await bob.page.getByRole('heading', { name: 'Call ended' }).waitFor();
    expect(await world.axe(bob.page)).toEqual([]);
    clean();
  });
});
