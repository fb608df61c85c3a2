import type { ComponentChildren } from 'preact';
import { useId, useLayoutEffect, useRef } from 'preact/hooks';
import { Icon } from './icon.tsx';

/** A modal dialog. The browser's own element keeps the focus inside and gives it back; Escape
 * and the button close it. */
export function Dialog(props: { title: string; closeLabel: string; onClose: () => void; children: ComponentChildren; alert?: boolean }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const dialog = ref.current;
    if (!dialog) return;
    const before = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class="dialog"
      role={props.alert ? 'alertdialog' : undefined}
      aria-labelledby={id}
      onCancel={(e) => {
        e.preventDefault();
        props.onClose();
      }}
    >
      <div class="body">
        <div class="head">
          <h2 id={id} tabIndex={-1}>
            {props.title}
          </h2>
          <button type="button" class="button plain only-icon" aria-label={props.closeLabel} onClick={props.onClose}>
            <Icon name="close" />
          </button>
        </div>
        {props.children}
      </div>
    </dialog>
  );
}
