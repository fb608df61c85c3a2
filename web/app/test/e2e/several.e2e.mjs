// One person with two devices, and somebody who calls and writes: what happens on one device is known on the other.
import { afterAll, beforeAll, beforeEach, expect, onTestFailed, test } from 'vitest';
import { World } from '../../scripts/harness.mjs';
import { connect, devices, fakes, join, moving, over, ring } from './people.mjs';

let world;
let alice; // calls
let desk; // the two devices of Bob
let phone;

beforeAll(async () => {
  world = new World().build();
  const [acme, globex] = await world.pair('acme.example', 'globex.example');
  await world.browser(fakes);
  alice = await join(world, acme);
  desk = await join(world, globex);
  await connect(alice, desk, globex.ready.http);
  phone = await world.person(devices);
  await phone.page.goto(`${globex.ready.http}/`);
  await phone.page.getByRole('button', { name: 'I have it on another device' }).click();
  const request = await phone.page.locator('form code').textContent();
  await desk.page.goto(`${globex.ready.http}/devices`);
  await desk.page.getByLabel('Request of the new device').fill(request);
  await desk.page.getByRole('button', { name: 'Approve' }).click();
  await phone.page.getByLabel('Approval').fill(await desk.page.locator('code.long').textContent());
  await phone.page.getByRole('button', { name: 'Add this device' }).click();
  for (const device of [desk, phone]) {
    await device.page.getByRole('link', { name: /tl1/ }).click();
    await device.page.getByRole('textbox', { name: /Write to/ }).waitFor();
  }
});

afterAll(async () => {
  await world?.stop();
});

// What all three show tells more of a failure than what was waited for.
beforeEach(() => {
  onTestFailed(async () => {
    for (const [name, { page }] of Object.entries({ alice, desk, phone })) console.error(name, await page.locator('h1').allTextContents());
    console.error(world.problems);
  });
});

function clean() {
  expect(world.foreign).toEqual([]);
  expect(world.problems).toEqual([]);
}

const rings = ({ page }) => page.getByRole('heading', { name: /is calling with camera/ }).waitFor();
const says = ({ page }, text) => page.locator('.call-layer').getByRole('heading', { name: text }).waitFor();

/** It rings nowhere any more, and what was said of it is put away. */
async function back(...people) {
  for (const { page } of people) {
    await page.locator('.call-layer').getByRole('button', { name: 'Back' }).click();
    await page.locator('.call-layer').waitFor({ state: 'detached' });
  }
}

const write = async ({ page }, text) => {
  await page.getByRole('textbox', { name: /Write to/ }).fill(text);
  await page.keyboard.press('Enter');
};
const theirs = ({ page }, text) => page.locator('.bubble:not(.mine)', { hasText: text }).waitFor();

// What one device writes goes to the other person alone: there is no message yet that tells the own other device of it.
test('what is written to a person is on both devices, once, and either of them answers', async () => {
  await write(alice, 'to both of your devices');
  await Promise.all([theirs(desk, 'to both of your devices'), theirs(phone, 'to both of your devices')]);
  for (const [device, text] of [[desk, 'from the desk'], [phone, 'from the phone']]) {
    await write(device, text);
    await theirs(alice, text);
    await device.page.locator('.bubble.mine', { hasText: text }).locator('.fate.read').waitFor();
  }
  await write(alice, 'heard from both');
  for (const device of [desk, phone]) {
    await theirs(device, 'heard from both');
    expect(await device.page.locator('.bubble:not(.mine) .text').allTextContents()).toEqual(['to both of your devices', 'heard from both']);
  }
  clean();
});

for (const [name, one, other] of [['one', () => desk, () => phone], ['the other one', () => phone, () => desk]]) {
  test(`both ring, ${name} answers, and the call is there alone`, async () => {
    await ring(alice);
    await Promise.all([rings(desk), rings(phone)]);
    await one().page.getByRole('button', { name: 'Answer with camera' }).click();
    await says(other(), 'Answered on another device');
    await Promise.all([moving(alice), moving(one())]);
    await back(other());
    // The call goes on without the device that was not taken.
    await Promise.all([moving(alice), moving(one())]);
    await over(alice, one());
    clean();
  });

  test(`both ring, and ${name} says no for both`, async () => {
    await ring(alice);
    await Promise.all([rings(desk), rings(phone)]);
    await one().page.getByRole('button', { name: 'Decline' }).click();
    await Promise.all([says(desk, 'Declined'), says(phone, 'Declined'), says(alice, 'Bob cannot talk now')]);
    await back(alice, desk, phone);
    clean();
  });
}

test('both ring, and whoever calls hangs up first: both have missed it', async () => {
  await ring(alice);
  await Promise.all([rings(desk), rings(phone)]);
  await alice.page.getByRole('button', { name: 'Hang up' }).click();
  await Promise.all([says(desk, /^Missed call from tl1/), says(phone, /^Missed call from tl1/), says(alice, 'Call ended')]);
  for (const { page } of [desk, phone]) expect(await world.axe(page)).toEqual([]);
  await back(alice, desk, phone);
  clean();
});

test('one device calls, and the other one has nothing to do with it', async () => {
  await phone.page.getByRole('button', { name: /Video call with/ }).click();
  await phone.page.locator('.preview video').waitFor();
  await phone.page.getByRole('button', { name: 'Call', exact: true }).click();
  await alice.page.getByRole('heading', { name: 'Bob is calling with camera' }).waitFor();
  await alice.page.getByRole('button', { name: 'Answer with camera' }).click();
  await Promise.all([moving(alice), moving(phone)]);
  expect(await desk.page.locator('.call-layer').count()).toBe(0);
  await over(alice, phone);
  clean();
});
