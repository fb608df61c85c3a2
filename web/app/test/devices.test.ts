// What a browser's word for a device that does not work means to a person.
import { afterEach, describe, expect, it, vi } from 'vitest';
import { deviceProblem, lostDevice } from '../src/devices.ts';

/** A browser that has devices, and says this of a permission; undefined: it does not tell. */
function browser(state: PermissionState | undefined, devices = true) {
  const query = ({ name }: { name: string }) => (state === undefined ? Promise.reject(new TypeError(name)) : Promise.resolve({ state }));
  vi.stubGlobal('navigator', { permissions: { query }, ...(devices ? { mediaDevices: {} } : {}) });
}

afterEach(() => vi.unstubAllGlobals());

const named = (name: string) => new DOMException('no', name);

describe('a device that does not work', () => {
  it.each<[string, PermissionState | undefined, string]>([
    ['NotAllowedError', 'denied', 'denied-by-you'],
    ['NotAllowedError', 'prompt', 'denied-by-you'], // the question was closed
    ['NotAllowedError', 'granted', 'denied-by-system'],
    ['NotAllowedError', undefined, 'denied-by-you'],
    ['SecurityError', 'granted', 'denied-by-system'],
    ['NotFoundError', 'granted', 'not-found'],
    ['OverconstrainedError', 'granted', 'not-found'], // the one that was chosen has been pulled out
    ['NotReadableError', 'granted', 'in-use'],
    ['AbortError', 'granted', 'in-use'],
    ['TypeError', 'granted', 'unusable'],
  ])('%s with the permission %s is %s', async (name, state, is) => {
    browser(state);
    expect(await deviceProblem(named(name), 'camera')).toEqual({ is });
  });

  it('is unusable for whatever is no error of a browser', async () => {
    browser('granted');
    expect(await deviceProblem('no', 'microphone')).toEqual({ is: 'unusable' });
  });

  it('is not there at all in a page without TLS', async () => {
    browser('granted', false);
    expect(await deviceProblem(named('NotFoundError'), 'camera')).toEqual({ is: 'insecure' });
  });

  it('was taken back by the person, or pulled out', async () => {
    browser('denied');
    expect(await lostDevice('camera')).toEqual({ is: 'denied-by-you' });
    browser('granted');
    expect(await lostDevice('camera')).toEqual({ is: 'lost' });
  });
});
