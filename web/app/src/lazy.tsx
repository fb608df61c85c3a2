import type { ComponentType, RenderableProps } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useApp, useT } from './app.ts';

/** A component whose code is fetched when it is shown for the first time. It is a file of the bundle, so it comes
 * from the pinned cache where there is one. `place` is a class that keeps the room for it. */
export function lazy<P>(load: () => Promise<ComponentType<P>>, place = ''): ComponentType<P> {
  let Loaded: ComponentType<P> | undefined;
  return function Lazy(props: RenderableProps<P>) {
    const app = useApp();
    const t = useT();
    const [, setHere] = useState(false);
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      if (Loaded) return;
      let gone = false;
      Promise.all([load(), t.rest(), app.engine.whole()]).then(
        ([component]) => {
          Loaded = component;
          if (!gone) setHere(true);
        },
        () => {
          if (!gone) setFailed(true);
        },
      );
      return () => {
        gone = true;
      };
    }, []);
    if (Loaded) return <Loaded {...props} />;
    if (!failed) return <span class={`coming ${place}`} role="status" aria-label={t('opening')} />;
    // The node is away, or serves another bundle by now: the page begins again with what is there.
    return (
      <p class="row" role="alert">
        {t('problemUnreachable')}
        <button type="button" class="button" onClick={() => location.reload()}>
          {t('retry')}
        </button>
      </p>
    );
  };
}
