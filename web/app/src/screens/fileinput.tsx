import { useApp, useT } from '../app.ts';
import { canPick, type Chosen, pick } from '../files/choose.ts';

/** An input for files that asks in the browser's own dialog for handles, where it has one: with those a file need not
 * be chosen again after a reload. */
export function FileInput(props: { multiple: boolean; onChosen: (chosen: Promise<Chosen[]>) => void }) {
  return (
    <input
      type="file"
      multiple={props.multiple}
      onClick={(e) => {
        if (!canPick()) return;
        e.preventDefault();
        props.onChosen(pick(props.multiple));
      }}
      onChange={(e) => {
        props.onChosen(Promise.resolve([...(e.currentTarget.files ?? [])].map((file) => ({ file }))));
        e.currentTarget.value = '';
      }}
    />
  );
}

/** Sends what is being chosen, and says so when the browser cannot read it. */
export function useSendFiles(contact: string): (chosen: Promise<Chosen[]>, sent?: () => void) => void {
  const app = useApp();
  const t = useT();
  return (chosen, sent) =>
    void chosen.then(
      (all) => {
        for (const c of all) app.engine.rest.files.send(contact, c);
        if (all.length > 0) sent?.();
      },
      () => app.store.dispatch({ type: 'toast', text: t('fileUnreadable') }),
    );
}
