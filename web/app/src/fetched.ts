import { TrunklineError } from '@trunkline/sdk';

/** A part of the app that is fetched when it is needed. That it cannot be is what a node that is away means, and no bug. */
export function fetched<T>(module: Promise<T>): Promise<T> {
  return module.catch((error: unknown) => {
    throw new TrunklineError('unreachable', 'a part of the app could not be fetched', { cause: error });
  });
}
