// People in browsers, for tests of calls.

export const devices = { permissions: ['clipboard-read', 'clipboard-write', 'camera', 'microphone'], viewport: { width: 900, height: 640 } };
export const fakes = ['--use-fake-device-for-media-stream=device-count=1,fps=5', '--auto-select-desktop-capture-source=Entire screen'];

/** Somebody with an identity at a node. */
export async function join(world, node, options = {}, init = undefined) {
  const person = await world.person({ ...devices, ...options });
  if (init) await init(person);
  await person.page.goto(world.invite(node));
  await person.page.getByRole('heading', { name: 'How others reach you' }).waitFor();
  return person;
}

/** Makes two people know each other; one knows the other as Bob. */
export async function connect(alice, bob, bobHome) {
  await alice.page.getByRole('button', { name: 'Copy link' }).click();
  const at = await alice.page.evaluate(() => navigator.clipboard.readText());
  await bob.page.goto(bobHome + at.slice(at.indexOf('/#')));
  await bob.page.getByLabel('Your name').fill('Bob');
  await bob.page.getByRole('button', { name: 'Ask to connect' }).click();
  await alice.page.getByRole('link', { name: /Bob/ }).click();
  await alice.page.getByRole('button', { name: 'Accept' }).click();
  await alice.page.getByRole('textbox', { name: 'Write to Bob' }).waitFor();
  await bob.page.getByRole('textbox', { name: /Write to/ }).waitFor();
}

/** Alice rings Bob with her camera. */
export async function ring(alice) {
  await alice.page.getByRole('button', { name: 'Video call with Bob' }).click();
  await alice.page.locator('.preview video').waitFor();
  await alice.page.getByRole('button', { name: 'Call', exact: true }).click();
}

export async function answer(bob) {
  await bob.page.getByRole('button', { name: 'Answer with camera' }).click();
}

/** A tile's picture moves: frames of it are decoded from now on. */
export async function moving(person, tile = 'them') {
  await person.page.evaluate(() => { globalThis.first = undefined; });
  await person.page.waitForFunction((id) => {
    const video = document.querySelector(`[data-testid="${id}"] video`);
    if (!video?.videoWidth) return false;
    const frames = video.getVideoPlaybackQuality().totalVideoFrames;
    globalThis.first ??= frames;
    return frames > globalThis.first + 3;
  }, tile);
}

/** Ends the call and takes it off both screens. */
export async function over(...people) {
  for (const { page } of people) {
    const end = page.getByTestId('hangup');
    if (await end.isVisible()) await end.click();
    await page.getByRole('button', { name: 'Back' }).click();
    await page.locator('.call-layer').waitFor({ state: 'detached' });
  }
}
