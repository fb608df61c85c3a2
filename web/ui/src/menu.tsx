import type { ComponentChildren } from 'preact';
import { useEffect, useId, useLayoutEffect, useRef, useState } from 'preact/hooks';

export interface MenuItem {
  label: string;
  icon?: ComponentChildren;
  danger?: boolean;
  run: () => void;
}

/** A menu button of the ARIA practices: arrows, Home, End, first letters, Escape. */
export function MenuButton(props: { label: string; children: ComponentChildren; items: MenuItem[]; up?: boolean; class?: string }) {
  const [open, setOpen] = useState(false);
  const [at, setAt] = useState(0);
  const id = useId();
  const anchor = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);

  useEffect(() => {
    if (!open) return;
    const away = (e: PointerEvent) => {
      if (!anchor.current?.contains(e.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', away);
    return () => document.removeEventListener('pointerdown', away);
  }, [open]);

  // Before the next key: what is pressed right behind the opening belongs to the menu.
  useLayoutEffect(() => {
    if (open) anchor.current?.querySelectorAll<HTMLElement>('[role=menuitem]')[at]?.focus();
  }, [open, at]);

  const show = (index: number) => {
    setAt(index);
    setOpen(true);
  };
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  const last = props.items.length - 1;

  const onButtonKey = (e: KeyboardEvent) => {
    if (e.key === 'ArrowDown') show(0);
    else if (e.key === 'ArrowUp') show(last);
    else return;
    e.preventDefault();
  };
  const onMenuKey = (e: KeyboardEvent) => {
    switch (e.key) {
      case 'ArrowDown':
        setAt(at === last ? 0 : at + 1);
        break;
      case 'ArrowUp':
        setAt(at === 0 ? last : at - 1);
        break;
      case 'Home':
        setAt(0);
        break;
      case 'End':
        setAt(last);
        break;
      case 'Escape':
        close();
        break;
      case 'Tab':
        setOpen(false);
        return;
      default: {
        const found = props.items.findIndex((item, i) => i > at && item.label.toLocaleLowerCase().startsWith(e.key.toLocaleLowerCase()));
        if (e.key.length !== 1 || found < 0) return;
        setAt(found);
      }
    }
    e.preventDefault();
    e.stopPropagation();
  };

  return (
    <div class="anchor" ref={anchor}>
      <button
        ref={button}
        type="button"
        class={props.class ?? 'button plain only-icon'}
        aria-haspopup="menu"
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={props.label}
        onClick={() => (open ? close() : show(0))}
        onKeyDown={onButtonKey}
      >
        {props.children}
      </button>
      {open && (
        <ul class={props.up ? 'pop up' : 'pop'} role="menu" id={id} aria-label={props.label} onKeyDown={onMenuKey}>
          {props.items.map((item, i) => (
            <li key={item.label} role="none">
              <button
                type="button"
                role="menuitem"
                class={item.danger ? 'item danger' : 'item'}
                tabIndex={i === at ? 0 : -1}
                onClick={() => {
                  close();
                  item.run();
                }}
              >
                {item.icon}
                {item.label}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
