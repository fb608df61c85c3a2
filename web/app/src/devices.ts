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

export async function deviceProblem(error: unknown, what: 'camera' | 'microphone'): Promise<DeviceProblem> {
  if (!navigator.mediaDevices) return { is: 'insecure' };
  const name = error instanceof DOMException || error instanceof Error ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
    case 'SecurityError': {
      const state = await navigator.permissions.query({ name: what as PermissionName }).then(
        (status) => status.state,
        () => 'denied' as const,
      );
      // The page may, and still it was refused: then it was not the person.
      return { is: state === 'granted' ? 'denied-by-system' : 'denied-by-you' };
    }
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
