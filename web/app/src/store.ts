import { useEffect, useReducer, useRef } from 'preact/hooks';

/** The one place where state lives. Actions go through a pure reducer; whoever renders asks for
 * a part and hears of it only when that part is another one. */
export class Store<S, A> {
  private current: S;
  private readonly reduce: (state: S, action: A) => S;
  private readonly listeners = new Set<() => void>();

  constructor(initial: S, reduce: (state: S, action: A) => S) {
    this.current = initial;
    this.reduce = reduce;
  }

  get state(): S {
    return this.current;
  }

  dispatch = (action: A): void => {
    const next = this.reduce(this.current, action);
    if (next === this.current) return;
    this.current = next;
    for (const listener of [...this.listeners]) listener();
  };

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

/** Renders again when the selected part of the state changes. The selector must return parts of
 * the state, not new objects. */
export function useSelected<S, A, T>(store: Store<S, A>, select: (state: S) => T): T {
  const [, again] = useReducer<number, void>((n) => n + 1, 0);
  const selected = select(store.state);
  const latest = useRef({ select, selected });
  latest.current = { select, selected };
  useEffect(() => {
    const check = () => {
      if (!Object.is(latest.current.select(store.state), latest.current.selected)) again();
    };
    check(); // what happened between rendering and here
    return store.subscribe(check);
  }, [store]);
  return selected;
}
