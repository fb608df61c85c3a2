// A device that does not work is one typed thing, so that a screen can say the truth and what to
// do. Browsers tell "denied" in one word; who denied is found out by asking for the permission.

export type DeviceProblem =
  | { is: 'denied-by-you' }
  | { is: 'denied-by-system' }
  | { is: 'not-found' }
  | { is: 'in-use' }
  | { is: 'lost' } // it was there, and went while it was used
  | { is: 'unusable' }
  | { is: 'insecure' }; // the page has no TLS, so the browser gives no devices

/** Why a device that was in use is gone: somebody took the permission back, or it was pulled out. */
export async function lostDevice(what: 'camera' | 'microphone'): Promise<DeviceProblem> {
  return { is: (await permission(what)) === 'denied' ? 'denied-by-you' : 'lost' };
}

/** What the person said to the browser. One that does not tell is asked by using the device. */
async function permission(what: 'camera' | 'microphone'): Promise<PermissionState> {
  return navigator.permissions.query({ name: what as PermissionName }).then(
    (status) => status.state,
    () => 'prompt' as const,
  );
}

export async function deviceProblem(error: unknown, what: 'camera' | 'microphone'): Promise<DeviceProblem> {
  if (!navigator.mediaDevices) return { is: 'insecure' };
  const name = error instanceof DOMException || error instanceof Error ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError':
      // The page may, and still it was refused: then it was not the person.
      return { is: (await permission(what)) === 'granted' ? 'denied-by-system' : 'denied-by-you' };
    case 'NotFoundError':
    case 'OverconstrainedError':
      return { is: 'not-found' };
    case 'NotReadableError':
    case 'AbortError':
      return { is: 'in-use' };
    default:
      return { is: 'unusable' };
  }
}
